"""Latency sessions of a board: figures of one session compare, those of two do not."""

from __future__ import annotations

from dataclasses import dataclass

from fersearch.deploy.latency import Latency
from fersearch.report.leaderboard.board import Board
from fersearch.report.text import format_count

__all__ = ["LatencySession", "latency_sessions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySession:
    """Rows whose latency was measured in turn on one host with one setting.

    Attributes:
        letter: ``a``, ``b``, ... in the order of the board's rows.
        latency: Figures of its first row, for what all of them share.
        keys: Keys of its rows.
    """

    letter: str
    latency: Latency
    keys: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Host, runtime, threads and image size in words."""
        figures = self.latency
        return (
            f"{figures.runtime}, {format_count(figures.threads, 'thread')}, one image of "
            f"{figures.image_size} px, {format_count(figures.runs, 'run')}, on {figures.host} "
            f"({figures.session})"
        )


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
    found: dict[tuple[str, str, str, int, int], list[tuple[str, Latency]]] = {}
    for row in board.rows:
        if row.latency is not None:
            figures = row.latency
            place = (
                figures.session,
                figures.host,
                figures.runtime,
                figures.threads,
                figures.image_size,
            )
            found.setdefault(place, []).append((row.key, figures))
    return tuple(
        LatencySession(
            letter=letter_of(number),
            latency=members[0][1],
            keys=tuple(key for key, _ in members),
        )
        for number, members in enumerate(found.values())
    )
