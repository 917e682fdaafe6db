"""A leaderboard as a terminal shows it."""

from __future__ import annotations

from fersearch.report.leaderboard.board import Board, Leaderboard
from fersearch.report.leaderboard.contests import CONTEST_HEADER, contest_rows, contest_words
from fersearch.report.leaderboard.ranking import ranking_rows, ranking_sentences
from fersearch.report.text import (
    MISSING,
    format_interval,
    format_parameters,
    format_percent,
    format_points,
    plain_table,
)

__all__ = ["leaderboard_text"]

HEADER = (
    "model", "role", "params (M)", "MACs (M)", "p50 (ms)", "accuracy", "95 % interval", "macro-F1",
    "seeds", "minus first", "Holm p",
)  # fmt: skip


def leaderboard_text(leaderboard: Leaderboard) -> str:
    """Return a table for every board, and what was left out."""
    parts = [_board_text(board) for board in leaderboard.boards]
    if len(leaderboard.boards) > 1:
        parts.append("Tables of different protocols are not compared with one another.")
    if leaderboard.ranking is not None:
        rows = ranking_rows(leaderboard.ranking)
        words = ranking_sentences(leaderboard.ranking)
        parts.append("\n".join([plain_table(("model", "mean rank"), rows), *words]))
    return "\n\n".join(parts)


def _board_text(board: Board) -> str:
    protocol = board.protocol
    what = "Grid" if board.kind == "ablation" else "Leaderboard"
    title = (
        f"{what} on {protocol['data']}: {len(board.labels)} test images, "
        f"{protocol['image_size']} px, {protocol['epochs']} epochs (protocol {board.protocol_hash})"
    )
    cells = []
    for row in board.rows:
        gain, latency = row.versus_first, row.latency
        cells.append(
            (
                row.title,
                row.role,
                format_parameters(row.params),
                MISSING if row.macs is None else f"{row.macs / 1e6:.1f}",
                MISSING
                if latency is None
                else f"{latency.p50:.2f}{'?' if latency.unsteady else ''}",
                format_percent(row.metrics.accuracy),
                format_interval(row.metrics.accuracy_ci95),
                format_percent(row.metrics.macro_f1),
                str(len(row.seeds)),
                "" if gain is None else format_points(gain.accuracy),
                "" if row.p_value_vs_first is None else f"{row.p_value_vs_first:.3f}",
            )
        )
    lines = [title, plain_table(HEADER, cells, left=2)]
    if board.contests:
        lines += [
            "",
            contest_words(board),
            plain_table(CONTEST_HEADER, contest_rows(board), left=2),
        ]
    if any(row.latency is not None and row.latency.unsteady for row in board.rows):
        lines.append("?: unsteady latency, something else was running (p50 / min above 1.3)")
    return "\n".join(lines)
