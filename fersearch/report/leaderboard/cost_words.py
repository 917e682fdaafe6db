"""What latency and the deployed files say in words; each format escapes it in its own way."""

from __future__ import annotations

from fersearch.report.leaderboard.board import Board, BoardRow
from fersearch.report.leaderboard.sessions import latency_sessions
from fersearch.report.leaderboard.words import number
from fersearch.report.text import MISSING

__all__ = [
    "DEPLOYED_FIGURES",
    "DEPLOYED_NOTE",
    "deployed_number",
    "deployed_words",
    "has_deployed",
    "latency_words",
    "session_words",
]

DEPLOYED_FIGURES = (
    "int8_accuracy",
    "fp32_accuracy",
    "int8_val_accuracy",
    "fp32_val_accuracy",
    "int8_file_mb",
    "onnx_file_mb",
)
DEPLOYED_NOTE = (
    "int8 accuracy: one network of the row, its 8-bit file, tested in the same opening of the test "
    "split, beside the accuracy of the same network in float32. The row's other figures are means "
    "over its seeds."
)


def latency_words(row: BoardRow, runtime: str, *, mark: str = " unsteady") -> str:
    """Return the median, of the main runtime the 90th percentile too, marked where unsteady."""
    figures = row.latencies.get(runtime)
    if figures is None:
        return MISSING
    p90 = f" / {number(figures.p90)}" if runtime == row.runtime else ""
    return f"{number(figures.p50)}{p90}{mark if figures.unsteady else ''}"


def session_words(board: Board) -> list[str]:
    """Say how latency was measured, a sentence a session, and that sessions are kept apart."""
    sessions = latency_sessions(board)
    if not sessions:
        return ["Latency was not measured."]
    lines = [
        f"Latency{f' {session.letter}' if len(sessions) > 1 else ''} (ms): {session.sentence}."
        for session in sessions
    ]
    if len(sessions) > 1:
        lines.append("Latencies of different sessions do not compare and are not ranked together.")
    if any(figures.unsteady for row in board.rows for figures in row.latencies.values()):
        lines.append(
            "Unsteady: the median exceeds the fastest run by more than 30 %; something else was "
            "running."
        )
    return lines


def deployed_number(row: BoardRow, name: str) -> float | None:
    """Return a figure of a row's ONNX files; None where there is none."""
    value = (row.deployed or {}).get(name)
    return value if isinstance(value, int | float) else None


def has_deployed(board: Board) -> bool:
    """Return whether the 8-bit file of any row was tested."""
    return any(deployed_number(row, "int8_accuracy") is not None for row in board.rows)


def deployed_words(row: BoardRow) -> str:
    """Return what is known of a row's ONNX files; empty where nothing is."""
    parts = []
    for name, key in (("8 bits", "int8"), ("float32", "fp32")):
        test = deployed_number(row, f"{key}_accuracy")
        validation = deployed_number(row, f"{key}_val_accuracy")
        size = deployed_number(row, "int8_file_mb" if key == "int8" else "onnx_file_mb")
        known = [
            text
            for value, text in (
                (test, f"test accuracy {number(test, 2, 100)} %"),
                (validation, f"validation {number(validation, 2, 100)} %"),
                (size, f"{number(size, 1)} MB"),
            )
            if value is not None
        ]
        if known:
            parts.append(f"{name}: {', '.join(known)}")
    return "; ".join(parts)
