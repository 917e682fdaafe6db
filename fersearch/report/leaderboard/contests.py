"""The distilled student against each baseline, as rows for every format."""

from __future__ import annotations

from fersearch.report.leaderboard.board import Board
from fersearch.report.text import format_interval, format_points

__all__ = ["CONTEST_HEADER", "contest_rows", "contest_words"]

CONTEST_HEADER = ("distilled student", "baseline", "points", "95 % interval", "p (Holm)", "size")
ALPHA = 0.05


def contest_rows(board: Board) -> list[tuple[str, ...]]:
    """Return titles, difference in points, its interval, corrected p-value and relative size."""
    params = {row.title: row.params for row in board.rows}
    return [
        (
            item.first,
            item.second,
            format_points(item.gain.accuracy),
            format_interval(item.gain.ci95, sign=True),
            f"{item.gain.p_value:.3f}",
            f"1 : {params[item.second] / params[item.first]:.1f}",
        )
        for item in board.contests
    ]


def contest_words(board: Board) -> str:
    """Say above how many baselines the distilled students stand, and which differences show."""
    if not board.contests:
        return ""
    above = [item for item in board.contests if item.gain.accuracy > 0]
    shown = [item for item in board.contests if item.gain.p_value < ALPHA]
    better = sum(item.gain.accuracy > 0 for item in shown)
    return (
        f"Distilled student minus baseline on the same images: above in {len(above)} of "
        f"{len(board.contests)} comparisons. Shown at 95 % after Holm's correction: better in "
        f"{better}, worse in {len(shown) - better}. Size: parameters of student to baseline."
    )
