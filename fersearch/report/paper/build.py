"""The source paper's Tables I to IV and Figure 6, claimed beside measured.

Each table takes its measured figures from one board, chosen by
:func:`~fersearch.report.paper.tables.choose_board`; the verdicts' rule stands in
:mod:`fersearch.report.paper.verdicts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fersearch.evaluations import GradCams
from fersearch.report.leaderboard.board import Board, BoardRow, Leaderboard
from fersearch.report.paper.audit import AuditItem, audit
from fersearch.report.paper.claim_models import Claim, Claims
from fersearch.report.paper.claims import load_claims
from fersearch.report.paper.models import Paper, PaperRow, PaperTable
from fersearch.report.paper.tables import (
    TableBuilder,
    baseline_command,
    board_words,
    choose_board,
    missing_runs,
    study_command,
)
from fersearch.report.paper.verdicts import VERDICTS, is_complete_ferplus
from fersearch.report.summary import is_drawn
from fersearch.report.text import format_value

__all__ = ["Paper", "paper_report"]

Decided = Mapping[str, Sequence[tuple[int, AuditItem]]]


def paper_report(
    leaderboard: Leaderboard,
    *,
    cams: Mapping[str, tuple[GradCams, str]] | None = None,
    cam_classes: Sequence[str] = (),
) -> Paper:
    """Return the paper's tables beside the rows of a leaderboard.

    Args:
        leaderboard: Boards of kind ``leaderboard`` and ``ablation``; it may have none.
        cams: For Figure 6, by the title of a model: its Grad-CAM maps, and its row's key in them.
        cam_classes: Names of the classes of those maps; those of the largest board by default.
    """
    claims = load_claims()
    items = audit(claims, ferplus_supports=ferplus_supports(leaderboard.boards, claims))
    decided: dict[str, list[tuple[int, AuditItem]]] = {}
    for number, item in enumerate(items, start=1):
        for claim in item.decides:
            decided.setdefault(claim, []).append((number, item))
    chosen = {
        table: choose_board(
            leaderboard.boards,
            "ablation" if table == "I" else "leaderboard",
            claims.of_table(table),
            claims,
        )
        for table in ("I", "II", "III", "IV")
    }
    # A missing grid is asked for under the protocol that the other tables were measured with.
    template = next((board for board in chosen.values() if board is not None), None)
    tables = (
        table_1(claims, decided, chosen["I"], template),
        table_2(claims, decided, chosen["II"], template),
        table_3(claims, decided, chosen["III"], template),
        table_4(claims, decided, chosen["IV"], template),
    )
    verdicts = [cell.verdict for table in tables for row in table.rows for cell in row.cells]
    used = [board for board in chosen.values() if board is not None]
    largest = max(leaderboard.boards, key=lambda board: len(board.labels), default=None)
    return Paper(
        tables=tables,
        audit=items,
        others=claims.others,
        sources=claims.sources,
        verdicts={name: verdicts.count(name) for name in VERDICTS},
        commands=(
            *(study_command(name, None, claims) for name in ("distill", "ablation")),
            *(
                baseline_command(name, None, claims)
                for name in dict.fromkeys(
                    claim.model for claim in claims.of_table("III") if claim.role == "baseline"
                )
            ),
        ),
        drawn=bool(used) and all(is_drawn(board.protocol) for board in used),
        cams=dict(cams or {}),
        cam_classes=tuple(cam_classes) or (largest.classes if largest else ()),
        left_out=leaderboard.left_out,
        created=leaderboard.created,
        version=leaderboard.version,
        tracking=leaderboard.tracking,
        command=leaderboard.command,
    )


def ferplus_supports(boards: Sequence[Board], claims: Claims) -> dict[str, int] | None:
    """Return images by class of FERPlus's complete official test split, if a board has it."""
    sizes = {claims.counts[f"ferplus_test_{rule}"].value for rule in ("majority", "argmax")}
    for board in boards:
        if len(board.labels) in sizes and is_complete_ferplus(board.protocol, claims):
            counts = np.bincount(board.labels, minlength=len(board.classes))
            return dict(zip(board.classes, map(int, counts), strict=True))
    return None


