"""Figures with a line for every model or comparison: accuracy by seed, gain of distillation."""

from __future__ import annotations

from collections.abc import Sequence

from fersearch.report.figures.parts import (
    Figure,
    Spec,
    Variant,
    axis,
    figure_text,
    layout,
    look_of,
    percent,
    percents,
    short,
    shown_percent,
)
from fersearch.report.leaderboard.board import Board, BoardRow, Gain
from fersearch.report.text import (
    format_count,
    format_interval,
    format_p_value,
    format_points,
)

__all__ = [
    "error_bar",
    "gain_figure",
    "narrow_names",
    "roles_of",
    "row_hover",
    "row_ticks",
    "seeds_figure",
]


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


def narrow_names(rows: Sequence[BoardRow]) -> Spec:
    """Return shorter names of the rows, which a narrow screen shows instead."""
    return {"narrow_ticktext": [figure_text(row.title, 17) for row in rows]}


def row_ticks(rows: Sequence[BoardRow]) -> Spec:
    """Return an axis that names the rows from the top down, the first at 0."""
    return axis(
        tickmode="array",
        tickvals=list(range(len(rows))),
        ticktext=[figure_text(row.title, 34) for row in rows],
        range=[len(rows) - 0.45, -0.65],
        showgrid=False,
        ticks="",
        showline=False,
    )


def seed_traces(rows: Sequence[BoardRow]) -> list[Spec]:
    """Return mean and interval of each row with a ring a seed above them, grouped by role."""
    traces: list[Spec] = []
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
    return traces


def seeds_figure(board: Board) -> Figure:
    """Return each seed's accuracy as a dot, with the mean over the seeds and its interval."""
    rows, traces = board.rows, seed_traces(board.rows)
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


def gain_spec(gains: Sequence[Gain]) -> Spec:
    """Return a forest plot of gains: a mark with its interval, and both in words above it."""
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
    return {
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


def gain_figure(board: Board) -> Figure | None:
    """Return the gains of distillation as a forest plot; None without a comparison."""
    gains = board.gains
    if not gains:
        return None
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
        variants=(Variant(label="", spec=gain_spec(gains), header=header, rows=table),),
    )
