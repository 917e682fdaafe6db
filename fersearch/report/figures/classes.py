"""Figures that look into the classes: recall by class and confusion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fersearch.report.figures.models import narrow_names, row_ticks
from fersearch.report.figures.parts import (
    Figure,
    Spec,
    Variant,
    axis,
    figure_text,
    layout,
    percent,
    row_label,
    short,
    shown_percent,
)
from fersearch.report.leaderboard.board import Board, BoardRow
from fersearch.report.text import MISSING

__all__ = ["confusion_figure", "recall_figure"]

# Part of the colours' range at which black and white letters are equally easy to read, in both
# themes.
CHANGE_OF_INK = 0.7


def recall_trace(rows: Sequence[BoardRow], classes: Sequence[str], *, faintest: int) -> Spec:
    """Return the cells, whose colours run from ``faintest`` to 100 percent."""
    recalls = [[row.metrics.per_class[name].recall for name in classes] for row in rows]
    return {
        "type": "heatmap",
        "z": [[percent(value) for value in line] for line in recalls],
        "zmin": faintest,
        "zmax": 100,
        "colorscale": "@sequence",
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
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


def recall_figure(board: Board) -> Figure:
    """Return the recall of every class (columns) and model (rows)."""
    rows, classes = board.rows, board.classes
    recalls = [[row.metrics.per_class[name].recall for name in classes] for row in rows]
    supports = [rows[0].metrics.per_class[name].support for name in classes]
    absent = [place for place, support in enumerate(supports) if not support]
    lowest = min((value for line in recalls for value in line if value is not None), default=0.0)
    faintest = min(20 * math.floor(5 * lowest), 80)
    traces = [
        recall_trace(rows, classes, faintest=faintest),
        *cell_texts(
            [
                [None if v is None else (100 * v, f"{100 * v:.0f}") for v in line]
                for line in recalls
            ],
            faintest=faintest,
        ),
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


def cell_texts(
    cells: Sequence[Sequence[tuple[float, str] | None]], *, faintest: float = 0.0, size: int = 11
) -> list[Spec]:
    """Return what writes into the cells of a heat map, in ink that stands out from each.

    Args:
        cells: Percentage and text of each cell, row by row; None for an empty one.
        faintest: Percentage at which the colours begin.
        size: Size of the letters.
    """
    limit = faintest + CHANGE_OF_INK * (100 - faintest)
    traces = []
    for colour, strong in (("@onfaint", False), ("@onstrong", True)):
        places = [
            (column, line, cell[1])
            for line, row in enumerate(cells)
            for column, cell in enumerate(row)
            if cell is not None and (cell[0] > limit) == strong
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "text",
                "x": [column for column, _, _ in places],
                "y": [line for _, line, _ in places],
                "text": [text for _, _, text in places],
                "textfont": {"size": size, "color": colour},
                "hoverinfo": "skip",
            }
        )
    return traces


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
    cells = [
        [
            (100 * shares[i, j], f"{100 * shares[i, j]:.0f}<br>{counts[i, j]:,}")
            if totals[i, 0]
            else None
            for j in size
        ]
        for i in size
    ]
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
        "data": [
            trace,
            *cell_texts(cells, size=10),
            *dashes([(j, i) for i in size if not totals[i, 0] for j in size]),
        ],
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
