"""The comparison with the paper as a terminal shows it."""

from __future__ import annotations

from fersearch.report.paper.models import Paper, PaperCell, PaperTable
from fersearch.report.text import (
    MISSING,
    format_interval,
    format_parameters,
    format_percent,
    format_points,
    plain_table,
)

__all__ = ["paper_text"]

HEADER = ("row", "figure", "claimed", "measured", "95 % interval", "difference", "verdict")


def paper_text(paper: Paper) -> str:
    """Return the four tables, the audit's statements and how often each verdict was given."""
    parts = [_table_text(table) for table in paper.tables]
    audit = [
        f"{number}. {item.statement} {item.finding}"
        for number, item in enumerate(paper.audit, start=1)
    ]
    parts.append("\n".join(["What is wrong with the claims by themselves:", *audit]))
    counts = ", ".join(f"{count} {name}" for name, count in paper.verdicts.items())
    parts.append(f"Verdicts: {counts}. The reasons stand in the report.")
    return "\n\n".join(parts)


def _table_text(table: PaperTable) -> str:
    cells = [
        (f"{row.title}{f' ({row.data})' if row.data else ''}", *_cell_texts(cell))
        for row in table.rows
        for cell in row.cells
    ]
    lines = [f"Table {table.id}: {table.title}", table.board, plain_table(HEADER, cells, left=2)]
    lines += [f"not measured: {run.title}; {run.command}" for run in table.missing]
    return "\n".join(line for line in lines if line)


def _cell_texts(cell: PaperCell) -> tuple[str, ...]:
    count = cell.unit == "count"
    measured = cell.measured
    if measured is None:
        shown = MISSING
    else:
        shown = f"{format_parameters(int(measured))} M" if count else format_percent(measured)
    difference = MISSING
    if cell.difference is not None:
        difference = (
            f"{cell.difference / 1e6:+.2f} M" if count else f"{format_points(cell.difference)}"
        )
    return (
        cell.quantity,
        MISSING if cell.claim is None else cell.claim.printed,
        shown,
        format_interval(cell.interval),
        difference,
        cell.verdict or MISSING,
    )
