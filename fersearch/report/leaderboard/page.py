"""A leaderboard as one HTML file that needs nothing else: no network, no server, no fonts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from fersearch.plugins import shipped
from fersearch.report.figures.board import THEMES, Figure, board_figures
from fersearch.report.leaderboard.board import Board, BoardRow, Leaderboard
from fersearch.report.leaderboard.columns import Column, Scale, accuracy_scale, columns_of
from fersearch.report.leaderboard.contests import CONTEST_HEADER, contest_rows, contest_words
from fersearch.report.leaderboard.cost_words import (
    DEPLOYED_NOTE,
    deployed_words,
    has_deployed,
    session_words,
)
from fersearch.report.leaderboard.ranking import ranking_rows, ranking_sentences
from fersearch.report.leaderboard.sessions import (
    latency_sessions,
    runtime_label,
    runtime_words,
    session_letters,
)
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
from fersearch.report.summary import is_drawn
from fersearch.report.text import format_count, format_interval, format_value

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

__all__ = ["embedded_json", "leaderboard_html"]

TEMPLATE = "leaderboard.html.jinja"
STYLE = "page.css"
SCRIPT = "page.js"
# Marks by role; a role that is not among them gets a cross.
MARKS = {"distilled": "circle", "student": "square", "teacher": "diamond", "baseline": "triangle"}


def leaderboard_html(leaderboard: Leaderboard) -> str:
    """Return a leaderboard as a page that works from disk, without network.

    Style, script, data and the plotting library stand in the page. A content security policy in it
    forbids the browser to load anything else.
    """
    from markupsafe import Markup

    boards = leaderboard.boards
    return load_template().render(
        title="Facial expression recognition: leaderboard",
        overview=overview(leaderboard),
        boards=[
            board_view(board, place, len(boards)) for place, board in enumerate(boards, start=1)
        ],
        ranking=() if leaderboard.ranking is None else ranking_rows(leaderboard.ranking),
        ranking_words=() if leaderboard.ranking is None else ranking_sentences(leaderboard.ranking),
        methods=METHODS,
        left_out=leaderboard.left_out,
        created=leaderboard.created,
        version=leaderboard.version,
        tracking=leaderboard.tracking,
        command=leaderboard.command,
        # Our own files, which hold no text of a user.
        style=Markup(theme_style() + asset(STYLE)),
        script=Markup(asset(SCRIPT)),
        themes=embedded_json(THEMES),
        plotly=plotly_script() if any(board.rows for board in boards) else "",
    )


@cache
def asset(name: str) -> str:
    """Return a shipped style or script."""
    return shipped("reports", name).read_text(encoding="utf-8")


@cache
def plotly_script() -> Markup:
    """Return the plotting library, which the installed plotly brings with it."""
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    # An end tag in it, which there is none of now, would end the element that holds it.
    return Markup(str(get_plotlyjs()).replace("</script", "<\\/script"))


def theme_style() -> str:
    """Return the colours of both themes as CSS variables.

    The dark ones hold where the system asks for them, unless the reader chose the light theme.
    """
    light, dark = (
        "".join(
            f"--{name.removeprefix('@')}:{value};"
            for name, value in THEMES[theme].items()
            if isinstance(value, str)
        )
        for theme in ("light", "dark")
    )
    return (
        f":root{{{light}}}"
        f"@media screen and (prefers-color-scheme:dark)"
        f"{{:root:not([data-theme=light]){{{dark}}}}}"
        f"@media screen{{:root[data-theme=dark]{{{dark}}}}}\n"
    )


def embedded_json(value: object) -> Markup:
    r"""Return JSON that can stand in a script element, whatever its texts hold.

    >>> print(embedded_json({"a": "</script>"}))
    {"a":"\u003c/script\u003e"}
    """
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def load_template() -> Template:
    """Return the shipped template; whatever it prints is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(asset(TEMPLATE))


