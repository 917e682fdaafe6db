"""The page of a backbones study: the leaderboard of its students alone, with their rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fersearch.api.reports import leaderboard
from fersearch.api.setup import Place
from fersearch.errors import FersearchError
from fersearch.records import to_plain
from fersearch.report.backbones import RULE, naming
from fersearch.report.leaderboard.board import Leaderboard
from fersearch.report.leaderboard.write import LEADERBOARD_FORMATS, write_leaderboard

__all__ = ["write_page"]


def write_page(
    rows: Sequence[dict[str, Any]],
    missing: Mapping[str, str],
    *,
    where: Place,
    name: str,
    latency: bool,
    tell: Callable[[str], None],
) -> tuple[Path | None, tuple[str, ...]]:
    """Write ``reports/NAME`` in the workspace, and add the latencies that it shows to the rows.

    Args:
        rows: What :func:`fersearch.report.backbones.student_row` returned; changed.
        missing: Why other models are not on the page, by name.
        where: Where the students' studies were tracked.
        name: Name of the report.
        latency: Whether latencies that were not measured on this machine yet are measured now.
        tell: Told what is being done.

    Returns:
        The page, or None where there is none, and what should be known.
    """
    if not where.track:
        return None, ("there is no page: nothing was tracked",)
    try:
        report = leaderboard(
            workspace=where.home,
            tracking_uri=where.tracking_uri,
            studies=[row["study"] for row in rows],
            formats=["json"],  # for what it holds; all are written below, with the rule
            name=name,
            latency=latency,
            plugins=where.plugins,
            command=where.command,
            tell=tell,
        )
    except FersearchError as error:
        return None, (f"there is no page: {error}",)
    _add_latencies(rows, report.content)
    content = _with_rule(report.content, [row["name"] for row in rows], missing)
    files = write_leaderboard(content, report.files[0].parent, LEADERBOARD_FORMATS)
    return next(path for path in files if path.suffix == ".html"), report.warnings


def _add_latencies(rows: Sequence[dict[str, Any]], content: Leaderboard) -> None:
    """Put the latencies of the distilled students into their rows, by runtime."""
    measured = {
        row.study: row.latencies
        for board in content.boards
        for row in board.rows
        if row.role == "distilled"
    }
    for row in rows:
        row["latency"] = to_plain(measured.get(row["study"], {}))


def _with_rule(
    content: Leaderboard, names: Sequence[str], missing: Mapping[str, str]
) -> Leaderboard:
    """Return the page's content with the rule of the comparison and the students it lacks."""
    boards = []
    for board in content.boards:
        shared = {
            key: value
            for key, value in board.protocol.items()
            if key not in {"student", "student_options"}  # those of the first one
        }
        protocol = {**shared, "students": f"{', '.join(names)}. {RULE}"}
        boards.append(dataclasses.replace(board, protocol=protocol))
    lacking = [naming(name, reason) for name, reason in missing.items()]
    return dataclasses.replace(
        content, boards=tuple(boards), left_out=(*content.left_out, *lacking)
    )
