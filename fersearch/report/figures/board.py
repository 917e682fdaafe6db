"""The figures of a board, as Plotly's JSON; Plotly itself is not needed to make them."""

from __future__ import annotations

from fersearch.report.figures.classes import confusion_figure, recall_figure
from fersearch.report.figures.cost import cost_figure, pareto_front
from fersearch.report.figures.models import gain_figure, seeds_figure
from fersearch.report.figures.parts import THEMES, Figure, Variant, themed
from fersearch.report.figures.probabilities import reliability_figure, roc_figure
from fersearch.report.figures.search import search_figures
from fersearch.report.leaderboard.board import Board

__all__ = ["THEMES", "Figure", "Variant", "board_figures", "pareto_front", "themed"]


def board_figures(board: Board) -> tuple[Figure, ...]:
    """Return the figures of a board in reading order; none for a board without rows.

    What cannot be drawn is left out: no ROC with one class, no gain without a comparison.
    """
    if not board.rows:
        return ()
    figures = (
        cost_figure(board),
        seeds_figure(board),
        recall_figure(board),
        confusion_figure(board),
        reliability_figure(board),
        roc_figure(board),
        gain_figure(board),
        *search_figures(board.searches),
    )
    return tuple(figure for figure in figures if figure is not None)