def board_view(board: Board, place: int, boards: int) -> dict[str, Any]:
    """Return what the template reads of a board."""
    columns = columns_of(board)
    scale = accuracy_scale(board.rows)
    places = ranks(board.rows)
    return {
        "id": f"board-{place}",
        "title": board_title(board, place, boards),
        "hash": board.protocol_hash,
        "sentence": protocol_sentence(board.protocol, board.protocol_hash),
        "standing": standing(board),
        "drawn": drawn_words(board) if is_drawn(board.protocol) else "",
        "columns": columns,
        "groups": list(dict.fromkeys(column.group for column in columns if column.group)),
        "roles": list(dict.fromkeys(row.role for row in board.rows)),
        "marks": {row.role: MARKS.get(row.role, "cross") for row in board.rows},
        "rows": [
            row_view(board, row, index, rank=rank, columns=columns, scale=scale)
            for index, (row, rank) in enumerate(zip(board.rows, places, strict=True))
        ],
        "scale": scale,
        "several_sessions": len(latency_sessions(board)) > 1,
        "table_notes": table_notes(board, scale),
        "gains": [gain_words(gain) for gain in board.gains],
        "contests": contest_rows(board),
        "contest_header": CONTEST_HEADER,
        "contest_words": contest_words(board),
        "figures": [figure_view(figure) for figure in board_figures(board)],
        "protocol": [*protocol_rows(board.protocol), ("protocol hash", board.protocol_hash)],
        "reads": read_words(board),
        "interval": board.rows[0].metrics.interval if board.rows else "",
    }


def table_notes(board: Board, scale: Scale) -> list[str]:
    """Return the sentences below a board's table."""
    if not board.rows:
        return []
    notes = [
        f"Bars: mean accuracy and 95 % interval on a scale from {scale.low:g} to {scale.high:g} %; "
        "the upright line is the first row's mean.",
    ]
    if len(board.rows) > 1:
        notes.append(
            "Differences are in percentage points with a 95 % interval; p is Holm's, corrected "
            "over the board. Not separable from the first: p is 0.05 or more, at 95 %."
        )
    if any(claim_words(row) for row in board.rows):
        notes.append(COLUMN_NOTES)
    if has_deployed(board):
        notes.append(DEPLOYED_NOTE)
    return [*notes, *session_words(board)]


def row_view(
    board: Board,
    row: BoardRow,
    index: int,
    *,
    rank: int,
    columns: tuple[Column, ...],
    scale: Scale,
) -> dict[str, Any]:
    """Return what the template reads of a row."""
    metrics, is_first = row.metrics, index == 0
    letters = session_letters(board)
    return {
        "number": index + 1,
        "title": row.title,
        "model": row.model,
        "role": row.role,
        "mark": MARKS.get(row.role, "cross"),
        "seeds": format_count(len(row.seeds), "seed"),
        "separation": "" if is_first else separation(row),
        "cells": [
            column.cell(row, rank=rank, is_first=is_first, letters=letters) for column in columns
        ],
        "interval": format_interval(metrics.accuracy_ci95),
        "bar": scale.bar(row, board.rows[0]),
        "text": " ".join((row.title, row.model, row.role, row.study, *row_notes(row))).lower(),
        "facts": row_facts(row, is_first=is_first),
        "settings": [(str(name), format_value(value)) for name, value in row.settings.items()],
        "notes": row_notes(row),
        "run_ids": row.run_ids,
        "command": row.command,
    }


def row_facts(row: BoardRow, *, is_first: bool) -> list[tuple[str, str]]:
    """Return what a row's details list, without what is not known."""
    metrics = row.metrics
    difference, p_value = comparison_words(row, is_first=is_first)
    by_seed = ", ".join(f"{seed.seed}: {number(seed.accuracy, 2, 100)} %" for seed in metrics.seeds)
    facts = (
        ("Model name", row.model),
        ("Accuracy by seed", by_seed),
        ("Macro-F1, 95 % interval", format_interval(metrics.macro_f1_ci95)),
        ("Balanced accuracy, 95 % interval", format_interval(metrics.balanced_accuracy_ci95)),
        ("Difference to the first", "" if is_first else f"{difference}, {p_value}"),
        ("Claimed", claim_words(row)),
        *((f"Latency {runtime_label(name)}", latency_fact(row, name)) for name in row.latencies),
        ("ONNX files of one network", deployed_words(row)),
        ("Training time", training_words(row.train_seconds)),
        ("Source", row.source),
        ("Study", row.study),
    )
    return [(name, value) for name, value in facts if value]


def latency_fact(row: BoardRow, runtime: str) -> str:
    """Return the figures of one runtime with its version and the host."""
    found = row.latencies[runtime]
    return (
        f"p50 {number(found.p50)} ms, p90 {number(found.p90)} ms, fastest {number(found.min)} ms; "
        f"{runtime_words(found)}, {found.host}"
    )


def figure_view(figure: Figure) -> Mapping[str, Any]:
    """Return what the template reads of a figure."""
    heights = [int(variant.spec["layout"]["height"]) for variant in figure.variants]
    return {
        "key": figure.key,
        "title": figure.title,
        "caption": figure.caption,
        "choice": figure.choice if len(figure.variants) > 1 else "",
        "labels": [variant.label for variant in figure.variants],
        "wide": figure.wide,
        "height": max(heights),
        "json": embedded_json(figure.plain),
    }
