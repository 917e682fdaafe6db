"""The table of a backbones study: its students side by side, and what could not be one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fersearch.files import write_text
from fersearch.report.tables import tested_on
from fersearch.report.text import (
    MISSING,
    code_block,
    escape_markdown,
    format_count,
    format_interval,
    format_parameters,
    format_percent,
    format_points,
    format_value,
)
from fersearch.report.text import plain_table as table
from fersearch.stats import pareto_front

__all__ = [
    "RULE",
    "backbones_text",
    "naming",
    "student_fronts",
    "student_row",
    "write_backbones_report",
]

RULE = (
    "Every student has a search of its own, with the same space, number of trials, epochs, seeds, "
    "sampler and points that are tried first, on the same data and views. The teachers are trained "
    "once, and their soft labels replayed to all students. Settings are chosen on the validation "
    "split; each student is tested once."
)
FIGURES = (
    "accuracy",
    "accuracy_ci95",
    "macro_f1",
    "macro_f1_ci95",
    "balanced_accuracy",
    "balanced_accuracy_ci95",
    "ece",
)
SHOWN_OVER_LIMIT = 12
LABELS = {"onnxruntime": "ORT fp32", "onnxruntime-int8": "ORT int8"}

Row = Mapping[str, Any]


def student_row(name: str, study: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the table keeps of one student's study.

    Args:
        name: timm name of the student.
        study: Name of its study.
        result: The content of that study's ``result.json``.

    Returns:
        Plain values: test figures in 0-1 with intervals, costs, chosen settings; ``latency`` is
        empty until somebody measures it.
    """
    test, cost = result["test"], result["cost"]
    blocks = {
        role: {key: test[role][key] for key in FIGURES if key in test[role]}
        for role in ("distilled", "student_alone", "teacher")
        if role in test
    }
    return {
        "name": name,
        "study": study,
        "test": blocks,
        "seeds": [item["seed"] for item in test["distilled"]["seeds"]],
        "gain": {key: result["gain"][key] for key in ("accuracy", "ci95", "p_value")},
        "params": cost["params"],
        "macs": cost["macs"],
        "file_mb": cost["file_mb"],
        "latency": {},
        "deployed": result.get("deployed"),
        "best_params": result["best"]["params"],
        "val_accuracy": result["best"]["val_accuracy"],
        "trials": result["trials"],
        "test_reads": result["test_reads"],
        "seconds": result.get("seconds", {}),
    }


