"""Figures of the probabilities: how far they can be trusted, and how well they rank."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fersearch.report.figures.parts import (
    CLASS_COLOURS,
    Figure,
    Spec,
    Variant,
    axis,
    figure_text,
    layout,
    look_of,
    percent,
    row_label,
    short,
    shown_percent,
)
from fersearch.report.leaderboard.board import Board, BoardRow
from fersearch.stats.curves import RocCurves, reliability, roc_curves

__all__ = ["reliability_figure", "roc_figure"]

FloatArray = NDArray[np.float64]

BINS = 15
# False positive rates at which the table of the ROC figure says what is found.
SHOWN = (0.01, 0.05, 0.1, 0.2)
DASHES = ("solid", "dash", "dot", "dashdot")
# More curves than this cannot be told apart: they are then coloured by role.
NAMED_CURVES = 8


def softmax(logits: NDArray[np.float32]) -> FloatArray:
    """Return probabilities (S, N, C)."""
    from scipy import special

    return np.asarray(special.softmax(logits.astype(np.float64), axis=-1))


def reliability_points(row: BoardRow, board: Board) -> list[tuple[float, float, int]]:
    """Return mean confidence, share right and number of the answers of each non-empty bin."""
    diagram = reliability(softmax(row.logits), board.labels, bins=BINS)
    return [
        (float(mean), float(share), int(number))
        for mean, share, number in zip(
            diagram.confidence, diagram.right, diagram.counts, strict=True
        )
        if number
    ]


def reliability_traces(row: BoardRow, points: Sequence[tuple[float, float, int]]) -> list[Spec]:
    """Return the line of perfect calibration, the row's own, and bars of its predictions."""
    confidences = [percent(point[0]) for point in points]
    most = max(point[2] for point in points)
    look = look_of(row)
    hover = [
        f"confidence {shown_percent(mean, 1)}<br>right {shown_percent(share, 1)}"
        f"<br>{number:,} predictions"
        for mean, share, number in points
    ]
    traces: list[Spec] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 100],
            "y": [0, 100],
            "line": {"color": "@line", "width": 1.2, "dash": "dash"},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": confidences,
            "y": [percent(point[1]) for point in points],
            "line": {"color": look.colour, "width": 1.8},
            "marker": {
                "color": look.colour,
                "symbol": look.symbol,
                "opacity": 1,
                "line": {"width": 0},
                "size": [round(4 + 8 * math.sqrt(point[2] / most), 1) for point in points],
            },
            "text": hover,
            "hovertemplate": "%{text}<extra></extra>",
        },
        {
            "type": "bar",
            "x": confidences,
            "y": [point[2] for point in points],
            "width": 100 / BINS * 0.7,
            "marker": {"color": look.colour, "opacity": 0.55},
            "yaxis": "y2",
            "text": hover,
            "textposition": "none",
            "hovertemplate": "%{text}<extra></extra>",
        },
    ]
    return traces


def reliability_variant(board: Board, rank: int, row: BoardRow) -> Variant:
    """Return one row's reliability diagram with the number of images in each bin below it."""
    points = reliability_points(row, board)
    note = {
        "x": 0.03,
        "y": 0.97,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "top",
        "text": f"ECE {shown_percent(row.metrics.ece)}",
        "showarrow": False,
        "font": {"size": 13, "color": "@ink"},
    }
    spec = {
        "data": reliability_traces(row, points),
        "layout": layout(
            height=460,
            xaxis=axis("confidence (%)", range=[0, 102], anchor="y2"),
            yaxis=axis("share right (%)", range=[0, 103], domain=[0.3, 1]),
            yaxis2=axis("predictions", domain=[0, 0.2], nticks=4, rangemode="tozero"),
            annotations=[note],
        ),
    }
    table = tuple(
        (shown_percent(mean, 1), shown_percent(share, 1), f"{number:,}")
        for mean, share, number in points
    )
    header = ("mean confidence", "share right", "predictions")
    return Variant(label=row_label(rank, row), spec=spec, header=header, rows=table)


