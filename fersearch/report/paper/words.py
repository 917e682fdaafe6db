"""What the comparison with the paper says in words: cells, reasons, audit. All texts are plain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fersearch.report.paper.audit import AuditItem
from fersearch.report.paper.claim_models import OtherPaper
from fersearch.report.paper.models import Paper, PaperCell, PaperRow, PaperTable
from fersearch.report.paper.verdicts import (
    CANNOT_BE_CHECKED,
    INCONSISTENT,
    NOT_REPRODUCED,
    REPRODUCED,
    RULE,
)
from fersearch.report.text import MISSING, format_count, format_value

__all__ = [
    "CLAIM_HEADER",
    "OTHERS_HEADER",
    "OTHERS_NOTE",
    "RULE_ROWS",
    "SYMBOLS",
    "CellWords",
    "RowWords",
    "TableWords",
    "audit_title",
    "other_cells",
    "overview",
    "table_words",
]

SYMBOLS: Mapping[str, str] = {
    REPRODUCED: "✓",
    NOT_REPRODUCED: "✗",
    CANNOT_BE_CHECKED: "?",
    INCONSISTENT: "≠",
}
RULE_ROWS = tuple((f"{SYMBOLS[name]} {name}", words) for name, words in RULE)
CLAIM_HEADER = ("row", "figure", "claimed", "measured", "95 % interval", "difference", "verdict")
OTHERS_HEADER = ("model", "FERPlus (%)", "RAF-DB (%)", "parameters (M)", "MACs (G)", "source")
OTHERS_NOTE = (
    "As their papers print them. Most of these papers choose the checkpoint on the test set; this "
    "program never does. With 3,500 test images a 95 % interval at 88 % is about 1.1 points wide "
    "on either side."
)
TITLE = "The paper's tables, claimed beside measured"


@dataclass(frozen=True, slots=True)
class CellWords:
    """One line of a table as text; ``note`` is the number of its reason, 0 without one."""

    quantity: str
    claimed: str
    measured: str
    interval: str
    difference: str
    verdict: str
    symbol: str
    note: int


@dataclass(frozen=True, slots=True)
class RowWords:
    """A row as text: title, what lies below it in small, and its lines."""

    title: str
    under: tuple[str, ...]
    cells: tuple[CellWords, ...]


@dataclass(frozen=True, slots=True)
class TableWords:
    """A table as text.

    Attributes:
        id: ``I`` to ``IV``.
        title: Number and title.
        caption: Source, and which board was measured.
        notes: What a reader must know.
        rows: Its rows.
        reasons: The reasons of its verdicts; a cell's ``note`` counts them from 1.
        measured: Which row of the board, with which settings, stands beside which of the paper.
    """

    id: str
    title: str
    caption: str
    notes: tuple[str, ...]
    rows: tuple[RowWords, ...]
    reasons: tuple[str, ...]
    measured: tuple[str, ...]


def overview(paper: Paper) -> str:
    """Return in one paragraph what the report shows and what came of it."""
    total = sum(paper.verdicts.values())
    counts = ", ".join(f"{number} {name}" for name, number in paper.verdicts.items())
    return (
        "The figures that Xie & Huang print for T-SNet, beside what this program measured. Of "
        f"{format_count(total, 'claimed figure')}: {counts}. The audit below found "
        f"{format_count(len(paper.audit), 'point')} in the paper by itself, without any "
        "measurement."
    )


def table_words(table: PaperTable) -> TableWords:
    """Return a table as text; equal reasons share a number."""
    reasons: dict[str, int] = {}
    rows = []
    for row in table.rows:
        cells = []
        for cell in row.cells:
            note = reasons.setdefault(cell.reason, len(reasons) + 1) if cell.reason else 0
            cells.append(_cell_words(cell, note, table.id))
        rows.append(RowWords(row.title, _under(row), tuple(cells)))
    return TableWords(
        id=table.id,
        title=f"Table {table.id}. {table.title}",
        caption=f"{table.source}. {table.board}",
        notes=table.notes,
        rows=tuple(rows),
        reasons=tuple(reasons),
        measured=_measured(table),
    )


def _under(row: PaperRow) -> tuple[str, ...]:
    lines = [row.data] if row.data else []
    if row.support is not None:
        lines.append(format_count(row.support, "test image"))
    return tuple(lines)


def _measured(table: PaperTable) -> tuple[str, ...]:
    """Say what was measured for each row, once for rows that differ in nothing."""
    titles: dict[tuple[str, ...], list[str]] = {}
    for row in table.rows:
        if not row.measured_as:
            continue
        # The grid's own titles name temperature and alpha, and nothing else tells its rows apart.
        own = table.id == "I" and "temperature" in row.settings
        hidden = ("temperature", "alpha") if own else ()
        settings = {name: value for name, value in row.settings.items() if name not in hidden}
        about = [
            "" if own or row.measured_as == row.title else row.measured_as,
            format_count(row.seeds, "seed"),
            format_value(settings),
            *row.notes,
        ]
        found = titles.setdefault(tuple(part for part in about if part), [])
        if row.title not in found:
            found.append(row.title)
    return tuple(f"{', '.join(names)}: {'; '.join(about)}" for about, names in titles.items())


def _cell_words(cell: PaperCell, note: int, table: str) -> CellWords:
    claim = cell.claim
    percent = claim is not None and claim.unit == "percent"
    return CellWords(
        quantity=cell.quantity,
        claimed=MISSING if claim is None else claim.shown,
        measured=_value(cell, cell.measured, percent=percent, table=table),
        interval=_interval(cell, percent=percent),
        difference=_difference(cell),
        verdict=cell.verdict or MISSING,
        symbol=SYMBOLS.get(cell.verdict, ""),
        note=note,
    )


def _value(cell: PaperCell, value: float | None, *, percent: bool, table: str = "") -> str:
    if value is None:
        return MISSING
    if cell.quantity == "multiply-accumulates":
        return f"{value / 1e9:.3f} G"
    if cell.unit == "count":
        return f"{value / 1e6:.3f} M"
    return f"{100 * value:.2f} %" if percent else f"{value:.3f}"


def _interval(cell: PaperCell, *, percent: bool) -> str:
    if cell.interval is None:
        return MISSING
    scale, digits = (100, 2) if percent else (1, 3)
    low, high = (f"{scale * end:.{digits}f}" for end in cell.interval)
    return f"{low} to {high}"


def _difference(cell: PaperCell) -> str:
    if cell.difference is None:
        return MISSING
    if cell.unit == "count":
        return f"{cell.difference / 1e6:+.2f} M"
    return f"{100 * cell.difference:+.2f} points"


def audit_title(number: int, item: AuditItem) -> str:
    """Return the title of an item of the audit: number, status and id."""
    return f"{number}. {item.status}: {item.id.replace('_', ' ')}"


def other_cells(other: OtherPaper, paper: Paper) -> tuple[str, ...]:
    """Return the row of another paper."""
    figures = (other.ferplus, other.rafdb, other.params_m, other.gmacs)
    source = paper.sources[other.source].name
    return (other.model, *(text or MISSING for text in figures), source)
