"""Confirmation: the best settings again, over fresh seeds and all epochs, beside the control."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fersearch.records import RunRecord
from fersearch.search.folder import StudyFolder
from fersearch.search.objectives import PAPER, Objective, StudyContext, alone
from fersearch.search.repeats import Candidate, Setting, seeds_of, train_over_seeds
from fersearch.search.scheduler import Scheduler
from fersearch.spec import Scalar

__all__ = ["Confirmation", "confirm"]

DISTILLED = "distilled"
ALONE = "student_alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """All settings that were confirmed.

    Attributes:
        seeds: The seeds.
        distilled: The distilled student's settings, in the order of the search.
        alone: The bare student at the learning rates of those settings and half of the best
            one's: the control has at least the choice of what it is compared with.
    """

    seeds: tuple[int, ...]
    distilled: tuple[Candidate, ...]
    alone: tuple[Candidate, ...]


def _control_settings(settings: Sequence[Mapping[str, Scalar]]) -> list[dict[str, Scalar]]:
    """Return the learning rates that the control may choose from.

    Those of the confirmed settings, and half of the best one's: the search tuned them for the
    distilled student, whose cross entropy weighs less, so the control's best may lie lower.
    """
    rates = [float(params.get("learning_rate", PAPER["learning_rate"])) for params in settings]
    return [{"learning_rate": rate} for rate in dict.fromkeys([*rates, rates[0] / 2])]


def confirm(
    scheduler: Scheduler,
    *,
    context: StudyContext,
    objective: Objective,
    folder: StudyFolder,
    protocol_hash: str,
    settings: Sequence[Mapping[str, Scalar]],
    on_start: Callable[[int, int], None],
    on_record: Callable[[RunRecord], None],
) -> Confirmation:
    """Train every setting, and the bare student at its learning rate, on every seed.

    Args:
        scheduler: Where runs are queued.
        context: What all runs share.
        objective: Turns settings into jobs.
        folder: Where records and networks go.
        protocol_hash: Digest of the protocol.
        settings: The settings to confirm, best first.
        on_start: Told how many runs are finished already, and how many there are.
        on_record: Told of every run that ends.
    """
    seeds = seeds_of(context.spec.search.seed, context.spec.budget.seeds)
    wanted = [
        Setting(
            role=DISTILLED,
            params=dict(params),
            prefix="distilled",
            plan=partial(objective, context, params),
        )
        for params in settings
    ]
    wanted += [
        Setting(role=ALONE, params=params, prefix="alone", plan=partial(alone, context, params))
        for params in _control_settings(settings)
    ]
    trained = train_over_seeds(
        scheduler,
        wanted,
        seeds=seeds,
        metric=context.spec.search.metric,
        folder=folder,
        protocol_hash=protocol_hash,
        on_start=on_start,
        on_record=on_record,
    )
    return Confirmation(
        seeds=seeds, distilled=trained[: len(settings)], alone=trained[len(settings) :]
    )