def reliability_figure(board: Board) -> Figure:
    """Return the reliability diagrams, a picture a row."""
    return Figure(
        key="reliability",
        title="Reliability diagram",
        caption=(
            f"Share of right predictions against their softmax confidence, in {BINS} bins of equal "
            "width, all seeds together. Below the dashed line a model is surer than it is right. "
            "Bars and the size of the marks: predictions in a bin."
        ),
        variants=tuple(
            reliability_variant(board, rank, row) for rank, row in enumerate(board.rows, start=1)
        ),
        choice="Model",
    )


def curve(name: str, rates: FloatArray, *, hover: str, **line: object) -> Spec:
    """Return a ROC curve on the grid of :func:`fersearch.stats.roc_curves`."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x0": 0,
        "dx": round(1 / (len(rates) - 1), 6),
        "y": [round(float(value), 4) for value in rates],
        "line": {"width": 1.7, **line},
        "hovertemplate": f"{hover}<br>%{{y:.1%}} found at %{{x:.1%}} false alarms<extra></extra>",
    }


def roc_layout() -> Spec:
    """Return the layout that all ROC pictures share."""
    return layout(
        height=460,
        xaxis=axis("false positive rate", range=[-0.01, 1.01], tickformat=".1f"),
        yaxis=axis("true positive rate", range=[0, 1.02], tickformat=".1f"),
        showlegend=True,
        legend={"x": 0.98, "xanchor": "right", "y": 0.04, "yanchor": "bottom"},
    )


def roc_figure(board: Board) -> Figure | None:
    """Return ROC curves: all models' macro averages, then each model's classes.

    None where the test split has fewer than two classes.
    """
    many = len(board.rows) > NAMED_CURVES
    macro: list[Spec] = []
    variants: list[Variant] = []
    seen: set[str] = set()
    for rank, row in enumerate(board.rows, start=1):
        curves = roc_curves(row.logits, board.labels, board.classes)
        if curves.macro is None:
            return None
        line = {
            "color": look_of(row).colour if many else CLASS_COLOURS[(rank - 1) % NAMED_CURVES],
            "dash": DASHES[0] if many else DASHES[(rank - 1) % len(DASHES)],
            "width": 1.1 if many else 1.7,
        }
        auc = shown_percent(curves.macro.auc)
        trace = curve(
            figure_text(row.role if many else row.title, 22),
            curves.macro.tpr,
            hover=template_text(f"<b>{figure_text(row.title, 60)}</b><br>macro AUC {auc}"),
            **line,
        )
        macro.append(trace | {"showlegend": not many or row.role not in seen})
        seen.add(row.role)
        variants.append(roc_variant(rank, row, curves))
    everyone = Variant(
        label="all models, macro average",
        spec={"data": macro, "layout": roc_layout()},
        header=("model", "AUC, macro"),
        rows=tuple((short(row.title, 80), shown_percent(row.metrics.auc)) for row in board.rows),
    )
    return Figure(
        key="roc",
        title="ROC curves",
        caption=(
            "One class against the rest, by softmax probability; true positive rates are averaged "
            "over the seeds at equal false positive rates, and over the classes for the macro "
            "average."
        ),
        variants=(everyone, *variants),
        choice="Curves",
    )


def roc_variant(rank: int, row: BoardRow, curves: RocCurves) -> Variant:
    """Return one row's curves by class."""
    traces = [
        curve(
            figure_text(item.name, 18),
            item.tpr,
            hover=template_text(
                f"<b>{figure_text(item.name, 40)}</b><br>AUC {shown_percent(item.auc)}"
            ),
            color=CLASS_COLOURS[place % len(CLASS_COLOURS)],
            dash=DASHES[(place // len(CLASS_COLOURS) + place % 2) % len(DASHES)],
        )
        for place, item in enumerate(curves.classes)
    ]
    table = tuple(
        (
            short(item.name, 40),
            shown_percent(item.auc),
            *(shown_percent(float(np.interp(rate, curves.fpr, item.tpr)), 1) for rate in SHOWN),
        )
        for item in curves.classes
    )
    return Variant(
        label=row_label(rank, row),
        spec={"data": traces, "layout": roc_layout()},
        header=("class", "AUC", *(f"found at {100 * rate:.0f} % false alarms" for rate in SHOWN)),
        rows=table,
    )


def template_text(text: str) -> str:
    """Return text that a hover template prints as it is: it holds no ``%{...}`` of its own."""
    return text.replace("%{", "%&#123;")
