"""A leaderboard as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fersearch.report.leaderboard.board import Board, BoardRow, Leaderboard
from fersearch.report.leaderboard.contests import CONTEST_HEADER, contest_rows, contest_words
from fersearch.report.leaderboard.cost_words import (
    DEPLOYED_NOTE,
    deployed_number,
    deployed_words,
    has_deployed,
    latency_words,
    session_words,
)
from fersearch.report.leaderboard.ranking import ranking_rows, ranking_sentences
from fersearch.report.leaderboard.sessions import runtime_label, shown_runtimes
from fersearch.report.leaderboard.words import (
    COLUMN_NOTES,
    METHODS,
    board_title,
    claim_words,
    comparison_words,
    drawn_words,
    gain_words,
    number,
    overview,
    protocol_rows,
    protocol_sentence,
    ranks,
    read_words,
    row_notes,
    separation,
    standing,
    training_words,
)
from fersearch.report.text import (
    MISSING,
    code_block,
    code_span,
    escape_markdown,
    format_interval,
    format_value,
)

__all__ = ["leaderboard_markdown"]

COST_PLACE = "file (MB)"
HEADER = (
    "#",
    "model",
    "role",
    "accuracy (%)",
    "95 % interval",
    "macro-F1",
    "macro precision",
    "balanced accuracy",
    "AUC",
    "ECE",
    "params (M)",
    "MACs (M)",
    "file (MB)",
    "difference to first (points)",
    "p (Holm)",
    "claimed (%)",
    "seeds",
)
LEFT = {"model", "role"}


def leaderboard_markdown(leaderboard: Leaderboard) -> str:
    """Return a leaderboard as Markdown: a table a board, notes, protocol and commands."""
    parts = ["# Leaderboard", escape_markdown(overview(leaderboard))]
    boards = leaderboard.boards
    for place, board in enumerate(boards, start=1):
        parts += board_parts(board, place, len(boards))
    if leaderboard.ranking is not None:
        parts.append("## Over several data sets")
        rows = [tuple(map(escape_markdown, row)) for row in ranking_rows(leaderboard.ranking)]
        parts.append(table(("model", "mean rank"), rows))
        parts += map(escape_markdown, ranking_sentences(leaderboard.ranking))
    if boards:
        parts.append("## How the figures were made")
        parts.append(
            bullets(
                f"**{escape_markdown(name)}.** {escape_markdown(text)}" for name, text in METHODS
            )
        )
    if leaderboard.left_out:
        parts.append("## Left out")
        parts.append(bullets(map(escape_markdown, leaderboard.left_out)))
    parts.append("## Made with")
    if leaderboard.command:
        parts.append(code_block(leaderboard.command, "sh"))
    made = [f"fersearch {leaderboard.version}".strip(), leaderboard.created, leaderboard.tracking]
    parts.append(", ".join(escape_markdown(item) for item in made if item) + ".")
    return "\n\n".join(part for part in parts if part) + "\n"


def board_parts(board: Board, place: int, boards: int) -> list[str]:
    """Return the paragraphs of a board."""
    places = ranks(board.rows)
    parts = [
        f"## {escape_markdown(board_title(board, place, boards))}",
        escape_markdown(protocol_sentence(board.protocol, board.protocol_hash)),
    ]
    if drawn := drawn_words(board):
        parts.append(f"**{escape_markdown(drawn)}**")
    if boards > 1:
        parts.append("Rows of other protocols stand on other boards; they are not comparable.")
    parts.append(escape_markdown(standing(board)))
    parts.append(
        table(
            header(board),
            [
                cells(board, row, rank, place == 0)
                for place, (row, rank) in enumerate(zip(board.rows, places, strict=True))
            ],
        )
    )
    if any(separation(row) for row in board.rows):
        parts.append(
            "≈: not separable from the first at 95 % (p after Holm's correction 0.05 or more)."
        )
    if any(claim_words(row) for row in board.rows):
        parts.append(escape_markdown(COLUMN_NOTES))
    if has_deployed(board):
        parts.append(escape_markdown(DEPLOYED_NOTE))
    parts.append(escape_markdown(" ".join(session_words(board))))
    if board.gains:
        parts.append("### What distillation gained")
        for gain in map(gain_words, board.gains):
            text = f"{gain.sentence} {gain.tests} Compared: {gain.comparison}."
            parts.append(f"**{escape_markdown(gain.study)}.** {escape_markdown(text)}")
    if board.contests:
        parts.append("### The distilled student against each baseline")
        parts.append(contest_words(board))
        rows = [tuple(map(escape_markdown, row)) for row in contest_rows(board)]
        parts.append(table(CONTEST_HEADER, rows, left=set(CONTEST_HEADER[:2])))
    parts.append("### Rows")
    parts += [row_part(row, rank) for row, rank in zip(board.rows, places, strict=True)]
    parts.append("### Protocol")
    settings = [
        (escape_markdown(name), escape_markdown(value))
        for name, value in (*protocol_rows(board.protocol), ("protocol hash", board.protocol_hash))
    ]
    parts.append(table(("setting", "value"), settings, left={"setting", "value"}))
    if board.test_reads:
        reads = [f"{escape_markdown(study)}: {times}" for study, times in read_words(board)]
        parts.append(f"The test split was opened: {'; '.join(reads)}.")
    return parts


def header(board: Board) -> tuple[str, ...]:
    """Return the headings: those of every board, of its latencies and of its 8-bit files."""
    place = HEADER.index(COST_PLACE) + 1
    main = {row.runtime for row in board.rows}
    latencies = (
        f"latency {runtime_label(name)} {'p50 / p90' if name in main else 'p50'} (ms)"
        for name in shown_runtimes(board)
    )
    deployed = ("int8 accuracy (fp32) (%)",) if has_deployed(board) else ()
    return tuple(map(escape_markdown, (*HEADER[:place], *latencies, *deployed, *HEADER[place:])))


def int8_words(row: BoardRow) -> str:
    """Return the accuracy of a row's 8-bit file, and that of the same network in float32."""
    small, full = (deployed_number(row, f"{key}_accuracy") for key in ("int8", "fp32"))
    return number(small, 2, 100) + ("" if full is None else f" ({number(full, 2, 100)})")


