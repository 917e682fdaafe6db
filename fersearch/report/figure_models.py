"""Figures with a mark for every model: accuracy against cost, seeds, gains of distillation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fersearch.report.board import Board, BoardRow, Gain
from fersearch.report.figure_parts import (
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
    percents,
    rounded,
    short,
    shown_percent,
)
from fersearch.report.sessions import latency_sessions
from fersearch.report.text import (
    MISSING,
    format_count,
    format_interval,
    format_p_value,
    format_points,
)

__all__ = [
    "cost_figure",
    "gain_figure",
    "narrow_names",
    "pareto_front",
    "row_ticks",
    "seeds_figure",
]


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
    """Return the measures that at least one row has; each latency session is one of its own."""
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
    sessions = latency_sessions(board)
    for session in sessions:
        name = "latency, median" + (f", session {session.letter}" if len(sessions) > 1 else "")
        members = set(session.keys)
        costs.append(
            Cost(
                name,
                "ms",
                tuple(
                    row.latency.p50 if row.latency and row.key in members else None for row in rows
                ),
            )
        )
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


def error_bar(rows: Sequence[BoardRow], colour: str) -> Spec:
    """Return the intervals of accuracy as Plotly's asymmetric error bars."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [percent(row.metrics.accuracy_ci95[1] - row.metrics.accuracy) for row in rows],
        "arrayminus": [
            percent(row.metrics.accuracy - row.metrics.accuracy_ci95[0]) for row in rows
        ],
        "color": colour,
        "thickness": 1.3,
        "width": 3,
    }


def row_hover(row: BoardRow) -> str:
    """Return what a row's mark says on hovering."""
    metrics = row.metrics
    return (
        f"<b>{figure_text(row.title, 60)}</b><br>{figure_text(row.role)}"
        f"<br>accuracy {shown_percent(metrics.accuracy)}"
        f" ({format_interval(metrics.accuracy_ci95)})"
    )


def roles_of(rows: Sequence[BoardRow]) -> list[str]:
    """Return the roles of rows in the order in which they first occur."""
    return list(dict.fromkeys(row.role for row in rows))


def front_label(row: BoardRow, place: float, *, inwards: bool = False) -> Spec:
    """Return the name of a row on the front, up and left of its mark, where no other row lies.

    Args:
        row: The row.
        place: Logarithm of its cost.
        inwards: Write a shorter name up and right of the mark instead.
    """
    return {
        "x": round(place, 5),
        "y": percent(row.metrics.accuracy),
        "text": figure_text(row.title, 16 if inwards else 30),
        "showarrow": False,
        "xanchor": "left" if inwards else "right",
        "yanchor": "bottom",
        "xshift": 5 if inwards else -7,
        "yshift": 3,
        "font": {"size": 11, "color": "@ink", "shadow": "@halo"},
    }


