"""Writes the comparison with the paper: HTML, Markdown, CSV, JSON, LaTeX, and Figure 6 as PNG."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fersearch.errors import InputError, suggestion
from fersearch.files import write_json, write_text
from fersearch.plugins import shipped
from fersearch.records import to_plain
from fersearch.report.leaderboard.formats import safe_cell
from fersearch.report.leaderboard.page import STYLE, asset, theme_style
from fersearch.report.paper.grad_cam_figure import draw_grad_cam_figure, grad_cam_caption
from fersearch.report.paper.latex import paper_latex
from fersearch.report.paper.models import Paper, PaperCell, PaperRow, PaperTable
from fersearch.report.paper.words import (
    CLAIM_HEADER,
    OTHERS_HEADER,
    OTHERS_NOTE,
    RULE_ROWS,
    TITLE,
    TableWords,
    audit_title,
    other_cells,
    overview,
    table_words,
)
from fersearch.report.text import code_block, escape_markdown

__all__ = ["FORMATS", "paper_csv", "paper_html", "paper_json", "paper_markdown", "write_paper"]

TEMPLATE = "paper.html.jinja"
FIGURE = "figures/grad_cam.png"
DRAWN = (
    "Every measured figure here is of drawn faces, not photographs: it says how the methods "
    "compare on them, and nothing about the paper's data."
)
CSV_COLUMNS = (
    "table",
    "row",
    "data",
    "quantity",
    "claim",
    "claimed_as_printed",
    "claimed",
    "measured",
    "measured_low",
    "measured_high",
    "difference",
    "verdict",
    "reason",
    "measured_as",
    "seeds",
    "support",
    "settings",
    "protocol_hash",
    "source",
)


def write_paper(
    paper: Paper, folder: Path, formats: Sequence[str] = ("html", "md", "csv", "json", "tex")
) -> list[Path]:
    """Write ``paper.FORMAT`` for every format, and ``figures/grad_cam.png`` where there are maps.

    Each file is written whole or not at all; the HTML page holds the figure and needs no network.

    Args:
        paper: What to write.
        folder: Where to; it is made where missing.
        formats: Some of ``html``, ``md``, ``csv``, ``json`` and ``tex``.

    Returns:
        The files that were written, the figure first.

    Raises:
        InputError: A format is unknown, a key is missing among the Grad-CAM maps, or the folder
            cannot be written to.
    """
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"unknown report format {name!r}", suggestion(name, FORMATS))
    written = []
    figure = draw_grad_cam_figure(paper.cams, folder / FIGURE, classes=paper.cam_classes)
    if figure is not None:
        written.append(figure)
    for name in dict.fromkeys(formats):
        path = folder / f"paper.{name}"
        FORMATS[name](paper, path, figure)
        written.append(path)
    return written


def paper_html(paper: Paper, figure: bytes = b"") -> str:
    """Return the comparison as one HTML page that needs nothing else.

    Args:
        paper: What to show.
        figure: PNG of Figure 6; none when empty.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(shipped("reports", TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        paper=paper,
        title=TITLE,
        overview=overview(paper),
        drawn=DRAWN if paper.drawn else "",
        rule=[(*row, count) for row, count in zip(RULE_ROWS, paper.verdicts.values(), strict=True)],
        header=CLAIM_HEADER,
        tables=[(table, table_words(table)) for table in paper.tables],
        audit=[(audit_title(n, item), item) for n, item in enumerate(paper.audit, start=1)],
        others_header=OTHERS_HEADER,
        others=[other_cells(other, paper) for other in paper.others],
        others_note=OTHERS_NOTE,
        caption=grad_cam_caption(paper.cams),
        figure=base64.b64encode(figure).decode("ascii"),
        # Our own files, which hold no text of a user.
        style=Markup(theme_style() + asset(STYLE)),
    )


def paper_markdown(paper: Paper, *, figure: bool = False) -> str:
    """Return the comparison as Markdown; with ``figure`` it shows ``figures/grad_cam.png``."""
    parts = [f"# {TITLE}", escape_markdown(overview(paper))]
    if paper.drawn:
        parts.append(f"**{escape_markdown(DRAWN)}**")
    parts.append(_table(("verdict", "meaning"), RULE_ROWS, left=2))
    for table in paper.tables:
        parts += _markdown_table(table, table_words(table))
    parts.append("## Figure 6. Where the networks look")
    if figure:
        caption = escape_markdown(grad_cam_caption(paper.cams))
        parts += [f"![Grad-CAM of test images]({FIGURE})", caption]
    else:
        parts.append("No Grad-CAM maps were found.")
    parts.append("## Audit of the paper's own figures")
    for number, item in enumerate(paper.audit, start=1):
        head = escape_markdown(audit_title(number, item)).replace("\\.", ".")
        parts.append(f"### {head}")
        parts.append(
            f"{escape_markdown(item.statement)} **{escape_markdown(item.finding)}**"
            f" {escape_markdown(item.evidence)}"
        )
    rows = [other_cells(other, paper) for other in paper.others]
    parts += ["## Figures of other papers", _table(OTHERS_HEADER, rows, last=True), OTHERS_NOTE]
    parts += [
        "## To check under the paper's conditions",
        "DIR is the folder of FERPlus, FILE the teacher's pre-trained weights.",
    ]
    parts.append(code_block("\n".join(paper.commands), "sh"))
    if paper.left_out:
        parts += ["## Left out", _bullets(paper.left_out)]
    made = [f"fersearch {paper.version}".strip(), paper.created, paper.tracking]
    parts.append("## Made with")
    if paper.command:
        parts.append(code_block(paper.command, "sh"))
    parts.append(", ".join(escape_markdown(text) for text in made if text) + ".")
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: PaperTable, words: TableWords) -> list[str]:
    lines = []
    for row in words.rows:
        under = f" ({'; '.join(row.under)})" if row.under else ""
        for place, cell in enumerate(row.cells):
            mark = f" [{cell.note}]" if cell.note else ""
            verdict = f"{cell.symbol} {cell.verdict}{mark}".strip()
            first = f"{row.title}{under}" if place == 0 else ""
            figures = (cell.claimed, cell.measured, cell.interval, cell.difference)
            lines.append((first, cell.quantity, *figures, verdict))
    parts = [
        f"## {escape_markdown(words.title)}",
        escape_markdown(words.caption),
        _table(CLAIM_HEADER, lines, left=2, last=True),
    ]
    notes = [f"[{n}] {reason}" for n, reason in enumerate(words.reasons, start=1)]
    parts.append(_bullets(notes))
    parts.append("\n\n".join(map(escape_markdown, words.notes)))
    if words.measured:
        parts += ["Measured for", _bullets(words.measured)]
    if table.missing:
        parts.append("Not measured; these commands would:")
        for run in table.missing:
            parts.append(f"{escape_markdown(run.title)}:\n\n{code_block(run.command, 'sh')}")
    return [part for part in parts if part]


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escape_markdown(line)}" for line in lines)


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, last: bool = False
) -> str:
    """Return a Markdown table: ``left`` columns, and perhaps the last, stand to the left."""
    places = range(len(header))
    sides = ["---" if n < left or (last and n == places[-1]) else "---:" for n in places]
    lines = [
        "| " + " | ".join(map(escape_markdown, header)) + " |",
        "| " + " | ".join(sides) + " |",
        *("| " + " | ".join(map(escape_markdown, row)) + " |" for row in rows),
    ]
    return "\n".join(lines)


