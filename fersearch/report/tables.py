"""What a run of baselines and a grid print at their end, and a grid's report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fersearch.files import atomic_path, write_text
from fersearch.report.paper.claims import load_claims
from fersearch.report.summary import is_drawn
from fersearch.report.text import (
    code_block,
    escape_markdown,
    format_count,
    format_interval,
    format_p_value,
    format_parameters,
    format_percent,
    format_points,
    format_value,
    plain_table,
)

__all__ = ["baselines_text", "grid_text", "write_grid_report"]

HEATMAP_FILE = "figures/grid.png"


def tested_on(result: Mapping[str, Any]) -> str:
    """Say on how many images of what the figures were measured."""
    protocol = result["protocol"]
    images = format_count(int(protocol["n_test"]), "test image")
    rule = f", label rule {protocol['label_rule']}" if protocol.get("label_rule") else ""
    drawn = "; drawings, not photographs" if is_drawn(protocol) else ""
    return f"Measured on {images} of {protocol['data']}{rule}{drawn}."


def baselines_text(result: Mapping[str, Any]) -> str:
    """Return the table of a run of baselines for a terminal."""
    header = (
        "baseline", "params (M)", "MACs (M)", "accuracy", "95 % interval", "macro-F1", "seeds",
        "learning rate", "weight decay",
    )  # fmt: skip
    rows = sorted(result["rows"].values(), key=lambda row: -row["test"]["accuracy"])
    cells = [
        (
            row["title"],
            format_parameters(row["params"]),
            "" if row["macs"] is None else f"{row['macs'] / 1e6:.1f}",
            format_percent(row["test"]["accuracy"]),
            format_interval(row["test"]["accuracy_ci95"]),
            format_percent(row["test"]["macro_f1"]),
            str(len(row["seeds"])),
            format_value(row["settings"].get("learning_rate", "")),
            format_value(row["settings"].get("weight_decay", "recipe's")),
        )
        for row in rows
    ]
    lines = [plain_table(header, cells), tested_on(result)]
    titles: dict[str, list[str]] = {}
    for row in rows:
        for note in row["notes"]:
            titles.setdefault(note, []).append(row["title"])
    notes = [
        note if len(names) == len(rows) > 1 else f"{', '.join(names)}: {note}"
        for note, names in titles.items()
    ]
    notes += [f"{name} was not tested: {why}" for name, why in result["diverged"].items()]
    return "\n".join([*lines, *(f"note: {note}" for note in notes)])


GRID_HEADER = (
    "cell", "macro precision", "claimed", "accuracy", "95 % interval", "minus alone (points)", "p",
)  # fmt: skip


def grid_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return one row of texts a cell, then the student alone and the teacher."""
    rows: list[tuple[str, ...]] = []
    for cell in result["cells"]:
        test, gain = cell["test"], cell["gain"]
        rows.append(
            (
                cell["key"],
                format_percent(test["macro_precision"]),
                format_percent(claimed_precision(cell["params"], result["protocol"]), 1),
                format_percent(test["accuracy"]),
                format_interval(test["accuracy_ci95"]),
                f"{format_points(gain['accuracy'])} ({format_interval(gain['ci95'], sign=True)})",
                format_p_value(gain["p_value"]),
            )
        )
    titles = {"student_alone": "student alone", "teacher": "teacher"}
    rows += [
        (
            title,
            format_percent(result[key]["test"]["macro_precision"]),
            format_percent(None),
            format_percent(result[key]["test"]["accuracy"]),
            format_interval(result[key]["test"]["accuracy_ci95"]),
            "",
            "",
        )
        for key, title in titles.items()
        if key in result
    ]
    return rows


def claimed_precision(params: Mapping[str, Any], protocol: Mapping[str, Any]) -> float | None:
    """Return what the paper's Table I prints for a cell; None too for another loss than its own."""
    paper = load_claims().protocol.loss
    if params.get("loss", protocol.get("loss", paper)) != paper:
        return None
    if "temperature" not in params or "alpha" not in params:
        return None
    wanted = (float(params["temperature"]), float(params["alpha"]))
    return next(
        (
            claim.value
            for claim in load_claims().of_table("I")
            if (claim.temperature, claim.alpha) == wanted
        ),
        None,
    )


