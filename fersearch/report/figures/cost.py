"""Accuracy against cost, with the front of the models that no other beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fersearch.report.figures.models import error_bar, roles_of, row_hover
from fersearch.report.figures.parts import (
    Figure,
    Spec,
    Variant,
    axis,
    figure_text,
    finite,
    layout,
    log_ticks,
    look_of,
    percent,
    rounded,
    short,
    shown_percent,
)
from fersearch.report.leaderboard.board import Board, BoardRow
from fersearch.report.leaderboard.sessions import (
    latency_sessions,
    runtime_label,
    shown_runtimes,
)
from fersearch.report.text import MISSING, format_interval

__all__ = ["cost_figure", "pareto_front"]

# Sizes in pixels, by which names are kept from lying on each other.
LETTER_WIDTH = 6.4
LINE_HEIGHT = 14.0
GAP = 12.0
PLOT_HEIGHT = 300.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model costs by one measure: its name, its unit and a value or None for each row."""

    name: str
    unit: str
    values: tuple[float | None, ...]

    @property
    def title(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})"


def cost_measures(board: Board) -> list[Cost]:
    """Return the measures that at least one row has."""
    rows = board.rows
    costs = [
        Cost("parameters", "M", tuple(row.params / 1e6 for row in rows)),
        Cost(
            "multiply-accumulates",
            "M",
            tuple(None if row.macs is None else row.macs / 1e6 for row in rows),
        ),
        Cost("weights file", "MB", tuple(row.file_mb for row in rows)),
    ]
    costs += latency_costs(board)
    # A cost of zero or less has no place on a logarithmic axis.
    costs = [
        Cost(
            cost.name,
            cost.unit,
            tuple(
                v if (v := finite(value)) is not None and v > 0 else None for value in cost.values
            ),
        )
        for cost in costs
    ]
    return [cost for cost in costs if any(value is not None for value in cost.values)]


def latency_costs(board: Board) -> list[Cost]:
    """Return the median latency in each runtime, the main one first; sessions stay apart."""
    sessions = latency_sessions(board)
    costs = []
    for runtime in shown_runtimes(board):
        for session in sessions:
            several = f", session {session.letter}" if len(sessions) > 1 else ""
            values = tuple(
                row.latencies[runtime].p50 if (row.key, runtime) in session.members else None
                for row in board.rows
            )
            costs.append(Cost(f"latency {runtime_label(runtime)}, median{several}", "ms", values))
    return costs


def pareto_front(costs: Sequence[float | None], accuracies: Sequence[float]) -> list[int]:
    """Return the indices of the rows that no other row beats, by rising cost.

    A row is beaten by one that costs no more and is no less accurate, and better in one of both.

    >>> pareto_front([3.0, 1.0, 2.0, None], [0.9, 0.7, 0.6, 0.99])
    [1, 0]
    """
    known = [(cost, -accuracies[i], i) for i, cost in enumerate(costs) if cost is not None]
    front: list[int] = []
    for cost, negated, index in sorted(known):
        last = front[-1] if front else None
        better = last is None or accuracies[index] > accuracies[last]
        equal = last is not None and cost == costs[last] and -negated == accuracies[last]
        if better or equal:
            front.append(index)
    return front


def front_label(row: BoardRow, place: float, *, length: int, inwards: bool) -> Spec:
    """Return the name of a row on the front, up and left of its mark, where no other row lies.

    Args:
        row: The row.
        place: Logarithm of its cost.
        length: Where to cut the name.
        inwards: Write it up and right of the mark instead.
    """
    return {
        "x": round(place, 5),
        "y": percent(row.metrics.accuracy),
        "text": figure_text(row.title, length),
        "showarrow": False,
        "xanchor": "left" if inwards else "right",
        "yanchor": "bottom",
        "xshift": 5 if inwards else -7,
        "yshift": 3,
        "font": {"size": 11, "color": "@ink", "shadow": "@halo"},
    }


def labels(
    board: Board,
    labelled: Sequence[tuple[BoardRow, float]],
    *,
    ends: tuple[float, float],
    narrow: bool = False,
) -> list[Spec]:
    """Return the names of the rows on the front, the most accurate first, as far as there is room.

    Args:
        board: The board.
        labelled: Rows with the logarithm of their cost.
        ends: Logarithms at the ends of the axis.
        narrow: Whether it is for a narrow screen.
    """
    width, length = (270, 16) if narrow else (1100, 30)
    accuracies = [end for row in board.rows for end in row.metrics.accuracy_ci95]
    tall = max(accuracies) - min(accuracies) or 1.0
    taken: list[tuple[float, float, float]] = []
    found = []
    for row, place in reversed(labelled):
        inwards = narrow and place < sum(ends) / 2
        across = width * (place - ends[0]) / (ends[1] - ends[0])
        size = LETTER_WIDTH * len(short(row.title, length))
        left = across if inwards else across - size
        up = PLOT_HEIGHT * row.metrics.accuracy / tall
        free = all(
            left > end + GAP or left + size + GAP < start or abs(up - other) > LINE_HEIGHT
            for start, end, other in taken
        )
        if free:
            taken.append((left, left + size, up))
            found.append(front_label(row, place, length=length, inwards=inwards))
    return found


