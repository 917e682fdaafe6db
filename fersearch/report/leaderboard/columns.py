"""The columns of a board's table on the page, and the bars in its accuracy column."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fersearch.report.figures.parts import finite
from fersearch.report.leaderboard.board import Board, BoardRow
from fersearch.report.leaderboard.cost_words import deployed_number, has_deployed
from fersearch.report.leaderboard.sessions import runtime_label, shown_runtimes
from fersearch.report.leaderboard.words import comparison_words, number

__all__ = ["Bar", "Cell", "Column", "Scale", "accuracy_scale", "columns_of"]

BAR_WIDTH = 104
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
        name: What a reader is told that it is sorted by; the title when empty.
        hint: What it means, shown on hovering.
        group: Name of the group that it is shown and hidden with; empty when always shown.
        first: Direction of the first sort.
        runtime: Name of the runtime whose latency it shows; empty for other columns.
        make: Makes the cell of a row.
    """

    key: str
    title: str
    unit: str = ""
    name: str = ""
    hint: str = ""
    group: str = ""
    first: str = "descending"
    runtime: str = ""
    make: Callable[[BoardRow], Cell]

    def cell(
        self, row: BoardRow, *, rank: int, is_first: bool, letters: Mapping[tuple[str, str], str]
    ) -> Cell:
        """Return the cell of a row; ``letters`` names the sessions by row and runtime."""
        if self.key == "rank":
            return Cell(text=str(rank), value=rank)
        if self.key == "difference":
            return difference_cell(row, is_first=is_first)
        if self.runtime:
            return latency_cell(row, self.runtime, letters.get((row.key, self.runtime), ""))
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


def latency_cell(row: BoardRow, runtime: str, letter: str) -> Cell:
    """Return the median, of the main runtime over the 90th percentile, with session and flag."""
    figures = row.latencies.get(runtime)
    if figures is None:
        return Cell(text=number(None))
    return Cell(
        text=number(figures.p50),
        second=f"p90 {number(figures.p90)}" if runtime == row.runtime else "",
        value=finite(figures.p50),
        session=letter,
        flag="unsteady" if figures.unsteady else "",
    )


def int8_cell(row: BoardRow) -> Cell:
    """Return the accuracy of a row's 8-bit file over that of the same network in float32."""
    small, full = deployed_number(row, "int8_accuracy"), deployed_number(row, "fp32_accuracy")
    return Cell(
        text=number(small, 2, 100),
        second="" if full is None else f"fp32 {number(full, 2, 100)}",
        value=finite(small),
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
    if has_deployed(board):
        columns.append(
            Column(
                key="int8",
                title="int8",
                unit="accuracy, %",
                name="int8 accuracy",
                hint="One network, its 8-bit file, tested in the same opening of the test split; "
                "below it the same network in float32",
                group="int8",
                make=int8_cell,
            )
        )
    # Cost stands before the figures that are seldom compared: what does not fit is scrolled to.
    return (*columns, *cost_columns(board), *quality_columns())


def quality_columns() -> list[Column]:
    """Return the columns of the other test figures."""
    return [
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


def cost_columns(board: Board) -> list[Column]:
    """Return the columns of what a model costs."""
    rows = board.rows
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
    return columns + [latency_column(name) for name in shown_runtimes(board)]


def latency_column(runtime: str) -> Column:
    """Return the column of the latency in one runtime."""
    label = runtime_label(runtime)
    return Column(
        key=f"latency-{re.sub(r'[^a-z0-9]+', '-', label.lower())}",
        title="Latency",
        unit=f"{label}, ms",
        name=f"Latency {label}",
        hint=f"One image in {runtime}: the median, of the main runtime over the 90th percentile",
        group="Latency",
        first="ascending",
        runtime=runtime,
        make=nothing,
    )


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
