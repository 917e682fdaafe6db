"""The report of one study: ``REPORT.md`` beside its ``result.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fersearch.files import write_text
from fersearch.plugins import shipped
from fersearch.report.confusion_figure import draw_confusion
from fersearch.report.front import front_header, front_rows, front_sentences
from fersearch.report.summary import (
    ROLES,
    SUMMARY_HEADER,
    gain_sentence,
    is_drawn,
    single_seed_sentence,
    summary_cells,
    summary_rows,
)
from fersearch.report.text import (
    code_block,
    code_span,
    escape_markdown,
    format_count,
    format_interval,
    format_percent,
    format_value,
)

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["write_study_report"]

CONFUSION_FILE = "confusion.png"
REPORT_FILE = "REPORT.md"
TEMPLATE = "study.md.jinja"

# The settings that a reader looks for first, by their titles; the rest stands below in full.
PROTOCOL_TITLES = {
    "data": "data",
    "data_kind": "kind of data",
    "data_sha256": "SHA-256 of the data",
    "label_rule": "label rule",
    "classes": "classes",
    "n_train": "training images",
    "n_val": "validation images",
    "n_test": "test images",
    "image_size": "image size (px)",
    "epochs": "epochs",
    "batch_size": "batch size",
    "recipe": "recipe",
    "student": "student",
    "teacher": "teacher",
    "teacher_epochs": "teacher's epochs",
    "loss": "distillation loss",
    "metric": "metric on validation",
    "sampler": "sampler",
    "pruner": "pruner",
    "trials": "trials asked for",
    "seed": "study seed",
    "seeds": "seeds per confirmed setting",
}


def write_study_report(
    folder: Path, result: Mapping[str, Any], *, figures: Sequence[tuple[str, str]] = ()
) -> Path:
    """Write ``REPORT.md`` and ``confusion.png`` into a study's folder and return the former's path.

    Args:
        folder: The study's folder; it is made where missing.
        result: The content of ``result.json`` with ``command``, ``environment``, ``test_reads``,
            ``study_hash``, ``paper_settings`` and ``notes``.
        figures: Title and file name of pictures that lie in the folder already; one that does not
            is named as missing.
    """
    classes = [str(name) for name in result["protocol"]["classes"]]
    pictures = [(title, name, (folder / name).is_file()) for title, name in figures]
    tested = next((role for role in ("distilled", "student_alone") if role in result["test"]), None)
    if tested is not None:
        block = result["test"][tested]
        draw_confusion(
            block["confusion"],
            classes,
            path=folder / CONFUSION_FILE,
            title=f"{ROLES[tested]}, {format_count(len(block['seeds']), 'seed')}",
        )
    report = load_template().render(context(result, classes, pictures, tested))
    path = folder / REPORT_FILE
    write_text(path, report)
    return path


class Ready(str):
    """Text that is Markdown already; every other text is escaped on its way into the report."""

    __slots__ = ()


def finished(value: object) -> str:
    """Return what the template prints for ``value``: Markdown as it is, all else escaped."""
    return value if isinstance(value, Ready) else escape_markdown(value)


def table(header: Sequence[object], rows: Sequence[Sequence[object]], left: int = 1) -> Ready:
    """Return a Markdown table; cells are escaped unless they are Markdown already.

    Args:
        header: Titles of the columns.
        rows: Cells.
        left: How many columns stand to the left; the others, of numbers, to the right.
    """
    rule = [Ready("---" if column < left else "---:") for column in range(len(header))]
    return Ready(
        "\n".join("| " + " | ".join(map(finished, line)) + " |" for line in (header, rule, *rows))
    )


def load_template() -> Template:
    """Return the shipped template, with the functions that it may call."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=False,  # `finished` escapes for Markdown and HTML
        finalize=finished,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        table=table,
        code=lambda text: Ready(code_span(text)),
        block=lambda text, language="": Ready(code_block(text, language)),
        link=lambda name: Ready(quote(str(name))),
        count=format_count,
    )
    source = shipped("reports", TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source)


