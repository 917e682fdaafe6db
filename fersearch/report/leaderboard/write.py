"""Writes a leaderboard into a folder, in the formats that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from fersearch.errors import InputError, suggestion
from fersearch.files import write_json, write_text
from fersearch.report.leaderboard.board import Leaderboard
from fersearch.report.leaderboard.formats import (
    leaderboard_csv,
    leaderboard_json,
    leaderboard_latex,
    leaderboard_markdown,
)
from fersearch.report.leaderboard.page import leaderboard_html

__all__ = ["LEADERBOARD_FORMATS", "write_leaderboard"]

LEADERBOARD_FORMATS = ("html", "md", "csv", "json", "tex")

TEXTS: dict[str, Callable[[Leaderboard], str]] = {
    "html": leaderboard_html,
    "md": leaderboard_markdown,
    "csv": leaderboard_csv,
    "tex": leaderboard_latex,
}


def write_leaderboard(
    leaderboard: Leaderboard, folder: Path, formats: Iterable[str] = LEADERBOARD_FORMATS
) -> list[Path]:
    """Write ``leaderboard.FORMAT`` into ``folder`` for each format and return the paths.

    Args:
        leaderboard: What to write.
        folder: It is made where missing.
        formats: Some of ``html``, ``md``, ``csv``, ``json`` and ``tex``.

    Raises:
        InputError: A format is not known, or the folder cannot be written to.
    """
    wanted = list(dict.fromkeys(formats))
    for name in wanted:
        if name not in LEADERBOARD_FORMATS:
            raise InputError(
                f"there is no leaderboard format {name!r}", suggestion(name, LEADERBOARD_FORMATS)
            )
    paths = []
    for name in wanted:
        path = folder / f"leaderboard.{name}"
        if name == "json":
            write_json(path, leaderboard_json(leaderboard))
        else:
            write_text(path, TEXTS[name](leaderboard))
        paths.append(path)
    return paths