def cost_traces(rows: Sequence[BoardRow], cost: Cost, *, front: Sequence[int]) -> list[Spec]:
    """Return the line of the front, then the marks of the rows whose cost is known, by role."""
    known = [(row, value) for row, value in zip(rows, cost.values, strict=True) if value]
    traces: list[Spec] = [
        {
            "type": "scatter",
            "name": "Pareto front",
            "mode": "lines",
            "x": [rounded(cost.values[index]) for index in front],
            "y": [percent(rows[index].metrics.accuracy) for index in front],
            "line": {"shape": "hv", "color": "@muted", "width": 1.2, "dash": "dot"},
            "hoverinfo": "skip",
        }
    ]
    for role in roles_of([row for row, _ in known]):
        members = [(row, value) for row, value in known if row.role == role]
        look = look_of(members[0][0])
        traces.append(
            {
                "type": "scatter",
                "name": figure_text(role),
                "mode": "markers",
                "x": [rounded(value) for _, value in members],
                "y": [percent(row.metrics.accuracy) for row, _ in members],
                "error_y": error_bar([row for row, _ in members], look.colour),
                "marker": {"color": look.colour, "symbol": look.symbol, "size": 10},
                "text": [
                    f"{row_hover(row)}<br>{cost.name} {value:.3g} {cost.unit}"
                    for row, value in members
                ],
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    return traces


def cost_variant(board: Board, cost: Cost) -> Variant:
    """Return accuracy against one cost, on a logarithmic axis, with the front of the best."""
    rows = board.rows
    front = pareto_front(cost.values, [row.metrics.accuracy for row in rows])
    ends = [math.log10(value) for value in cost.values if value]
    span = max(max(ends) - min(ends), 0.3)
    table = tuple(
        (
            short(row.title, 80),
            row.role,
            MISSING if value is None else f"{value:.3g}",
            shown_percent(row.metrics.accuracy),
            format_interval(row.metrics.accuracy_ci95),
            "yes" if index in front else "no",
        )
        for index, (row, value) in enumerate(zip(rows, cost.values, strict=True))
    )
    low, high = min(ends) - 0.3 * span, max(ends) + 0.12 * span
    labelled = [(rows[index], math.log10(cost.values[index] or 1.0)) for index in front]
    ticks = log_ticks(10**low, 10**high)
    xaxis = axis(f"{cost.title}, logarithmic", type="log", range=[round(low, 4), round(high, 4)])
    if ticks:
        xaxis |= {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    spec = {
        "data": cost_traces(rows, cost, front=front),
        "layout": layout(
            height=430,
            xaxis=xaxis,
            yaxis=axis("accuracy (%)"),
            showlegend=True,
            annotations=labels(board, labelled, ends=(low, high)),
            meta={"narrow_annotations": labels(board, labelled, ends=(low, high), narrow=True)},
        ),
    }
    header = ("model", "role", cost.title, "accuracy", "95 % interval", "on the front")
    return Variant(label=cost.title, spec=spec, header=header, rows=table)


def cost_figure(board: Board) -> Figure | None:
    """Return accuracy against cost, a picture a cost."""
    costs = cost_measures(board)
    if not costs:
        return None
    caption = (
        "Mean test accuracy with its 95 % interval. Dotted: the Pareto front by mean accuracy; no "
        "model costs less and is more accurate than one on it; its models are named where there is "
        "room. Neighbours whose intervals overlap "
        "may change places with other seeds or images."
    )
    if set(shown_runtimes(board)) - {"onnxruntime", "eager"}:
        caption += " Accuracies are those of the float32 networks, whatever runs them."
    sessions = latency_sessions(board)
    if len(sessions) > 1:
        caption += (
            f" Latency was measured in {len(sessions)} sessions or on several hosts; each has its "
            "own picture and front, for they do not compare."
        )
    return Figure(
        key="cost",
        title="Accuracy against cost",
        caption=caption,
        variants=tuple(cost_variant(board, cost) for cost in costs),
        choice="Cost",
        wide=True,
    )
