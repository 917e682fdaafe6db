"""Rows of a board compared in pairs: with the first, as a study meant them, student by baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from fersearch.evaluations import Evaluation
from fersearch.report.leaderboard.board import BoardRow, Gain
from fersearch.stats import PairedGain, holm, paired_gain

__all__ = ["against_first", "contests", "gains_of"]


def against_first(rows: Sequence[BoardRow], evaluation: Evaluation) -> list[BoardRow]:
    """Compare every row with the first on the same images, and correct for their number (Holm)."""
    if not rows:
        return []
    gains = [paired_rows(row, rows[0], evaluation) for row in rows[1:]]
    adjusted = iter(holm([gain.p_value for gain in gains if gain is not None]))
    return [
        rows[0],
        *(
            dataclasses.replace(
                row,
                versus_first=gain,
                p_value_vs_first=None if gain is None else next(adjusted),
            )
            for row, gain in zip(rows[1:], gains, strict=True)
        ),
    ]


def paired_rows(row: BoardRow, other: BoardRow, evaluation: Evaluation) -> PairedGain | None:
    """Return ``row`` minus ``other``, over the seeds that both have.

    A model with a single seed (a teacher) stands against every seed of the other one as the
    network that it is; that its own seed could have been another is not covered, and said.
    """
    first, second = row.logits, other.logits
    note = ""
    if 1 in {len(row.seeds), len(other.seeds)} and row.seeds != other.seeds:
        single = row if len(row.seeds) == 1 else other
        seeds = max(len(row.seeds), len(other.seeds))
        first, second = (
            np.broadcast_to(item, (seeds, *item.shape[1:])) if len(item) == 1 else item
            for item in (first, second)
        )
        note = f"; {single.title} as the one network it is, other seeds of it not covered"
    else:
        common = [seed for seed in row.seeds if seed in other.seeds]
        if not common:
            return None
        first = first[[row.seeds.index(seed) for seed in common]]
        second = second[[other.seeds.index(seed) for seed in common]]
    gain = paired_gain(first, second, evaluation.labels)
    return dataclasses.replace(gain, test=gain.test + note)


def gains_of(evaluation: Evaluation) -> list[Gain]:
    """Return the comparisons that a study was made for."""
    rows = {row.key: row for row in evaluation.rows}
    return [
        Gain(
            study=evaluation.name,
            first=rows[first].title,
            second=rows[second].title,
            gain=paired_gain(
                evaluation.logits[first], evaluation.logits[second], evaluation.labels
            ),
        )
        for first, second in evaluation.pairs
        if first in rows and second in rows
    ]


def contests(rows: Sequence[BoardRow], evaluation: Evaluation) -> list[Gain]:
    """Compare every distilled student with every baseline, corrected for their number (Holm)."""
    found = [
        Gain(study=row.study, first=row.title, second=rival.title, gain=gain)
        for row in rows
        for rival in rows
        if row.role == "distilled" and rival.role == "baseline"
        if (gain := paired_rows(row, rival, evaluation)) is not None
    ]
    adjusted = holm([item.gain.p_value for item in found])
    return [
        dataclasses.replace(item, gain=dataclasses.replace(item.gain, p_value=p_value))
        for item, p_value in zip(found, adjusted, strict=True)
    ]
