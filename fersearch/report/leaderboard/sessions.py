"""Latency sessions of a board: figures of one session compare, those of two do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fersearch.deploy.latency import Latency
from fersearch.report.leaderboard.board import Board, BoardRow
from fersearch.report.text import format_count

__all__ = [
    "LatencySession",
    "latency_sessions",
    "runtime_label",
    "runtime_words",
    "session_letters",
    "shown_runtimes",
    "unsteady_runtimes",
]

LABELS = {"onnxruntime": "fp32", "onnxruntime-int8": "int8"}
PRODUCTS = {
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-int8": "ONNX Runtime",
    "eager": "PyTorch",
    "openvino": "OpenVINO",
    "openvino-int8": "OpenVINO",
}


def runtime_label(name: str) -> str:
    """Return what a column calls a runtime: the precision where it is ONNX Runtime."""
    return LABELS.get(name, name)


def shown_runtimes(board: Board) -> tuple[str, ...]:
    """Return the runtimes that any row of a board was measured in, the main one first."""
    names = dict.fromkeys(name for row in board.rows for name in row.latencies)
    main = {row.runtime for row in board.rows}
    return tuple(sorted(names, key=lambda name: name not in main))


def unsteady_runtimes(row: BoardRow) -> tuple[str, ...]:
    """Return the labels of the runtimes in which a row's latency was unsteady."""
    return tuple(runtime_label(name) for name, found in row.latencies.items() if found.unsteady)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySession:
    """Rows whose latency was measured in turn on one host with one setting.

    Attributes:
        letter: ``a``, ``b``, ... in the order of the board's rows.
        latencies: By runtime, the figures of its first row, for what all of them share.
        members: Key of the row and name of the runtime of each figure.
    """

    letter: str
    latencies: Mapping[str, Latency]
    members: tuple[tuple[str, str], ...]

    @property
    def sentence(self) -> str:
        """Runtimes, threads, image size and host in words."""
        figures = next(iter(self.latencies.values()))
        runtimes = ", ".join(runtime_words(item) for item in self.latencies.values())
        return (
            f"{runtimes}; {format_count(figures.threads, 'thread')}, one image of "
            f"{figures.image_size} px, {format_count(figures.runs, 'run')} in turn, on "
            f"{figures.host} ({figures.session})"
        )


def runtime_words(figures: Latency) -> str:
    """Return what a runtime is called, with its product and version in brackets."""
    product = f"{PRODUCTS.get(figures.runtime, '')} {figures.runtime_version}".strip()
    return runtime_label(figures.runtime) + (f" ({product})" if product else "")


def letter_of(number: int) -> str:
    """Return the letters that number a session.

    >>> letter_of(0), letter_of(25), letter_of(26)
    ('a', 'z', 'aa')
    """
    letters = ""
    while number >= 0:
        number, rest = divmod(number, 26)
        letters = chr(ord("a") + rest) + letters
        number -= 1
    return letters


def latency_sessions(board: Board) -> tuple[LatencySession, ...]:
    """Return the sessions of a board in the order of their first rows."""
    found: dict[tuple[str, str, int, int], list[tuple[str, Latency]]] = {}
    for row in board.rows:
        for figures in row.latencies.values():
            place = (figures.session, figures.host, figures.threads, figures.image_size)
            found.setdefault(place, []).append((row.key, figures))
    order = shown_runtimes(board)
    return tuple(
        LatencySession(
            letter=letter_of(number),
            latencies={
                name: next(item for _, item in members if item.runtime == name)
                for name in order
                if any(item.runtime == name for _, item in members)
            },
            members=tuple((key, item.runtime) for key, item in members),
        )
        for number, members in enumerate(found.values())
    )


def session_letters(board: Board) -> dict[tuple[str, str], str]:
    """Return the letter of the session of each figure, by key of the row and runtime."""
    return {
        member: session.letter for session in latency_sessions(board) for member in session.members
    }
