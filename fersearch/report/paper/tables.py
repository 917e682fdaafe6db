"""Builds the paper's tables: which board and row stand beside a claim, and each cell's verdict."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fersearch.report.leaderboard.board import Board, BoardRow
from fersearch.report.paper.audit import AuditItem
from fersearch.report.paper.claim_models import Claim, Claims
from fersearch.report.paper.claims import load_claims
from fersearch.report.paper.models import MissingRun, PaperCell, PaperRow
from fersearch.report.paper.verdicts import (
    Measured,
    differing_conditions,
    is_complete_ferplus,
    judge,
    macro_precision_interval,
    recall_interval,
    size_differences,
)
from fersearch.report.summary import is_drawn
from fersearch.report.text import format_count, format_value

__all__ = [
    "DATA_NAMES",
    "TableBuilder",
    "baseline_command",
    "board_words",
    "choose_board",
    "find_row",
    "missing_runs",
    "study_command",
]

DATA_NAMES = {"ferplus": "FER2013Plus", "own": "the authors' own data", "": ""}
QUANTITIES = {
    "precision": "macro precision",
    "accuracy": "accuracy",
    "recall": "recall",
    "params": "parameters",
}
OWN_DATA = "not measured: the authors' own data are not public"
NO_IMAGE = "not measured: the test split has no image of this class"
# What is copied from a board's protocol into a command that adds a row to it.
OPTIONS = ("data", "image_size", "epochs", "batch_size", "recipe", "seed", "seeds")


def find_row(board: Board, claim: Claim) -> BoardRow | None:
    """Return the board's row that a claim is of, or None.

    Of several the one with the paper's loss, with the most seeds, of the search with the most
    trials, then the first by key: never the best on the test split. A network that works at
    another size, or a further point of a front, stands for no claim. A claim with a setting takes
    only a row with that loss, temperature and alpha.
    """
    paper = load_claims().protocol.loss

    def other_loss(row: BoardRow) -> bool:
        loss = row.settings.get("loss", board.protocol.get("loss", paper))
        return row.role == "distilled" and loss != paper

    rows = [
        row
        for row in board.rows
        if (row.role, row.model) == (claim.role, claim.model)
        and row.as_published
        and (claim.temperature is None or (_has_setting(row, claim) and not other_loss(row)))
    ]
    return min(
        rows,
        key=lambda row: (other_loss(row), -len(row.seeds), -row.trials, row.key),
        default=None,
    )


def _has_setting(row: BoardRow, claim: Claim) -> bool:
    for name in ("temperature", "alpha"):
        value = row.settings.get(name)
        if not isinstance(value, int | float) or not math.isclose(value, getattr(claim, name)):
            return False
    return True


def choose_board(
    boards: Sequence[Board], kind: str, figures: Sequence[Claim], claims: Claims
) -> Board | None:
    """Return the board that a table takes its measured figures from, or None.

    Of the boards of the kind that have any of its rows: the one whose data are nearest to the
    paper's (complete FERPlus, part of FERPlus, other photographs, drawings), then the one with
    the most rows, then that with the paper's image size and epochs, then the most test images.
    """

    def rank(board: Board) -> tuple[float, ...]:
        protocol, paper = board.protocol, claims.protocol
        if protocol.get("data_kind") == paper.data_kind:
            data = 3 if is_complete_ferplus(protocol, claims) else 2
        else:
            data = 0 if is_drawn(protocol) else 1
        return (
            data,
            len({row.key for claim in figures if (row := find_row(board, claim)) is not None}),
            protocol.get("image_size") == paper.image_size,
            protocol.get("epochs") == paper.epochs,
            len(board.labels),
        )

    suitable = [
        board
        for board in boards
        if board.kind == kind and any(find_row(board, claim) is not None for claim in figures)
    ]
    return max(suitable, key=rank, default=None)


def board_words(board: Board | None) -> str:
    """Return which board the measured figures of a table are of."""
    if board is None:
        return "No board has any of these rows."
    protocol = board.protocol
    data = protocol.get("data", protocol.get("data_kind", "unknown data"))
    rule = protocol.get("label_rule")
    drawn = " (drawings, not photographs)" if is_drawn(protocol) else ""
    train = protocol.get("n_train")
    images = f"{train:,} training and " if isinstance(train, int) else ""
    recipe = protocol.get("recipe", "unknown")
    return (
        f"Measured on {data}{drawn}{f', label rule {rule}' if rule else ''}: {images}"
        f"{format_count(len(board.labels), 'test image')}, "
        f"{format_value(protocol.get('image_size'))} px, "
        f"{format_value(protocol.get('epochs'))} epochs, recipe {recipe}."
    )


@dataclass(frozen=True, slots=True)
class TableBuilder:
    """Builds the rows of one table: the claims, the audit's items by claim, and the board."""

    claims: Claims
    decided: Mapping[str, Sequence[tuple[int, AuditItem]]]
    board: Board | None

    def row_of(self, claim: Claim) -> BoardRow | None:
        """Return the measured row of a claim."""
        return None if self.board is None else find_row(self.board, claim)

    def claimed_row(self, figures: Sequence[Claim], extra: Sequence[str] = ()) -> PaperRow:
        """Return a row of the paper: its figures, and further measured columns without claims."""
        first = figures[0]
        row = self.row_of(first)
        cells = [self.cell(claim, row) for claim in figures]
        if row is not None and first.data != "own":
            cells += [self.bare_cell(column, row) for column in extra]
        measured = any(cell.measured is not None for cell in cells)
        return PaperRow(
            title=first.row,
            data=DATA_NAMES[first.data],
            cells=tuple(cells),
            **self.about(row if measured else None, first),
        )

    def about(self, row: BoardRow | None, claim: Claim | None = None) -> dict[str, Any]:
        """Return what a :class:`PaperRow` says of its measured row."""
        if row is None:
            return {}
        found = None
        if claim is not None and claim.class_name and claim.data != "own":
            found = row.metrics.per_class.get(claim.class_name)
        return {
            "measured_as": row.title,
            "seeds": len(row.seeds),
            "settings": dict(row.settings),
            "support": None if found is None else found.support,
            "notes": row.notes,
        }

    def cell(self, claim: Claim, row: BoardRow | None) -> PaperCell:
        """Return one claim beside what the row measured."""
        size = claim.unit == "millions"
        elsewhere = claim.data == "own" and not size
        value: float | None = None
        interval: tuple[float, float] | None = None
        if row is not None and not elsewhere:
            value, interval = self.measure(claim.column, claim.class_name, row)
        measured = None
        differences: tuple[str, ...] = ()
        if value is not None and row is not None and self.board is not None:
            measured = Measured(value=value, interval=interval, seeds=len(row.seeds), row=row)
            differences = (
                size_differences(claim, row, self.claims)
                if size
                else differing_conditions(claim, row, self.board.protocol, self.claims)
            )
        verdict, reason = judge(
            claim,
            measured,
            differences=differences,
            decided_by=self.decided.get(claim.id, ()),
            unmeasured=OWN_DATA if elsewhere else "not measured" if row is None else NO_IMAGE,
        )
        return PaperCell(
            quantity=QUANTITIES[claim.column],
            unit="count" if size else "share",
            claim=claim,
            measured=value,
            interval=interval,
            difference=None if value is None else value - claim.value,
            verdict=verdict,
            reason=reason,
        )

    def bare_cell(self, column: str, row: BoardRow, class_name: str = "") -> PaperCell:
        """Return a measured figure that the paper gives no claim for."""
        if column == "macs":
            value = None if row.macs is None else float(row.macs)
            return PaperCell(quantity="multiply-accumulates", unit="count", measured=value)
        measured, interval = self.measure(column, class_name, row)
        return PaperCell(
            quantity=QUANTITIES[column], unit="share", measured=measured, interval=interval
        )

    def measure(
        self, column: str, class_name: str, row: BoardRow
    ) -> tuple[float | None, tuple[float, float] | None]:
        """Return a row's figure in plain units and its 95 % interval."""
        assert self.board is not None  # the row is on it
        if column == "params":
            return float(row.params), None
        if column == "accuracy":
            return row.metrics.accuracy, row.metrics.accuracy_ci95
        if column == "precision":
            interval = macro_precision_interval(row.logits, self.board.labels)
            return row.metrics.macro_precision, interval
        found = row.metrics.per_class.get(class_name)
        if found is None or found.recall is None:
            return None, None
        index = self.board.classes.index(class_name)
        return found.recall, recall_interval(row.logits, self.board.labels, index)