def table_1(
    claims: Claims, decided: Decided, board: Board | None, template: Board | None
) -> PaperTable:
    """Return Table I: the grid over temperature and alpha, then what else was measured of it."""
    builder = TableBuilder(claims, decided, board)
    figures = claims.of_table("I")
    rows = [builder.claimed_row([claim], ["accuracy"]) for claim in figures]
    taken = {row.key for claim in figures if (row := builder.row_of(claim)) is not None}
    if board is not None:
        others = [row for row in board.rows if row.key not in taken]
        for row in sorted(others, key=setting_order):
            cells = [builder.bare_cell(column, row) for column in ("precision", "accuracy")]
            rows.append(
                PaperRow(title=setting_title(row), cells=tuple(cells), **builder.about(row))
            )
    absent = [(claim.row, "study ablation") for claim in figures if builder.row_of(claim) is None]
    return make_table(
        builder,
        "I",
        rows,
        absent,
        template,
        "The paper heads its only column precision and does not say how it averages over the "
        "classes; the macro average is measured.",
    )


def setting_order(row: BoardRow) -> tuple[bool, float, float, str]:
    """Return a key that puts grid cells by temperature and alpha, and references last."""
    values = [row.settings.get(name) for name in ("temperature", "alpha")]
    numbers = [float(value) if isinstance(value, int | float) else 0.0 for value in values]
    return row.role != "distilled", numbers[0], numbers[1], row.key


def setting_title(row: BoardRow) -> str:
    """Return the title of a measured row of the grid."""
    if row.role != "distilled":
        return row.title
    temperature, alpha = (format_value(row.settings.get(n)) for n in ("temperature", "alpha"))
    loss = row.settings.get("loss", load_claims().protocol.loss)
    other = "" if loss == load_claims().protocol.loss else f", loss {format_value(loss)}"
    return f"T = {temperature}, alpha = {alpha}{other}"


def table_2(
    claims: Claims, decided: Decided, board: Board | None, template: Board | None
) -> PaperTable:
    """Return Table II: teacher, student alone and distilled student, on both data sets."""
    builder = TableBuilder(claims, decided, board)
    groups = grouped(claims.of_table("II"))
    rows = [builder.claimed_row(figures) for figures in groups]
    absent = [
        (figures[0].row, "study distill") for figures in groups if not builder.row_of(figures[0])
    ]
    return make_table(
        builder,
        "II",
        rows,
        absent,
        template,
        "A size does not depend on the data but for the number of classes (513 parameters a class "
        "in the teacher, 1,025 in the student), so sizes are compared for both data sets.",
    )


def table_3(
    claims: Claims, decided: Decided, board: Board | None, template: Board | None
) -> PaperTable:
    """Return Table III: the baselines and the distilled student."""
    builder = TableBuilder(claims, decided, board)
    groups = grouped(claims.of_table("III"))
    rows = [builder.claimed_row(figures, ["macs"]) for figures in groups]
    absent = [
        (
            figures[0].row,
            "study distill" if figures[0].role == "distilled" else f"baseline {figures[0].model}",
        )
        for figures in groups
        if builder.row_of(figures[0]) is None
    ]
    return make_table(builder, "III", rows, absent, template)


def table_4(
    claims: Claims, decided: Decided, board: Board | None, template: Board | None
) -> PaperTable:
    """Return Table IV: recall by class, then the classes that the paper leaves out."""
    builder = TableBuilder(claims, decided, board)
    figures = claims.of_table("IV")
    rows = [builder.claimed_row([claim]) for claim in figures]
    row = builder.row_of(figures[0])
    if board is not None and row is not None:
        claimed = {claim.class_name for claim in figures}
        for name in board.classes:
            found = row.metrics.per_class.get(name)
            if name in claimed or found is None or found.recall is None:
                continue
            cell = builder.bare_cell("recall", row, name)
            about = {**builder.about(row), "support": found.support}
            rows.append(PaperRow(title=name, cells=(cell,), **about))
    absent = [] if row is not None else [("T-SNet (distilled student)", "study distill")]
    return make_table(builder, "IV", rows, absent, template)


def grouped(figures: Sequence[Claim]) -> list[list[Claim]]:
    """Return the figures of each row of a table, rows in order."""
    found: dict[tuple[str, str], list[Claim]] = {}
    for claim in figures:
        found.setdefault((claim.data, claim.row), []).append(claim)
    return list(found.values())


def make_table(
    builder: TableBuilder,
    name: str,
    rows: Sequence[PaperRow],
    absent: Sequence[tuple[str, str]],
    template: Board | None,
    *notes: str,
) -> PaperTable:
    """Return a table with its notes, its board in words and what would measure missing rows."""
    claims, board = builder.claims, builder.board
    table = claims.tables[name]
    return PaperTable(
        id=name,
        title=table.title,
        source=f"{claims.sources[table.source].name}, Table {name}",
        notes=tuple(note for note in (table.note, *notes) if note),
        board=board_words(board),
        protocol_hash=board.protocol_hash if board is not None else "",
        rows=tuple(rows),
        missing=missing_runs(absent, board or template, claims),
    )
