"""A leaderboard as a terminal shows it."""

from __future__ import annotations

from fersearch.deploy.latency import Latency
from fersearch.report.leaderboard.board import Board, Leaderboard
from fersearch.report.leaderboard.contests import CONTEST_HEADER, contest_rows, contest_words
from fersearch.report.leaderboard.cost_words import (
    DEPLOYED_NOTE,
    deployed_number,
    has_deployed,
    session_words,
)
from fersearch.report.leaderboard.ranking import ranking_rows, ranking_sentences
from fersearch.report.leaderboard.sessions import (
    runtime_label,
    shown_runtimes,
    unsteady_runtimes,
)
from fersearch.report.leaderboard.words import number
from fersearch.report.text import (
    MISSING,
    format_interval,
    format_parameters,
    format_percent,
    format_points,
    plain_table,
)

__all__ = ["leaderboard_text"]

COST_HEADER = ("model", "role", "params (M)", "MACs (M)")
TEST_HEADER = ("accuracy", "95 % interval", "macro-F1", "seeds", "minus first", "Holm p")


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
    runtimes, deployed = shown_runtimes(board), has_deployed(board)
    cells = []
    for row in board.rows:
        gain = row.versus_first
        cells.append(
            (
                row.title,
                row.role,
                format_parameters(row.params),
                MISSING if row.macs is None else f"{row.macs / 1e6:.1f}",
                *(_latency_text(row.latencies.get(name)) for name in runtimes),
                *([number(deployed_number(row, "int8_accuracy"), 2, 100)] if deployed else []),
                format_percent(row.metrics.accuracy),
                format_interval(row.metrics.accuracy_ci95),
                format_percent(row.metrics.macro_f1),
                str(len(row.seeds)),
                "" if gain is None else format_points(gain.accuracy),
                "" if row.p_value_vs_first is None else f"{row.p_value_vs_first:.3f}",
            )
        )
    header = (
        *COST_HEADER,
        *(f"{runtime_label(name)} (ms)" for name in runtimes),
        *(["int8 acc."] if deployed else []),
        *TEST_HEADER,
    )
    lines = [title, plain_table(header, cells, left=2)]
    if board.contests:
        lines += [
            "",
            contest_words(board),
            plain_table(CONTEST_HEADER, contest_rows(board), left=2),
        ]
    if runtimes:
        lines += ["", *session_words(board)]
    if any(unsteady_runtimes(row) for row in board.rows):
        lines.append("?: unsteady latency")
    if deployed:
        lines.append(DEPLOYED_NOTE)
    return "\n".join(lines)


def _latency_text(figures: Latency | None) -> str:
    if figures is None:
        return MISSING
    return f"{figures.p50:.2f}{'?' if figures.unsteady else ''}"
