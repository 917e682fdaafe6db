"""What a leaderboard says in words: protocol, ranks, comparisons, gains and methods.

Every text is plain; each format escapes it in its own way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fersearch.records import to_plain
from fersearch.report.leaderboard.board import Board, BoardRow, Gain, Leaderboard
from fersearch.report.leaderboard.sessions import unsteady_runtimes
from fersearch.report.study_report import PROTOCOL_TITLES
from fersearch.report.summary import gain_sentence, is_drawn, single_seed_sentence
from fersearch.report.text import (
    MISSING,
    format_count,
    format_interval,
    format_p_value,
    format_points,
    format_value,
)
from fersearch.search.protocol import COMPARED

__all__ = [
    "COLUMN_NOTES",
    "METHODS",
    "NOT_SEPARABLE",
    "GainWords",
    "board_title",
    "claim_words",
    "comparison_words",
    "drawn_words",
    "gain_words",
    "number",
    "overview",
    "p_value_words",
    "protocol_rows",
    "protocol_sentence",
    "ranks",
    "read_words",
    "row_notes",
    "separation",
    "standing",
    "training_words",
]

ALPHA = 0.05
NOT_SEPARABLE = "not separable from the first at 95 %"

# Name of the method, and what is done with it.
METHODS = (
    (
        "Figures",
        "Each is the mean over the training seeds. Macro figures, balanced accuracy and AUC are "
        "unweighted means over the classes that have test images.",
    ),
    (
        "95 % intervals",
        "Bootstrap over the test images, the same resample for all seeds, plus the variance "
        "between seeds with Student's t; made on the logit scale. With one seed they cover the "
        "choice of images only.",
    ),
    (
        "Difference to the first",
        "Paired bootstrap on the same images and seeds. Its p-values are corrected over the board "
        "by Holm's step-down method. A row with a corrected p of 0.05 or more is not separable "
        "from the first; that is no proof that both are equally good.",
    ),
    (
        "Gain of distillation",
        "The same paired bootstrap, uncorrected, for the one comparison that the study was made "
        "for; beside it the exact McNemar test of each seed.",
    ),
    (
        "AUC",
        "Area under the ROC curve, one class against the rest by softmax probability.",
    ),
    (
        "ECE",
        "Expected calibration error of the top-1 confidence, 15 bins of equal width; lower is "
        "better.",
    ),
    (
        "Cost",
        "Parameters and multiply-accumulates (MACs) of one image at inference. Latency is that of "
        "one image on one thread of one host, all models and runtimes in turn; figures of "
        "different sessions or hosts are never ranked together. It does not depend on the values "
        "of the weights, so networks with initial ones are measured.",
    ),
    (
        "Choice",
        "Settings and checkpoints are chosen on the validation split; the test split is opened "
        "for the figures shown here.",
    ),
)
COLUMN_NOTES = (
    "Claimed: what the paper reports for a model of this name, on its own data and by its own "
    "protocol. It stands beside the measured figure and is not compared with it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GainWords:
    """A gain in words: what was compared, what it shows, and the tests behind it."""

    study: str
    comparison: str
    sentence: str
    tests: str


def number(value: object, digits: int = 2, scale: float = 1.0) -> str:
    """Return a number with fixed digits, or an en dash where there is none.

    >>> number(0.876, 1, 100), number(None), number(float("nan"))
    ('87.6', '–', '–')
    """  # noqa: RUF002 - the en dash is meant
    if not isinstance(value, int | float) or not math.isfinite(value):
        return MISSING
    return f"{scale * value:,.{digits}f}"


def ranks(rows: Sequence[BoardRow]) -> list[int]:
    """Return the ranks of rows that are sorted by falling accuracy; equals share the better one."""
    places: list[int] = []
    for place, row in enumerate(rows):
        equal = place > 0 and math.isclose(
            row.metrics.accuracy, rows[place - 1].metrics.accuracy, abs_tol=1e-12
        )
        places.append(places[-1] if equal else place + 1)
    return places


def board_title(board: Board, place: int, boards: int) -> str:
    """Return the heading of a board."""
    name = "Ablation" if board.kind == "ablation" else "Leaderboard"
    data = format_value(board.protocol.get("data", "unnamed data"))
    lead = f"{name} {place}: " if boards > 1 else f"{name}: "
    return f"{lead}{data}, {format_count(len(board.rows), 'model')}"


def protocol_sentence(protocol: Mapping[str, Any], protocol_hash: str) -> str:
    """Say under which protocol a board's rows were made."""
    parts = [f"Data {format_value(protocol['data'])}" if "data" in protocol else "Unnamed data"]
    if protocol.get("label_rule"):
        parts.append(f"label rule {format_value(protocol['label_rule'])}")
    splits = [
        f"{format_images(protocol[key])} {name}"
        for key, name in (("n_train", "training"), ("n_val", "validation"), ("n_test", "test"))
        if key in protocol
    ]
    if splits:
        parts.append(f"{', '.join(splits)} images")
    if "image_size" in protocol:
        parts.append(f"{format_value(protocol['image_size'])} px")
    for key, noun in (("epochs", "epoch"), ("seeds", "seed")):
        value = protocol.get(key)
        if isinstance(value, int):
            parts.append(format_count(value, noun))
    return f"{', '.join(parts)}; protocol {protocol_hash}."