def paper_csv(paper: Paper) -> str:
    """Return every cell of every table as a line; shares are in 0-1, sizes in parameters.

    A cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for table in paper.tables:
        for row in table.rows:
            for cell in row.cells:
                values = _csv_cells(table, row, cell)
                writer.writerow([safe_cell(values[name]) for name in CSV_COLUMNS])
    return file.getvalue()


def _csv_cells(table: PaperTable, row: PaperRow, cell: PaperCell) -> dict[str, Any]:
    claim = cell.claim
    low, high = cell.interval or (None, None)
    settings = json.dumps(to_plain(row.settings), ensure_ascii=False, sort_keys=True)
    return {
        "table": table.id,
        "row": row.title,
        "data": row.data,
        "quantity": cell.quantity,
        "claim": None if claim is None else claim.id,
        "claimed_as_printed": None if claim is None else claim.shown,
        "claimed": None if claim is None else round(claim.value, 6),
        "measured": cell.measured,
        "measured_low": low,
        "measured_high": high,
        "difference": cell.difference,
        "verdict": cell.verdict,
        "reason": cell.reason,
        "measured_as": row.measured_as,
        "seeds": row.seeds or None,
        "support": row.support,
        "settings": settings if row.settings else None,
        "protocol_hash": table.protocol_hash,
        "source": table.source,
    }


def paper_json(paper: Paper) -> dict[str, Any]:
    """Return the comparison as JSON; NaN and infinity become null.

    Shares are in 0-1, sizes in parameters; ``printed`` holds the claim's digits.
    """
    tables = [
        {
            "table": table.id,
            "title": table.title,
            "source": table.source,
            "notes": table.notes,
            "board": table.board,
            "protocol_hash": table.protocol_hash,
            "rows": [_json_row(row) for row in table.rows],
            "missing": table.missing,
        }
        for table in paper.tables
    ]
    plain: dict[str, Any] = to_plain(
        {
            "tables": tables,
            "verdicts": paper.verdicts,
            "rule": [{"verdict": name, "meaning": text} for name, text in RULE_ROWS],
            "audit": [
                {"number": number, **to_plain(item)}
                for number, item in enumerate(paper.audit, start=1)
            ],
            "others": paper.others,
            "sources": paper.sources,
            "drawn": paper.drawn,
            "figure": {
                "models": list(paper.cams),
                "caption": grad_cam_caption(paper.cams),
            },
            "commands": paper.commands,
            "left_out": paper.left_out,
            "created": paper.created,
            "version": paper.version,
            "tracking": paper.tracking,
            "command": paper.command,
        }
    )
    return plain


def _json_row(row: PaperRow) -> Mapping[str, Any]:
    cells = []
    for cell in row.cells:
        claim = cell.claim
        cells.append(
            {
                "quantity": cell.quantity,
                "unit": cell.unit,
                "claim": None if claim is None else claim.id,
                "printed": None if claim is None else claim.printed,
                "printed_unit": None if claim is None else claim.unit,
                "claimed": None if claim is None else round(claim.value, 6),
                "measured": cell.measured,
                "measured_ci95": cell.interval,
                "difference": cell.difference,
                "verdict": cell.verdict or None,
                "reason": cell.reason,
            }
        )
    return {
        "row": row.title,
        "data": row.data,
        "measured_as": row.measured_as or None,
        "seeds": row.seeds,
        "settings": row.settings,
        "support": row.support,
        "notes": row.notes,
        "cells": cells,
    }


def _write_html(paper: Paper, path: Path, figure: Path | None) -> None:
    write_text(path, paper_html(paper, figure.read_bytes() if figure else b""))


def _write_markdown(paper: Paper, path: Path, figure: Path | None) -> None:
    write_text(path, paper_markdown(paper, figure=figure is not None))


def _write_csv(paper: Paper, path: Path, _figure: Path | None) -> None:
    # Spreadsheets take UTF-8 for what it is only after a byte order mark.
    write_text(path, "\ufeff" + paper_csv(paper))


def _write_json(paper: Paper, path: Path, _figure: Path | None) -> None:
    write_json(path, paper_json(paper))


def _write_latex(paper: Paper, path: Path, figure: Path | None) -> None:
    write_text(path, paper_latex(paper, figure=FIGURE if figure else ""))


FORMATS: Mapping[str, Callable[[Paper, Path, Path | None], None]] = {
    "html": _write_html,
    "md": _write_markdown,
    "csv": _write_csv,
    "json": _write_json,
    "tex": _write_latex,
}