def context(
    result: Mapping[str, Any],
    classes: Sequence[str],
    pictures: Sequence[tuple[str, str, bool]],
    tested: str | None,
) -> dict[str, Any]:
    """Return what the template reads: rows of tables and plain values, all texts still raw."""
    protocol, test = result["protocol"], result["test"]
    gain = result.get("gain") or None
    return {
        "name": result["name"],
        "drawn": is_drawn(protocol),
        "protocol_rows": [
            (title, format_value(protocol[key]))
            for key, title in PROTOCOL_TITLES.items()
            if key in protocol
        ],
        "protocol_json": json.dumps(protocol, indent=2, ensure_ascii=False, sort_keys=True),
        "protocol_hash": result.get("protocol_hash", ""),
        "study_hash": result.get("study_hash", ""),
        "summary_header": SUMMARY_HEADER,
        "summary_rows": [summary_cells(row) for row in summary_rows(result)],
        "gain": gain,
        "gain_sentence": gain_sentence(gain) if gain else "",
        "single_seeds": single_seed_sentence(gain) if gain else "",
        "more_rows": further_rows(test),
        "setting_header": ("setting", *setting_names(result), "validation accuracy"),
        "setting_rows": setting_rows(result),
        "confirmed_rows": confirmed_rows(result),
        "front_header": front_header(result) if result.get("front") else (),
        "front_rows": front_rows(result) if result.get("front") else (),
        "front_sentences": front_sentences(result) if result.get("front") else (),
        "pruning": result.get("pruning", ""),
        "quality_rows": [] if result.get("front") else quality_rows(result),
        "paper_rows": bool(result.get("paper_settings")),
        "trials": result.get("trials", {}),
        "tested": ROLES[tested] if tested else "",
        "class_header": class_header(test),
        "class_rows": class_rows(test, classes),
        "confusion_file": CONFUSION_FILE,
        "pictures": pictures,
        "intervals": test[tested].get("interval", "") if tested else "",
        "block_notes": [
            (ROLES[role], note) for role in ROLES for note in test.get(role, {}).get("notes", ())
        ],
        "test_reads": result.get("test_reads"),
        "notes": result.get("notes", ()),
        "command": result.get("command", ""),
        "environment_rows": [
            (key, format_value(value)) for key, value in result.get("environment", {}).items()
        ],
        "seconds_rows": [
            (key, format_value(value)) for key, value in result.get("seconds", {}).items()
        ],
    }


def further_rows(test: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the remaining overall figures, one a model."""
    return [
        (
            ROLES[role],
            format_percent(test[role]["macro_precision"]),
            format_interval(test[role].get("macro_f1_ci95")),
            format_interval(test[role].get("balanced_accuracy_ci95")),
            format_percent(test[role]["auc"]),
            format_percent(test[role]["ece"]),
            ", ".join(
                f"{seed['seed']}: {format_percent(seed['accuracy'])}"
                for seed in test[role]["seeds"]
            ),
        )
        for role in ROLES
        if role in test
    ]


def setting_names(result: Mapping[str, Any]) -> list[str]:
    """Return the searched parameters' names, in the order in which they first occur."""
    settings = [
        result.get("best") or {},
        *result.get("paper_settings", ()),
        *result.get("confirmed", ()),
    ]
    return list(dict.fromkeys(name for setting in settings for name in setting.get("params", {})))


def parameter_texts(result: Mapping[str, Any], params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a setting's parameters in the order of :func:`setting_names`."""
    return tuple(
        format_value(params[name]) if name in params else "" for name in setting_names(result)
    )


def setting_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the best trial and the paper's settings, each with its validation accuracy."""
    rows, best = [], result.get("best")
    if best:
        word = "taken" if result.get("front") else "best"
        label = f"{word} (trial {best['trial']})" if "trial" in best else word
        rows.append((label, best["params"], best.get("trial_val_accuracy", best["val_accuracy"])))
    for number, paper in enumerate(result.get("paper_settings", ())):
        label = f"paper (trial {paper.get('trial', number)})"
        if paper.get("state", "complete") != "complete":
            label += f", {paper['state']} after {format_count(paper['epochs'], 'epoch')}"
        rows.append((label, paper["params"], paper["val_accuracy"]))
    return [
        (label, *parameter_texts(result, params), format_percent(accuracy))
        for label, params, accuracy in rows
    ]


def quality_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return when the search came near its best trial, in trials and in training time."""
    total = sum(result.get("trials", {}).values())
    return [
        (
            f"within {format_count(round(100 * row['within']), 'point')}"
            if row["within"]
            else "the best itself",
            f"{row['trials']} of {total}",
            f"{row['seconds'] / 60:.1f}",
        )
        for row in result.get("time_to_quality", ())
    ]


def confirmed_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the confirmed settings: their validation accuracy a seed, and the mean."""
    rows = []
    settings = [("distilled", item) for item in result.get("confirmed", ())]
    settings += [("alone", item) for item in result.get("control", {}).get("confirmed", ())]
    for role, setting in settings:
        states = setting.get("states", ["complete"] * len(setting["seeds"]))
        values = setting["val_accuracy"]
        whole = all(state == "complete" for state in states)
        texts = [
            format_percent(value) if state == "complete" else "diverged"
            for value, state in zip(values, states, strict=True)
        ]
        seeds = zip(setting["seeds"], texts, strict=True)
        rows.append(
            (
                role,
                *parameter_texts(result, setting["params"]),
                ", ".join(f"{seed}: {text}" for seed, text in seeds),
                format_percent(sum(values) / len(values)) if whole else "not chosen",
            )
        )
    return rows


def class_header(test: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the header of the per-class table: recall and precision of every tested model."""
    roles = [ROLES[role] for role in ROLES if role in test]
    return (
        "class",
        "test images",
        *(f"{role}: {figure}" for role in roles for figure in ("recall", "precision")),
    )


def class_rows(test: Mapping[str, Any], classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return recall and precision of every class and tested model."""
    blocks = [test[role]["per_class"] for role in ROLES if role in test]
    return [
        (
            name,
            str(blocks[0][name]["support"]),
            *(
                format_percent(block[name][figure], 1)
                for block in blocks
                for figure in ("recall", "precision")
            ),
        )
        for name in classes
        if blocks
    ]