def grid_notes(result: Mapping[str, Any]) -> list[str]:
    """Say what a reader of the grid must know."""
    cells = result["cells"]
    notes = [tested_on(result)]
    if cells:
        best = max(cells, key=lambda cell: cell["test"]["accuracy"])
        level = best["test"]["accuracy_ci95"][0]
        near = [cell["key"] for cell in cells if cell["test"]["accuracy_ci95"][1] >= level]
        notes.append(
            f"Highest accuracy: {best['key']}. The intervals of {len(near)} of {len(cells)} cells "
            "overlap its own, so the grid does not single it out."
            if len(near) > 1
            else f"Highest accuracy: {best['key']}; no other cell's interval overlaps its own."
        )
    notes += [f"{key} diverged on some seed and was not tested." for key in result["diverged"]]
    return notes


def grid_text(result: Mapping[str, Any]) -> str:
    """Return the table of a grid for a terminal."""
    return "\n".join([plain_table(GRID_HEADER, grid_rows(result)), *grid_notes(result)])


def draw_grid(result: Mapping[str, Any], path: Path) -> bool:
    """Draw the accuracy of a two-parameter grid as a heat map; return whether it is one."""
    names = result["varying"]
    if len(names) != 2 or not result["cells"]:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    rows, columns = (sorted({cell["params"][name] for cell in result["cells"]}) for name in names)
    figure = Figure(figsize=(1.6 * len(columns) + 2.6, 1.0 * len(rows) + 1.6), layout="constrained")
    axes = figure.subplots()
    values = [[float("nan")] * len(columns) for _ in rows]
    for cell in result["cells"]:
        row, column = (
            rows.index(cell["params"][names[0]]),
            columns.index(cell["params"][names[1]]),
        )
        test = cell["test"]
        values[row][column] = 100 * test["accuracy"]
        low, high = (100 * end for end in test["accuracy_ci95"])
        claimed = claimed_precision(cell["params"], result["protocol"])
        text = f"{values[row][column]:.1f} %\n{low:.1f} to {high:.1f}"
        if claimed is not None:
            text += f"\nprecision {100 * test['macro_precision']:.1f}\nclaimed {100 * claimed:.1f}"
        axes.text(
            column, row, text, ha="center", va="center", fontsize=8, color="black",
            bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "alpha": 0.8, "linewidth": 0},
        )  # fmt: skip
    image = axes.imshow(values, cmap="cividis", aspect="auto")
    axes.set_xticks(range(len(columns)), [format_value(value) for value in columns])
    axes.set_yticks(range(len(rows)), [format_value(value) for value in rows])
    axes.set_xlabel(names[1].replace("_", " "))
    axes.set_ylabel(names[0].replace("_", " "))
    axes.set_title("Test accuracy and its 95 % interval", fontsize=10)
    figure.colorbar(image, ax=axes, label="accuracy (%)")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return True


def write_grid_report(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write ``REPORT.md`` of a grid, with its heat map, into ``folder``; return its path."""
    lines = [f"# {escape_markdown(result['name'])}: a grid of settings", ""]
    lines += [*grid_notes(result), ""]
    lines += ["| " + " | ".join(GRID_HEADER) + " |", "|" + " --- |" * len(GRID_HEADER)]
    lines += ["| " + " | ".join(map(escape_markdown, row)) + " |" for row in grid_rows(result)]
    lines += [
        "",
        '"Claimed" is what Table I of Xie & Huang (T-SNet) prints as "precision". Intervals and '
        "paired tests: docs/statistics.md. The cells are compared with the same student trained "
        "alone at the same learning rate, on the same seeds and images; p-values are not corrected "
        "for the number of cells.",
        "",
    ]
    if draw_grid(result, folder / HEATMAP_FILE):
        lines += [f"![Accuracy of every cell]({HEATMAP_FILE})", ""]
    lines += [
        "Reproduce it with",
        "",
        code_block(str(result["command"]), "sh"),
        "",
        "Protocol:",
        "",
    ]
    lines += [
        f"- {escape_markdown(name)}: {escape_markdown(format_value(value))}"
        for name, value in result["protocol"].items()
    ]
    path = folder / "REPORT.md"
    write_text(path, "\n".join(lines) + "\n")
    return path
