"""The audit of the source paper: do its figures agree with one another, and can they be true?

Every check computes its finding from ``claims.toml``, from known counts, or by building the layer
in question. It judges figures, not people: a misprint looks like this too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fersearch.errors import InputError, suggestion
from fersearch.report.paper import audit_checks, audit_counts
from fersearch.report.paper.audit_checks import Context, Finding
from fersearch.report.paper.claim_models import Claims
from fersearch.report.paper.claims import load_claims

__all__ = ["CHECKS", "AuditItem", "audit"]

CHECKS: Mapping[str, Callable[[Context], Finding | None]] = {
    "best_setting": audit_checks.best_setting,
    "same_quantity": audit_checks.same_quantity,
    "student_start": audit_checks.student_start,
    "data_not_reported": audit_checks.data_not_reported,
    "class_not_reported": audit_checks.class_not_reported,
    "metrics_not_reported": audit_checks.metrics_not_reported,
    "binary_definitions": audit_checks.binary_definitions,
    "grim_accuracy": audit_counts.grim_accuracy,
    "grim_recall": audit_counts.grim_recall,
    "recalls_against_accuracy": audit_counts.recalls_against_accuracy,
    "network_sizes": audit_counts.network_sizes,
    "flops_are_parameters": audit_counts.flops_are_parameters,
    "maxpool_output": audit_counts.maxpool_output,
    "ffe_output": audit_counts.ffe_output,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditItem:
    """One finding.

    Attributes:
        id: Id of its statement in ``claims.toml``.
        statement: What the paper says, in our words.
        finding: What was found, in one sentence.
        status: ``contradiction`` (two claims cannot both hold), ``impossible`` (a claim cannot
            hold by itself), ``missing`` (announced and not given) or ``mislabelled``.
        evidence: The numbers it rests on, and what it assumes.
        figures: Ids of the claims that it read.
        decides: Ids of the claims whose cell it makes ``internally inconsistent``.
        source: Name of the source.
    """

    id: str
    statement: str
    finding: str
    status: str
    evidence: str
    figures: tuple[str, ...]
    decides: tuple[str, ...]
    source: str


def audit(
    claims: Claims | None = None, *, ferplus_supports: Mapping[str, int] | None = None
) -> tuple[AuditItem, ...]:
    """Run every check of ``claims.toml`` and return what was found, in the file's order.

    Args:
        claims: The claims; the shipped ones by default.
        ferplus_supports: Images by class of FERPlus's complete official test split, where one was
            measured; otherwise the class shares of its training part stand in.

    Raises:
        InputError: A statement names a check that does not exist.
    """
    loaded = claims or load_claims()
    items = []
    for statement in loaded.statements:
        if statement.check not in CHECKS:
            raise InputError(
                f"the statement {statement.id} names the check {statement.check!r}, which is not "
                "there",
                suggestion(statement.check, CHECKS),
            )
        finding = CHECKS[statement.check](Context(statement, loaded, ferplus_supports))
        if finding is None:
            continue
        items.append(
            AuditItem(
                id=statement.id,
                statement=statement.text,
                finding=finding.finding,
                status=finding.status,
                evidence=finding.evidence,
                figures=statement.figures,
                decides=statement.decides,
                source=loaded.sources[statement.source].name,
            )
        )
    return tuple(items)
