"""What the comparison with the paper is, before it is written in any format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fersearch.evaluations import GradCams
from fersearch.report.paper.audit import AuditItem
from fersearch.report.paper.claim_models import Claim, OtherPaper, Source

__all__ = ["MissingRun", "Paper", "PaperCell", "PaperRow", "PaperTable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperCell:
    """One figure, claimed and measured.

    Attributes:
        quantity: ``macro precision``, ``accuracy``, ``recall``, ``parameters`` or
            ``multiply-accumulates``.
        unit: ``share`` (0-1) or ``count``.
        claim: The claim; None where the paper gives none.
        measured: The measured value in plain units; None where there is none.
        interval: Its 95 % interval; None for counts and where nothing was measured.
        difference: Measured minus claimed, in plain units; None where one of them is missing.
        verdict: One of :data:`~fersearch.report.paper.verdicts.VERDICTS`; empty without a claim.
        reason: Why; empty without a claim.
    """

    quantity: str
    unit: str
    claim: Claim | None = None
    measured: float | None = None
    interval: tuple[float, float] | None = None
    difference: float | None = None
    verdict: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperRow:
    """One row of a table.

    Attributes:
        title: Its title in the paper, or of a measured row that the paper has not.
        data: Name of the data set that the claim is of; empty where the paper does not say.
        cells: Its figures.
        measured_as: Title of the measured row; empty where there is none.
        seeds: Training seeds of the measured row; 0 where there is none.
        settings: Settings of the measured row.
        support: Test images that a recall is of; None elsewhere.
        notes: What a reader must know of the measured row.
    """

    title: str
    data: str = ""
    cells: tuple[PaperCell, ...]
    measured_as: str = ""
    seeds: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    support: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRun:
    """A row that was not measured: its ``title``, and the ``command`` that would measure it."""

    title: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """One table of the paper beside what was measured.

    Attributes:
        id: ``I`` to ``IV``.
        title: What it is about, in our words.
        source: Name of its source.
        notes: What a reader must know, one text each.
        board: Which board the measured figures are of, in words.
        protocol_hash: Hash of that board; empty where there is none.
        rows: Its rows, the paper's first.
        missing: Rows that were not measured.
    """

    id: str
    title: str
    source: str
    notes: tuple[str, ...]
    board: str
    protocol_hash: str
    rows: tuple[PaperRow, ...]
    missing: tuple[MissingRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paper:
    """The paper's tables and figure, claimed beside measured.

    Attributes:
        tables: Tables I to IV.
        audit: What is wrong with the claims by themselves; items are numbered from 1.
        others: Figures of other papers.
        sources: Sources by id.
        verdicts: Number of cells by verdict.
        commands: Commands that measure everything under the paper's conditions.
        drawn: Whether every measured figure is of drawn faces.
        cams: Grad-CAM maps and row key by title, for the figure; may be empty.
        cam_classes: Names of the classes of those maps.
        left_out: Runs that could not be read, each with the reason.
        created: UTC time, ISO 8601.
        version: Version of fersearch.
        tracking: Where the runs were read from.
        command: The command that makes this report.
    """

    tables: tuple[PaperTable, ...]
    audit: tuple[AuditItem, ...]
    others: tuple[OtherPaper, ...]
    sources: Mapping[str, Source]
    verdicts: Mapping[str, int]
    commands: tuple[str, ...]
    drawn: bool
    cams: Mapping[str, tuple[GradCams, str]] = field(default_factory=dict)
    cam_classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    created: str = ""
    version: str = ""
    tracking: str = ""
    command: str = ""