def format_images(value: object) -> str:
    """Return a number of images with thousands marked."""
    return f"{value:,}" if isinstance(value, int) else format_value(value)


def overview(leaderboard: Leaderboard) -> str:
    """Say in a sentence or two what the page holds."""
    boards = leaderboard.boards
    rows = sum(len(board.rows) for board in boards)
    if not rows:
        return "No tested model was found, so there is nothing to rank yet."
    text = (
        f"{format_count(rows, 'facial-expression model')}, trained and tested by fersearch on the "
        "same images under the same rules, with intervals for every accuracy."
    )
    if len(boards) > 1:
        text += (
            f" They stand on {len(boards)} boards, one for each protocol; figures of different "
            "boards are not comparable."
        )
    return text


def drawn_words(board: Board) -> str:
    """Say that faces are drawings where they are; empty otherwise."""
    if not is_drawn(board.protocol):
        return ""
    return (
        "The faces are drawings, not photographs. The figures say how the models compare on them, "
        "and nothing about real faces."
    )


def protocol_rows(protocol: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return title and value of every setting of a protocol, the best known first."""
    titles = {**PROTOCOL_TITLES, "seeds": "seeds", "version": "version of the protocol"}
    first = [key for key in titles if key in protocol]
    rest = [key for key in protocol if key not in titles]
    return [
        (
            titles.get(key, str(key).replace("_", " ")) + whose(key, protocol),
            space_words(protocol[key]) if key == "space" else format_value(protocol[key]),
        )
        for key in (*first, *rest)
    ]


def whose(key: str, protocol: Mapping[str, Any]) -> str:
    """Say which rows a setting belongs to, where a board has both studies and baselines."""
    if "budget" not in protocol or "objective" not in protocol:
        return ""
    if key in {"budget", "learning_rate"}:
        return " (baselines)"
    return "" if key in {*COMPARED, "data", "data_kind", "layout"} else " (study)"


def space_words(space: object) -> str:
    """Return the searched parameters with their ranges.

    >>> space_words({"alpha": {"low": 0.05, "high": 0.95, "log": True}, "n": {"choices": [2, 4]}})
    'alpha 0.05 to 0.95 (logarithmic); n 2, 4'
    """
    if not isinstance(space, Mapping):
        return format_value(space)
    parts = []
    for name, given in space.items():
        if "choices" in given:
            words = f"{name} {format_value(given['choices'])}"
        else:
            scale = " (logarithmic)" if given.get("log") else ""
            low, high = format_value(given.get("low")), format_value(given.get("high"))
            words = f"{name} {low} to {high}{scale}"
        conditions = (given.get("when") or {}).items()
        where = " and ".join(f"{other} is {format_value(values)}" for other, values in conditions)
        parts.append(f"{words} where {where}" if where else words)
    return "; ".join(parts)


def separation(row: BoardRow) -> str:
    """Say where the comparison to the first row shows no difference; empty where it does."""
    p_value = row.p_value_vs_first
    if p_value is None or not math.isfinite(p_value):
        return ""
    return NOT_SEPARABLE if p_value >= ALPHA else ""


def standing(board: Board) -> str:
    """Say which row is first, and how many others cannot be told apart from it."""
    if not board.rows:
        return "No model was tested under this protocol."
    first, others = board.rows[0], board.rows[1:]
    text = (
        f"First by mean accuracy is {first.title} ({first.role}) with "
        f"{number(first.metrics.accuracy, 2, 100)} %, 95 % interval "
        f"{format_interval(first.metrics.accuracy_ci95)}."
    )
    if not others:
        return f"{text} It is the only row, so there is nothing to compare it with."
    close = sum(bool(separation(row)) for row in others)
    unpaired = sum(row.versus_first is None for row in others)
    if len(others) == 1 and not unpaired:
        verb = "is not" if close else "is"
        text += f" The other model {verb} separable from it at 95 %."
    elif unpaired < len(others):
        compared = len(others) - unpaired
        which = f"the {format_count(compared, 'model')} compared with it"
        if compared == 1:
            text += f" The model compared with it {'is not' if close else 'is'} separable from it"
        elif close in (0, compared):
            text += f" {'None of' if close else 'All of'} {which} can be told apart from it"
        else:
            text += f" Of {which}, {close} {'is' if close == 1 else 'are'} not separable from it"
        text += " at 95 %."
    if unpaired:
        verb = "has" if unpaired == 1 else "have"
        text += (
            f" {format_count(unpaired, 'model')} {verb} other seeds and cannot be paired with it."
        )
    return text


def p_value_words(value: float | None) -> str:
    """Return a p-value with its relation, or an en dash."""
    return MISSING if value is None or not math.isfinite(value) else format_p_value(value)


def comparison_words(row: BoardRow, *, is_first: bool) -> tuple[str, str]:
    """Return the difference to the first row in points with its interval, and its p-value."""
    if is_first:
        return "first", ""
    if row.versus_first is None:
        return MISSING, "seeds do not pair"
    gain = row.versus_first
    words = f"{format_points(gain.accuracy)} ({format_interval(gain.ci95, sign=True)})"
    return words, p_value_words(row.p_value_vs_first)


def claim_words(row: BoardRow) -> str:
    """Return what the paper claims for a model of this name; empty where it claims nothing."""
    claimed = row.claimed or {}
    parts = [
        f"{name} {number(claimed[key], digits, scale)}{unit}"
        for key, name, digits, scale, unit in (
            ("accuracy", "accuracy", 2, 100, " %"),
            ("precision", "precision", 2, 100, " %"),
            ("params_m", "parameters", 2, 1, " M"),
        )
        if claimed.get(key) is not None
    ]
    return ", ".join(parts)


def row_notes(row: BoardRow) -> list[str]:
    """Return what a reader must know of a row, its own notes first."""
    lines = [*row.notes, *row.metrics.notes]
    if row.macs_not_counted:
        lines.append(f"MACs leave out: {', '.join(row.macs_not_counted)}")
    if row.training_params != row.params:
        lines.append(
            f"{number(row.training_params, 2, 1e-6)} M parameters were trained, "
            f"{number(row.params, 2, 1e-6)} M are left at inference"
        )
    if unsteady := unsteady_runtimes(row):
        lines.append(f"its latency was unsteady ({', '.join(unsteady)})")
    return [f"{line[:1].upper()}{line[1:].rstrip('.')}." for line in lines if line.strip()]


def gain_words(gain: Gain) -> GainWords:
    """Return a gain in words with its test."""
    plain = to_plain(gain.gain)
    single = single_seed_sentence(plain)
    return GainWords(
        study=gain.study,
        comparison=f"{gain.first} minus {gain.second}",
        sentence=gain_sentence(plain),
        tests=f"Test: {gain.gain.test}. {single}".strip(),
    )


def read_words(board: Board) -> list[tuple[str, str]]:
    """Return study and how often it opened the test split."""
    return [
        (study, "once" if reads == 1 else "never" if reads == 0 else f"{reads} times")
        for study, reads in board.test_reads.items()
    ]


def training_words(seconds: float) -> str:
    """Return the time of training; empty where it is not known."""
    if not math.isfinite(seconds) or seconds <= 0:
        return ""
    return f"{seconds / 60:,.1f} min, all seeds"