def cells(board: Board, row: BoardRow, rank: int, is_first: bool) -> tuple[str, ...]:
    """Return the cells of a row, escaped."""
    metrics = row.metrics
    difference, p_value = comparison_words(row, is_first=is_first)
    mark = " ≈" if separation(row) else ""
    claimed = (row.claimed or {}).get("accuracy")
    return tuple(
        escape_markdown(cell)
        for cell in (
            rank,
            f"{row.title}{mark}",
            row.role,
            number(metrics.accuracy, 2, 100),
            format_interval(metrics.accuracy_ci95),
            number(metrics.macro_f1, 2, 100),
            number(metrics.macro_precision, 2, 100),
            number(metrics.balanced_accuracy, 2, 100),
            number(metrics.auc, 2, 100),
            number(metrics.ece, 2, 100),
            number(row.params, 2, 1e-6),
            number(row.macs, 1, 1e-6),
            number(row.file_mb, 1),
            *(latency_words(row, name) for name in shown_runtimes(board)),
            *([int8_words(row)] if has_deployed(board) else []),
            difference,
            p_value or MISSING,
            number(claimed, 2, 100),
            len(row.seeds),
        )
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: set[str] = LEFT) -> str:
    """Return a Markdown table of escaped cells; columns not in ``left`` stand to the right."""
    rule = ["---" if name in left else "---:" for name in header]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def row_part(row: BoardRow, rank: int) -> str:
    """Return what is known of a row besides its figures."""
    facts: list[tuple[str, str]] = [("model", code_span(row.model))]
    for name, value in (
        ("settings", format_value(dict(row.settings)) if row.settings else ""),
        ("source", row.source),
        ("study", row.study),
        ("claimed", claim_words(row)),
        ("seeds", format_value(row.seeds)),
        ("ONNX files", deployed_words(row)),
        ("training", training_words(row.train_seconds)),
    ):
        if value:
            facts.append((name, escape_markdown(value)))
    if row.run_ids:
        facts.append(("runs", ", ".join(code_span(item) for item in row.run_ids)))
    lines = [f"- {name}: {value}" for name, value in facts]
    lines += [f"- {escape_markdown(note)}" for note in row_notes(row)]
    command = f"\n\n{code_block(row.command, 'sh')}" if row.command else ""
    return f"**{rank}. {escape_markdown(row.title)}** ({escape_markdown(row.role)})\n\n" + (
        "\n".join(lines) + command
    )


def bullets(lines: Iterable[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {line}" for line in lines)
