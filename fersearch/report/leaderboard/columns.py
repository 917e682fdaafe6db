"""The columns of a board's table on the page, and the bars in its accuracy column."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fersearch.report.figures.parts import finite
from fersearch.report.leaderboard.board import Board, BoardRow
from fersearch.report.leaderboard.words import comparison_words, number

__all__ = ["Bar", "Cell", "Column", "Scale", "accuracy_scale", "columns_of"]

BAR_WIDTH = 120
BAR_MARGIN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell.

    Attributes:
        text: What it shows.
        second: A smaller line below.
        third: Another.
        value: What its column is sorted by; None comes last.
        session: Letter of the latency session; rows of other sessions are sorted apart.
        flag: A word of warning.
    """

    text: str
    second: str = ""
    third: str = ""
    value: float | str | None = None
    session: str = ""
    flag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column.

    Attributes:
        key: ``rank``, ``model`` and ``accuracy`` are drawn in their own way.
        title: Its heading.
        unit: Unit, in smaller type; may be empty.
        hint: What it means, shown on hovering.
        group: Name of the group that it is shown and hidden with; empty when always shown.
        first: Direction of the first sort.
        make: Makes the cell of a row.
    """

    key: str
    title: str
    unit: str = ""
    hint: str = ""
    group: str = ""
    first: str = "descending"
    make: Callable[[BoardRow], Cell]

    def cell(self, row: BoardRow, *, rank: int, is_first: bool, letter: str) -> Cell:
        """Return the cell of a row."""
        if self.key == "rank":
            return Cell(text=str(rank), value=rank)
        if self.key == "difference":
            return difference_cell(row, is_first=is_first)
        if self.key == "latency":
            return latency_cell(row, letter)
        return self.make(row)


def figure_cell(value: float | None, digits: int, scale: float) -> Cell:
    """Return a cell with a number, sorted by it."""
    return Cell(text=number(value, digits, scale), value=finite(value))


def difference_cell(row: BoardRow, *, is_first: bool) -> Cell:
    """Return the difference to the first row with its interval and p-value."""
    words, p_value = comparison_words(row, is_first=is_first)
    gain = row.versus_first
    if is_first or gain is None:
        return Cell(text=words, second=p_value, value=0.0 if is_first else None)
    points, _, interval = words.partition(" ")
    return Cell(
        text=points, second=interval.strip("()"), third=p_value, value=finite(gain.accuracy)
    )


def latency_cell(row: BoardRow, letter: str) -> Cell:
    """Return median over 90th percentile, with the session and a flag where it was unsteady."""
    figures = row.latency
    if figures is None:
        return Cell(text=number(None))
    return Cell(
        text=number(figures.p50),
        second=f"p90 {number(figures.p90)}",
        value=finite(figures.p50),
        session=letter,
        flag="unsteady" if figures.unsteady else "",
    )


def of_metric(name: str) -> Callable[[BoardRow], Cell]:
    """Return what makes cells of a test figure in percent."""
    return lambda row: figure_cell(getattr(row.metrics, name), 2, 100)


def nothing(row: BoardRow) -> Cell:
    """Return an empty cell, for columns whose cells need more than the row."""
    return Cell(text="")


def columns_of(board: Board) -> tuple[Column, ...]:
    """Return the columns of a board; those without any figure are left out."""
    rows = board.rows
    columns = [
        Column(
            key="rank", title="#", hint="Rank by mean accuracy", first="ascending", make=nothing
        ),
        Column(
            key="model",
            title="Model",
            first="ascending",
            make=lambda row: Cell(text=row.title, value=row.title.casefold()),
        ),
        Column(key="accuracy", title="Accuracy", unit="%", make=of_metric("accuracy")),
    ]
    if len(rows) > 1:
        columns.append(
            Column(
                key="difference",
                title="vs first",
                unit="points",
                hint="Difference in accuracy to the first row, paired, with Holm's p",
                group="Difference",
                make=nothing,
            )
        )
    if any((row.claimed or {}).get("accuracy") is not None for row in rows):
        columns.append(
            Column(
                key="claimed",
                title="Claimed",
                unit="%",
                hint="Accuracy that the paper reports, on its own data",
                group="Claimed",
                make=lambda row: figure_cell((row.claimed or {}).get("accuracy"), 2, 100),
            )
        )
    columns += [
        Column(
            key=key,
            title=title,
            unit="%",
            hint=hint,
            group="Quality",
            first=first,
            make=of_metric(key),
        )
        for key, title, hint, first in (
            ("macro_f1", "F1", "Macro-F1", "descending"),
            ("macro_precision", "Precision", "Macro precision", "descending"),
            ("balanced_accuracy", "Balanced", "Balanced accuracy: mean recall", "descending"),
            ("auc", "AUC", "One class against the rest, macro average", "descending"),
            ("ece", "ECE", "Expected calibration error, lower is better", "ascending"),
        )
    ]
    columns += cost_columns(rows)
    return tuple(columns)


def cost_columns(rows: Sequence[BoardRow]) -> list[Column]:
    """Return the columns of what a model costs."""
    columns = [
        Column(
            key="params",
            title="Params",
            unit="M",
            hint="Parameters at inference",
            group="Cost",
            first="ascending",
            make=lambda row: figure_cell(row.params, 2, 1e-6),
        )
    ]
    if any(row.macs is not None for row in rows):
        columns.append(
            Column(
                key="macs",
                title="MACs",
                unit="M",
                hint="Multiply-accumulates of one image",
                group="Cost",
                first="ascending",
                make=lambda row: figure_cell(row.macs, 1, 1e-6),
            )
        )
    columns.append(
        Column(
            key="file_mb",
            title="File",
            unit="MB",
            hint="Weights file",
            group="Cost",
            first="ascending",
            make=lambda row: figure_cell(row.file_mb, 1, 1.0),
        )
    )
    if any(row.latency is not None for row in rows):
        columns.append(
            Column(
                key="latency",
                title="Latency",
                unit="ms",
                hint="Median and 90th percentile of one image",
                group="Latency",
                first="ascending",
                make=nothing,
            )
        )
    return columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Places in the drawing of an interval, in its units."""

    low: float
    high: float
    mean: float
    reference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The scale of the bars, in percent; the drawing is ``width`` units wide."""

    low: float
    high: float
    width: int = BAR_WIDTH

    def place(self, share: float) -> float:
        """Return where a share lies."""
        part = (100 * share - self.low) / (self.high - self.low)
        return round(BAR_MARGIN + (self.width - 2 * BAR_MARGIN) * min(max(part, 0.0), 1.0), 2)

    def bar(self, row: BoardRow, first: BoardRow) -> Bar:
        """Return where a row's interval and mean lie, and the first row's mean."""
        low, high = row.metrics.accuracy_ci95
        return Bar(
            low=self.place(low),
            high=self.place(high),
            mean=self.place(row.metrics.accuracy),
            reference=self.place(first.metrics.accuracy),
        )


def accuracy_scale(rows: Sequence[BoardRow]) -> Scale:
    """Return a scale in steps of five percent that holds the intervals of all rows."""
    ends = [100 * end for row in rows for end in row.metrics.accuracy_ci95]
    if not ends:
        return Scale(low=0, high=100)
    low, high = 5 * math.floor(min(ends) / 5), 5 * math.ceil(max(ends) / 5)
    return Scale(low=low, high=high if high > low else low + 5)