def study_command(study: str, board: Board | None, claims: Claims) -> str:
    """Return the command of a study under a board's protocol; the paper's without a board."""
    return _command(["fersearch", "study", study], board, claims)


def baseline_command(model: str, board: Board | None, claims: Claims) -> str:
    """Return the command that measures a baseline under a board's protocol."""
    return _command(["fersearch", "baseline", "run", model], board, claims)


def missing_runs(
    rows: Sequence[tuple[str, str]], board: Board | None, claims: Claims
) -> tuple[MissingRun, ...]:
    """Return rows that were not measured, joined where one command measures several.

    Args:
        rows: Title and what measures it: ``study distill``, ``study ablation`` or a baseline.
        board: The board that they are missing from.
        claims: The claims, with the paper's conditions.
    """
    titles: dict[str, list[str]] = {}
    for title, run in rows:
        kind, _, name = run.partition(" ")
        make = study_command if kind == "study" else baseline_command
        found = titles.setdefault(make(name, board, claims), [])
        if title not in found:
            found.append(title)
    return tuple(
        MissingRun(title="; ".join(found), command=command) for command, found in titles.items()
    )


def _command(words: Sequence[str], board: Board | None, claims: Claims) -> str:
    protocol: Mapping[str, Any] = {
        "data": f"{claims.protocol.data_kind}:DIR",
        "image_size": claims.protocol.image_size,
        "epochs": claims.protocol.epochs,
        "batch_size": claims.protocol.batch_size,
        "recipe": claims.protocol.recipe,
    }
    if board is not None:
        protocol = board.protocol
    options = [
        text
        for name in OPTIONS
        if protocol.get(name) is not None
        for text in (f"--{name.replace('_', '-')}", str(protocol[name]))
    ]
    # The paper's teacher is pre-trained; the weights are the user's to name.
    if words[1] == "study" and (board is None or protocol.get("teacher_weights_sha256")):
        options += ["--teacher-weights", "FILE"]
    return shlex.join([*words, *options])