def cost_variant(board: Board, cost: Cost) -> Variant:
    """Return accuracy against one cost, on a logarithmic axis, with the front of the best."""
    rows = board.rows
    front = pareto_front(cost.values, [row.metrics.accuracy for row in rows])
    known = [(row, value) for row, value in zip(rows, cost.values, strict=True) if value]
    ends = [math.log10(value) for _, value in known]
    span = max(max(ends) - min(ends), 0.3)
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
    xaxis = axis(
        f"{cost.title}, logarithmic",
        type="log",
        range=[round(low, 4), round(high, 4)],
        **({"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]} if ticks else {}),
    )
    spec = {
        "data": traces,
        "layout": layout(
            height=430,
            xaxis=xaxis,
            yaxis=axis("accuracy (%)"),
            showlegend=True,
            annotations=[front_label(row, place) for row, place in labelled],
            meta={
                "narrow_annotations": [
                    front_label(row, place, inwards=place < low + 0.5 * (high - low))
                    for row, place in labelled
                ]
            },
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
        "model costs less and is more accurate than one on it. Neighbours whose intervals overlap "
        "may change places with other seeds or images."
    )
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


def narrow_names(rows: Sequence[BoardRow]) -> Spec:
    """Return shorter names of the rows, which a narrow screen shows instead."""
    return {"narrow_ticktext": [figure_text(row.title, 17) for row in rows]}


def row_ticks(rows: Sequence[BoardRow], **settings: object) -> Spec:
    """Return an axis that names the rows from the top down, the first at 0."""
    return axis(
        tickmode="array",
        tickvals=list(range(len(rows))),
        ticktext=[figure_text(row.title, 34) for row in rows],
        range=[len(rows) - 0.45, -0.65],
        showgrid=False,
        ticks="",
        showline=False,
        **settings,
    )


def seeds_figure(board: Board) -> Figure:
    """Return each seed's accuracy as a dot, with the mean over the seeds and its interval."""
    rows, traces = board.rows, []
    for role in roles_of(rows):
        members = [(place, row) for place, row in enumerate(rows) if row.role == role]
        look = look_of(members[0][1])
        seeds = [(place, seed, row) for place, row in members for seed in row.metrics.seeds]
        traces += [
            {
                "type": "scatter",
                "name": figure_text(role),
                "mode": "markers",
                "x": [percent(row.metrics.accuracy) for _, row in members],
                "y": [place for place, _ in members],
                "error_x": error_bar([row for _, row in members], look.colour),
                "marker": {"color": look.colour, "symbol": look.symbol, "size": 9},
                "text": [row_hover(row) for _, row in members],
                "hovertemplate": "%{text}<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "markers",
                "showlegend": False,
                "x": [percent(seed.accuracy) for _, seed, _ in seeds],
                "y": [place - 0.28 for place, _, _ in seeds],
                "marker": {"color": look.colour, "symbol": "circle-open", "size": 6},
                "text": [
                    f"{figure_text(row.title, 60)}<br>seed {seed.seed}: "
                    f"{shown_percent(seed.accuracy)}"
                    for _, seed, row in seeds
                ],
                "hovertemplate": "%{text}<extra></extra>",
            },
        ]
    table = tuple(
        (
            short(row.title, 80),
            shown_percent(row.metrics.accuracy),
            format_interval(row.metrics.accuracy_ci95),
            ", ".join(f"{seed.seed}: {shown_percent(seed.accuracy)}" for seed in row.metrics.seeds),
        )
        for row in rows
    )
    caption = (
        "Small rings: one training seed each. Mark and line below them: the mean and its 95 % "
        "interval, which allows for the choice of test images and, with several seeds, for the "
        "seeds."
    )
    single = [row for row in rows if len(row.seeds) == 1]
    if single:
        whose = "Every row has" if len(single) == len(rows) else "Some rows have"
        caption += f" {whose} one seed: its interval covers the test images only."
    spec = {
        "data": traces,
        "layout": layout(
            height=100 + 30 * max(len(rows), 2),
            xaxis=axis("accuracy (%)"),
            yaxis=row_ticks(rows),
            showlegend=True,
            meta=narrow_names(rows),
        ),
    }
    header = ("model", "mean accuracy", "95 % interval", "accuracy by seed")
    return Figure(
        key="seeds",
        title="Accuracy by seed",
        caption=caption,
        variants=(Variant(label="", spec=spec, header=header, rows=table),),
    )


def gain_words(gain: Gain) -> str:
    """Return a gain in points with its interval and p-value."""
    paired = gain.gain
    return (
        f"{format_points(paired.accuracy)} ({format_interval(paired.ci95, sign=True)}), "
        f"{format_p_value(paired.p_value)}"
    )


def gain_figure(board: Board) -> Figure | None:
    """Return the gains of distillation as a forest plot; None without a comparison."""
    gains = board.gains
    if not gains:
        return None
    points = percents([gain.gain.accuracy for gain in gains])
    highs = percents([gain.gain.ci95[1] - gain.gain.accuracy for gain in gains])
    lows = percents([gain.gain.accuracy - gain.gain.ci95[0] for gain in gains])
    ends = [100 * end for gain in gains for end in (*gain.gain.ci95, 0.0)]
    pad = 0.12 * (max(ends) - min(ends) or 1.0)
    words = [gain_words(gain) for gain in gains]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": points,
        "y": list(range(len(gains))),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": highs,
            "arrayminus": lows,
            "color": "@blue",
            "thickness": 2,
            "width": 5,
        },
        "marker": {"color": "@blue", "symbol": "square", "size": 10},
        "text": [
            f"{figure_text(gain.study, 60)}<br>{word}"
            for gain, word in zip(gains, words, strict=True)
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }
    notes = [
        {
            "x": 0.5,
            "xref": "paper",
            "y": place,
            "yshift": 20,
            "text": word,
            "showarrow": False,
            "font": {"size": 12, "color": "@ink", "shadow": "@halo"},
        }
        for place, word in enumerate(words)
    ]
    spec = {
        "data": [trace],
        "layout": layout(
            height=130 + 64 * len(gains),
            xaxis=axis(
                "difference in accuracy (percentage points)",
                range=[round(min(ends) - pad, 3), round(max(ends) + pad, 3)],
                zeroline=True,
                zerolinecolor="@muted",
                zerolinewidth=1.5,
            ),
            yaxis=axis(
                tickmode="array",
                tickvals=list(range(len(gains))),
                ticktext=[figure_text(gain.study, 18) for gain in gains],
                range=[len(gains) - 0.5, -0.8],
                showgrid=False,
                ticks="",
                showline=False,
            ),
            annotations=notes,
        ),
    }
    table = tuple(
        (
            short(gain.study, 80),
            f"{short(gain.first, 80)} minus {short(gain.second, 80)}",
            format_points(gain.gain.accuracy),
            format_interval(gain.gain.ci95, sign=True),
            format_p_value(gain.gain.p_value),
        )
        for gain in gains
    )
    caption = (
        f"{format_count(len(gains), 'paired comparison')}: the distilled student minus the same "
        "student alone, on the same images and seeds, with the 95 % interval. An interval that "
        "holds zero shows no difference."
    )
    header = ("study", "comparison", "points", "95 % interval", "p-value")
    return Figure(
        key="gains",
        title="Gain of distillation, with its interval",
        caption=caption,
        variants=(Variant(label="", spec=spec, header=header, rows=table),),
    )
