"""Figures that look into the classes and the probabilities: recall, confusion, calibration, ROC."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fersearch.report.board import Board, BoardRow
from fersearch.report.figure_models import narrow_names, row_ticks
from fersearch.report.figure_parts import (
    CLASS_COLOURS,
    Figure,
    Spec,
    Variant,
    axis,
    figure_text,
    layout,
    look_of,
    percent,
    short,
    shown_percent,
)
from fersearch.report.text import MISSING
from fersearch.stats.curves import RocCurves, reliability, roc_curves

__all__ = ["confusion_figure", "recall_figure", "reliability_figure", "roc_figure"]

FloatArray = NDArray[np.float64]

BINS = 15
# False positive rates at which the table of the ROC figure says what is found.
SHOWN = (0.01, 0.05, 0.1, 0.2)
DASHES = ("solid", "dash", "dot", "dashdot")
# More curves than this cannot be told apart: they are then coloured by role.
NAMED_CURVES = 8


def row_label(rank: int, row: BoardRow) -> str:
    """Return what a choice of rows calls one."""
    return f"{rank}. {short(row.title, 60)} ({row.role})"


def recall_figure(board: Board) -> Figure:
    """Return the recall of every class (columns) and model (rows)."""
    rows, classes = board.rows, board.classes
    recalls = [[row.metrics.per_class[name].recall for name in classes] for row in rows]
    supports = [rows[0].metrics.per_class[name].support for name in classes]
    absent = [place for place, support in enumerate(supports) if not support]
    lowest = min((value for line in recalls for value in line if value is not None), default=0.0)
    faintest = min(20 * math.floor(5 * lowest), 80)
    traces: list[Spec] = [
        {
            "type": "heatmap",
            "z": [[percent(value) for value in line] for line in recalls],
            "zmin": faintest,
            "zmax": 100,
            "colorscale": "@sequence",
            "showscale": False,
            "xgap": 2,
            "ygap": 2,
            "hoverongaps": False,
            "text": [["" if v is None else f"{100 * v:.0f}" for v in line] for line in recalls],
            "texttemplate": "%{text}",
            "textfont": {"size": 11},
            "customdata": [
                [
                    f"<b>{figure_text(row.title, 60)}</b><br>{figure_text(name)}: recall "
                    f"{shown_percent(row.metrics.per_class[name].recall)}, precision "
                    f"{shown_percent(row.metrics.per_class[name].precision)}"
                    for name in classes
                ]
                for row in rows
            ],
            "hovertemplate": "%{customdata}<extra></extra>",
        }
    ]
    traces += dashes([(place, line) for line in range(len(rows)) for place in absent])
    labels = [
        f"{figure_text(name, 16)} ({support:,})"
        for name, support in zip(classes, supports, strict=True)
    ]
    yaxis = row_ticks(rows) | {"range": [len(rows) - 0.5, -0.5]}
    spec = {
        "data": traces,
        "layout": layout(
            height=130 + 30 * max(len(rows), 2),
            xaxis=class_axis(labels),
            yaxis=yaxis,
            meta=narrow_names(rows),
        ),
    }
    table = tuple(
        (short(row.title, 80), *(shown_percent(value, 1) for value in line))
        for row, line in zip(rows, recalls, strict=True)
    )
    caption = (
        "Share of a class's test images that were found, in percent, mean over seeds; in brackets "
        "the number of test images. Recall on a few images is a rough figure. The colour runs from "
        f"{faintest} to 100 %."
    )
    if absent:
        caption += f" A dash: no test image of {', '.join(classes[place] for place in absent)}."
    header = (
        "model",
        *(f"{name} ({support:,})" for name, support in zip(classes, supports, strict=True)),
    )
    return Figure(
        key="recall",
        title="Recall by class",
        caption=caption,
        variants=(Variant(label="", spec=spec, header=header, rows=table),),
    )


def dashes(places: Sequence[tuple[int, int]]) -> list[Spec]:
    """Return what draws a dash in each of the cells that have no figure, by column and row."""
    if not places:
        return []
    return [
        {
            "type": "scatter",
            "mode": "text",
            "x": [column for column, _ in places],
            "y": [line for _, line in places],
            "text": [MISSING for _ in places],
            "textfont": {"color": "@muted"},
            "hoverinfo": "skip",
        }
    ]


def class_axis(labels: Sequence[str], title: str = "") -> Spec:
    """Return an axis that names classes, slanted so that they fit a narrow screen."""
    return axis(
        title,
        tickmode="array",
        tickvals=list(range(len(labels))),
        ticktext=list(labels),
        tickangle=-40,
        range=[-0.5, len(labels) - 0.5],
        showgrid=False,
        ticks="",
        showline=False,
    )


def confusion_variant(board: Board, rank: int, row: BoardRow) -> Variant:
    """Return one row's confusion matrix, normalised by the true class."""
    counts = np.asarray(row.metrics.confusion, dtype=np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    names = [figure_text(name, 14) for name in board.classes]
    size = range(len(names))
    trace = {
        "type": "heatmap",
        "z": [[percent(shares[i, j]) if totals[i, 0] else None for j in size] for i in size],
        "zmin": 0,
        "zmax": 100,
        "colorscale": "@sequence",
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "text": [
            [f"{100 * shares[i, j]:.0f}<br>{counts[i, j]:,}" if totals[i, 0] else "" for j in size]
            for i in size
        ],
        "texttemplate": "%{text}",
        "textfont": {"size": 10},
        "customdata": [
            [
                f"true {names[i]}, predicted {names[j]}<br>{counts[i, j]:,} of {totals[i, 0]:,}"
                for j in size
            ]
            for i in size
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    yaxis = class_axis(names, "true class") | {
        "range": [len(names) - 0.5, -0.5],
        "tickangle": 0,
    }
    spec = {
        "data": [trace, *dashes([(j, i) for i in size if not totals[i, 0] for j in size])],
        "layout": layout(height=460, xaxis=class_axis(names, "predicted class"), yaxis=yaxis),
    }
    table = tuple((short(board.classes[i], 40), *(f"{counts[i, j]:,}" for j in size)) for i in size)
    header = ("true class", *(f"as {short(name, 40)}" for name in board.classes))
    return Variant(label=row_label(rank, row), spec=spec, header=header, rows=table)


def confusion_figure(board: Board) -> Figure:
    """Return the confusion matrices, a picture a row."""
    return Figure(
        key="confusion",
        title="Confusion matrix",
        caption=(
            "Each row is a true class. Upper figure and colour: percent of that class's test "
            "images; lower figure: their number, summed over the seeds."
        ),
        variants=tuple(
            confusion_variant(board, rank, row) for rank, row in enumerate(board.rows, start=1)
        ),
        choice="Model",
    )


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


def reliability_variant(board: Board, rank: int, row: BoardRow) -> Variant:
    """Return one row's reliability diagram with the number of images in each bin below it."""
    points = reliability_points(row, board)
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
        "data": traces,
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
