"""The small table at the end of a study: teacher, student alone, distilled student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fersearch.report.front import front_text
from fersearch.report.text import (
    format_count,
    format_interval,
    format_p_value,
    format_parameters,
    format_percent,
    format_points,
    plain_table,
)

__all__ = [
    "ROLES",
    "SUMMARY_HEADER",
    "SummaryRow",
    "gain_sentence",
    "summary_cells",
    "summary_rows",
    "summary_text",
]

ROLES = {
    "teacher": "teacher",
    "student_alone": "student alone",
    "distilled": "distilled student",
}
SUMMARY_HEADER = (
    "row",
    "model",
    "params (M)",
    "accuracy",
    "95 % interval",
    "macro-F1",
    "balanced accuracy",
    "seeds",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryRow:
    """One row of the table; shares are in 0-1.

    Attributes:
        role: ``teacher``, ``student_alone`` or ``distilled``.
        model: timm name of the network; empty when the result does not say.
        params: Number of parameters; None when the result does not say.
        accuracy: Mean test accuracy over the seeds.
        accuracy_ci95: Its interval.
        macro_f1: Mean macro-F1 over the seeds.
        balanced_accuracy: Mean balanced accuracy over the seeds.
        seeds: Number of seeds.
    """

    role: str
    model: str
    params: int | None
    accuracy: float
    accuracy_ci95: tuple[float, float]
    macro_f1: float
    balanced_accuracy: float
    seeds: int


def summary_rows(result: Mapping[str, Any]) -> list[SummaryRow]:
    """Return the rows of a study's ``result.json`` that were tested, teacher first.

    The student's parameters are ``cost.params``, the teacher's ``cost.teacher.params``.
    """
    cost, protocol, rows = result.get("cost", {}), result["protocol"], []
    for role in ROLES:
        block = result["test"].get(role)
        if block is None:
            continue
        is_teacher = role == "teacher"
        named = protocol.get("teacher" if is_teacher else "student", "")
        own_cost = cost.get("teacher", {}) if is_teacher else cost
        low, high = block["accuracy_ci95"]
        rows.append(
            SummaryRow(
                role=role,
                model=str(own_cost.get("model") or named),
                params=own_cost.get("params"),
                accuracy=block["accuracy"],
                accuracy_ci95=(low, high),
                macro_f1=block["macro_f1"],
                balanced_accuracy=block["balanced_accuracy"],
                seeds=len(block["seeds"]),
            )
        )
    return rows


def summary_cells(row: SummaryRow) -> tuple[str, ...]:
    """Return the texts of a row in the order of ``SUMMARY_HEADER``."""
    return (
        ROLES[row.role],
        row.model,
        format_parameters(row.params),
        format_percent(row.accuracy),
        format_interval(row.accuracy_ci95),
        format_percent(row.macro_f1),
        format_percent(row.balanced_accuracy),
        str(row.seeds),
    )


def gain_sentence(gain: Mapping[str, Any]) -> str:
    """Say what a paired comparison of distilled student and student alone shows, and what not.

    >>> gain_sentence({"accuracy": 0.01, "ci95": [-0.01, 0.03], "p_value": 0.3, "test": "t"})[:46]
    'No difference in test accuracy could be shown:'
    """
    low, high = gain["ci95"]
    size = abs(100 * gain["accuracy"])
    figures = (
        f"95 % interval {format_interval((low, high), sign=True)} points, "
        f"{format_p_value(gain['p_value'])}"
    )
    if low <= 0.0 <= high:
        return (
            "No difference in test accuracy could be shown: distilled minus alone is "
            f"{format_points(gain['accuracy'])} points, and the interval holds zero ({figures})."
        )
    verb = "gained" if low > 0.0 else "lost"
    return (
        f"Distillation {verb} {size:.2f} points of test accuracy over the same student trained "
        f"alone ({figures})."
    )


def single_seed_sentence(gain: Mapping[str, Any]) -> str:
    """State the exact McNemar test of every seed; empty where there is none.

    >>> single_seed_sentence({"mcnemar": [{"only_a": 6, "only_b": 1, "p_value": 0.125}]})
    'Exact McNemar test of each seed (right in one network only): 6 against 1 images, p = 0.125.'
    """
    parts = [
        f"{test['only_a']} against {test['only_b']} images, {format_p_value(test['p_value'])}"
        for test in gain.get("mcnemar", ())
    ]
    if not parts:
        return ""
    return f"Exact McNemar test of each seed (right in one network only): {'; '.join(parts)}."


def summary_text(result: Mapping[str, Any]) -> str:
    """Return the table for a terminal, with the sentence about the gain and what was tested on."""
    protocol = result["protocol"]
    cells = [summary_cells(row) for row in summary_rows(result)]
    lines = [plain_table(SUMMARY_HEADER, cells, left=2)]
    if result.get("gain"):
        lines.append(gain_sentence(result["gain"]))
    if result.get("front"):
        lines += ["", front_text(result), ""]
    images = format_count(int(protocol["n_test"]), "test image")
    rule = f", label rule {protocol['label_rule']}" if protocol.get("label_rule") else ""
    drawn = "; drawings, not photographs" if is_drawn(protocol) else ""
    measured = "Measured once" if result.get("test_reads") == 1 else "Measured"
    lines.append(f"{measured} on {images} of {protocol['data']}{rule}{drawn}.")
    return "\n".join(lines)


def is_drawn(protocol: Mapping[str, Any]) -> bool:
    """Tell whether the faces of a study are drawings."""
    kind = str(protocol.get("data_kind", protocol.get("data", "")))
    return kind.split(":")[0] == "synthetic"