def student_fronts(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the students that no other beats in test accuracy and in one cost, by the cost.

    Costs are ``params`` and the runtimes whose latency is known of every student: a front of some
    of them would be no front.

    Args:
        rows: What :func:`student_row` returned; at least one.
    """
    measures = {"params": [float(row["params"]) for row in rows]}
    for runtime in runtimes_of(rows):
        if all(runtime in row["latency"] for row in rows):
            measures[runtime] = [row["latency"][runtime]["p50"] for row in rows]
    accuracies = [row["test"]["distilled"]["accuracy"] for row in rows]
    return {
        name: [
            rows[index]["name"]
            for index in pareto_front(
                list(zip(accuracies, costs, strict=True)), maximise=(True, False)
            )
        ]
        for name, costs in measures.items()
    }


def runtimes_of(rows: Sequence[Row]) -> list[str]:
    """Return the runtimes that some student's latency is known in."""
    return list(dict.fromkeys(runtime for row in rows for runtime in row["latency"]))


def label(cost: str) -> str:
    """Return what the table calls a cost: ``params``, or a runtime's short name."""
    return LABELS.get(cost, cost)


def header(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the titles of the columns; those without any figure are left out."""
    return (
        "student",
        "accuracy",
        "95 % interval",
        "macro-F1",
        "minus alone (points)",
        "params (M)",
        "MACs (M)",
        "file (MB)",
        *(f"{label(runtime)} p50 (ms)" for runtime in runtimes_of(rows)),
        *(("int8 accuracy",) if any(int8_accuracy(row) is not None for row in rows) else ()),
        "Pareto front",
    )


def int8_accuracy(row: Row) -> float | None:
    """Return the test accuracy of the student's int8 file, in 0-1, or None."""
    value = (row["deployed"] or {}).get("int8_accuracy")
    return None if value is None else float(value)


def cells(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of texts by falling accuracy."""
    rows: list[Row] = sorted(
        result["students"], key=lambda row: (-row["test"]["distilled"]["accuracy"], row["name"])
    )
    deployed = any(int8_accuracy(row) is not None for row in rows)
    texts = []
    for row in rows:
        block, gain = row["test"]["distilled"], row["gain"]
        fronts = [label(cost) for cost, names in result["fronts"].items() if row["name"] in names]
        interval = format_interval(gain["ci95"], sign=True)
        texts.append(
            (
                row["name"],
                format_percent(block["accuracy"]),
                format_interval(block["accuracy_ci95"]),
                format_percent(block["macro_f1"]),
                f"{format_points(gain['accuracy'])} ({interval})",
                format_parameters(row["params"]),
                MISSING if row["macs"] is None else f"{row['macs'] / 1e6:.1f}",
                f"{row['file_mb']:.2f}",
                *(latency_text(row["latency"].get(name)) for name in runtimes_of(rows)),
                *((format_percent(int8_accuracy(row)),) if deployed else ()),
                ", ".join(fronts),
            )
        )
    return texts


def latency_text(latency: Mapping[str, Any] | None) -> str:
    """Return a median with a mark where it was unsteady."""
    if latency is None:
        return MISSING
    return f"{latency['p50']:.2f}{'?' if latency['unsteady'] else ''}"


def naming(name: str, reason: str) -> str:
    """Return a reason that names its model.

    >>> naming("lcnet_100", "lcnet_100 cannot be trained"), naming("lcnet_100", "it diverged")
    ('lcnet_100 cannot be trained', 'lcnet_100: it diverged')
    """
    return reason if name in reason else f"{name}: {reason}"


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Say what a reader of the table must know."""
    rows = result["students"]
    found = [
        tested_on(result),
        "A student is on a Pareto front when no other is at least as accurate and costs less; "
        "neighbours whose intervals overlap may change places with other seeds or images.",
    ]
    if any(int8_accuracy(row) is not None for row in rows):
        found.append(
            "int8 accuracy: the 8-bit file of one network, the one that is handed out; accuracy is "
            "the mean over the seeds, in float32."
        )
    if any(latency["unsteady"] for row in rows for latency in row["latency"].values()):
        found.append("?: unsteady latency, something else was running (p50 / min above 1.3).")
    counts = {row["name"]: sum(row["trials"].values()) for row in rows}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        found.append(f"the searches had different numbers of trials: {listed}.")
    found += [str(note) for note in result["notes"]]
    found += [f"refused: {naming(*item)}" for item in result["refused"].items()]
    found += [f"without a result: {naming(*item)}" for item in result["failed"].items()]
    over = result["over_limit"]
    if over:
        shown = ", ".join(over[:SHOWN_OVER_LIMIT])
        more = len(over) - SHOWN_OVER_LIMIT
        found.append(
            f"{format_count(len(over), 'model')} above the limits: {shown}"
            + (f" and {more} more" if more > 0 else "")
        )
    return found


def backbones_text(result: Mapping[str, Any]) -> str:
    """Return the table of a backbones study for a terminal."""
    lines = [table(header(result["students"]), cells(result)), result["rule"]]
    return "\n".join([*lines, *(f"note: {line}" for line in sentences(result))])


def write_backbones_report(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write ``REPORT.md`` of a backbones study into its folder, and return its path.

    Args:
        folder: The folder ``studies/NAME`` of the workspace.
        result: The content of its ``result.json``.
    """
    titles = header(result["students"])
    lines = [f"# {escape_markdown(result['name'])}: students compared", "", result["rule"], ""]
    lines += ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    lines += ["| " + " | ".join(map(escape_markdown, row)) + " |" for row in cells(result)]
    lines += ["", *(f"- {escape_markdown(line)}" for line in sentences(result)), ""]
    if result["page"]:
        lines += [f"All figures with paired tests: [the page]({quote(result['page'])}).", ""]
    lines += ["Settings that were chosen:", ""]
    lines += [
        f"- [{escape_markdown(row['name'])}](../{quote(row['study'])}/REPORT.md): "
        + escape_markdown(format_value(row["best_params"]))
        for row in result["students"]
    ]
    lines += ["", "Reproduce it with", "", code_block(str(result["command"]), "sh"), ""]
    lines += ["Protocol that all students share:", ""]
    lines += [
        f"- {escape_markdown(name)}: {escape_markdown(format_value(value))}"
        for name, value in result["protocol"].items()
    ]
    path = folder / "REPORT.md"
    write_text(path, "\n".join(lines) + "\n")
    return path
