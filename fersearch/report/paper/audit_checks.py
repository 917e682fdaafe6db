"""Checks of the paper's claims against one another: each returns what it found, or None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fersearch.report.paper.claim_models import Claim, Claims, Statement

__all__ = [
    "Context",
    "Finding",
    "best_setting",
    "binary_definitions",
    "class_not_reported",
    "data_not_reported",
    "ferplus_classes",
    "metrics_not_reported",
    "place",
    "same_quantity",
    "student_start",
]

DATA_NAMES = {"ferplus": "FER2013Plus", "own": "own data", "": "data set not stated"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found: ``status``, ``finding`` and ``evidence`` as in the audit."""

    status: str
    finding: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Context:
    """What a check may read: its statement, the claims, and FERPlus's measured test supports."""

    statement: Statement
    claims: Claims
    supports: Mapping[str, int] | None

    def figures(self, prefix: str = "", **wanted: str) -> tuple[Claim, ...]:
        """Return the statement's figures whose id begins so and whose attributes are these."""
        found = (self.claims.figures[name] for name in self.statement.figures)
        return tuple(
            claim
            for claim in found
            if claim.id.startswith(prefix)
            and all(getattr(claim, key) == value for key, value in wanted.items())
        )


def ferplus_classes(claims: Claims) -> tuple[str, ...]:
    """Return FERPlus's classes."""
    return tuple(dict.fromkeys(name for counts in claims.class_counts.values() for name in counts))


def place(claim: Claim) -> str:
    """Say where a claim stands, with its data set where its table has or lacks one."""
    where = "the text" if claim.table == "text" else f"Table {claim.table}"
    return f"{where} ({DATA_NAMES[claim.data]})" if claim.table in ("II", "III", "IV") else where


def best_setting(context: Context) -> Finding | None:
    """Is the setting that the text calls the best also the best of Table I?"""
    said = context.figures("text.")[0]
    grid = sorted(context.figures("I."), key=lambda claim: -claim.value)
    place = next(
        number
        for number, claim in enumerate(grid, start=1)
        if (claim.temperature, claim.alpha) == (said.temperature, said.alpha)
    )
    if place == 1:
        return None
    last = " (the lowest)" if place == len(grid) else ""
    return Finding(
        status="contradiction",
        finding=f"Table I has {grid[0].row} as the best, and {said.row} in place {place} of "
        f"{len(grid)}{last}.",
        evidence="Table I, by falling precision: "
        + "; ".join(f"{claim.row}: {claim.printed}" for claim in grid)
        + f". The text: {said.row}.",
    )


def same_quantity(context: Context) -> Finding | None:
    """Find measures of one model that are given different values.

    Values of two stated data sets may differ; a value whose data set is not stated must equal one.
    """
    clashes, parts = [], []
    for column in dict.fromkeys(claim.column for claim in context.figures()):
        figures = context.figures(column=column)
        stated = {round(claim.value, 9) for claim in figures if claim.data}
        loose = {round(claim.value, 9) for claim in figures if not claim.data}
        if len(loose) > 1 or (stated and loose - stated):
            clashes.append(f"{len(stated | loose)} values of {column}")
        parts.append(
            f"{column}: " + ", ".join(f"{claim.shown} in {place(claim)}" for claim in figures)
        )
    if not clashes:
        return None
    return Finding(
        status="contradiction",
        finding=f"One model has {' and '.join(clashes)}.",
        evidence="; ".join(parts) + ". A share of 0.988 is 98.8 %: the same number stands as "
        "precision, as accuracy, and in the text.",
    )


def student_start(context: Context) -> Finding | None:
    """Does the text start the student at the teacher's accuracy, which Table II has below it?"""
    parts = []
    for data in ("ferplus", "own"):
        teacher, student = (
            next(
                claim
                for claim in context.figures("II.", data=data, role=role)
                if claim.column == "accuracy"
            )
            for role in ("teacher", "student")
        )
        said = context.figures("text.", data=data)[0]
        if teacher.value < student.value and said.value == teacher.value:
            parts.append(
                f"{DATA_NAMES[data]}: teacher {teacher.printed} %, student alone "
                f"{student.printed} % (Table II); the text starts the student at {said.printed} %"
            )
    if not parts:
        return None
    return Finding(
        status="contradiction",
        finding="The text gives the student's starting point as the teacher's accuracy; by Table "
        "II the teacher is below the student alone, on both data sets."
        if len(parts) == 2
        else "The text gives the student's starting point as the teacher's accuracy.",
        evidence="; ".join(parts) + ".",
    )


def data_not_reported(context: Context) -> Finding | None:
    """Which announced data sets have no figure?"""
    scope, figures = context.claims.scope, context.claims.figures.values()
    reported = {DATA_NAMES[claim.data] for claim in figures if claim.data}
    missing = [name for name in scope.announced_data if name not in reported]
    if not missing:
        return None
    return Finding(
        status="missing",
        finding=f"No figure of {' and '.join(missing)} is given.",
        evidence=f"Announced: {', '.join(scope.announced_data)}. With figures: "
        f"{', '.join(sorted(reported))}.",
    )


def class_not_reported(context: Context) -> Finding | None:
    """Which of FERPlus's classes has no recall?"""
    given = [claim.class_name for claim in context.figures()]
    classes = ferplus_classes(context.claims)
    missing = [name for name in classes if name not in given]
    if not missing:
        return None
    return Finding(
        status="missing",
        finding=f"Table IV has no {' and no '.join(missing)}.",
        evidence=f"FERPlus has {len(classes)} classes, Table IV {len(given)}: {', '.join(given)}.",
    )


def metrics_not_reported(context: Context) -> Finding | None:
    """Which defined measures have no figure?"""
    reported = {claim.column for claim in context.claims.figures.values()}
    defined = context.claims.scope.defined_metrics
    missing = [name for name in defined if name not in reported]
    if not missing:
        return None
    return Finding(
        status="missing",
        finding=f"{' and '.join(missing)} are defined and never given.",
        evidence=f"Defined: {', '.join(defined)}. With figures: "
        f"{', '.join(name for name in defined if name in reported)}.",
    )


def binary_definitions(context: Context) -> Finding | None:
    """Are the measures defined for fewer classes than the task has?"""
    defined, needed = context.claims.scope.classes_of_the_definitions, len(context.figures())
    if defined >= needed:
        return None
    return Finding(
        status="mislabelled",
        finding=f"The definitions are of a task with {defined} classes; the task has {needed} or "
        "more. Which average over the classes the precision is stays open.",
        evidence=f"Table IV names {needed} classes, FERPlus has "
        f"{len(ferplus_classes(context.claims))}. The macro average is measured here.",
    )
