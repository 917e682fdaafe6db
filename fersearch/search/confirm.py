"""Confirmation: the best settings again, over fresh seeds and all epochs, beside the control."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fersearch.records import RunRecord
from fersearch.search.folder import StudyFolder
from fersearch.search.objectives import PAPER, STUDENT, Objective, StudyContext, alone
from fersearch.search.repeats import Candidate, Setting, pick, seeds_of, train_over_seeds
from fersearch.search.scheduler import Scheduler
from fersearch.spec import Scalar

__all__ = [
    "Confirmation",
    "confirm",
    "control_settings",
    "distilled_settings",
    "same_student",
]

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
        chosen: The distilled setting that is taken; None for the one with the best metric.
    """

    seeds: tuple[int, ...]
    distilled: tuple[Candidate, ...]
    alone: tuple[Candidate, ...]
    chosen: Candidate | None = None

    @property
    def best(self) -> Candidate:
        """The distilled setting that is tested and handed to the user."""
        return self.chosen or pick(self.distilled)

    @property
    def control(self) -> Candidate:
        """The bare student that it is compared with: the same network."""
        wanted = same_student(self.best.params)
        return pick([item for item in self.alone if same_student(item.params) == wanted])


def same_student(params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return the part of a setting that says which network is trained."""
    return {name: params[name] for name in STUDENT if name in params}


def distilled_settings(
    context: StudyContext, objective: Objective, settings: Sequence[Mapping[str, Scalar]]
) -> list[Setting]:
    """Return how the given settings are trained again."""
    return [
        Setting(
            role=DISTILLED,
            params=dict(params),
            prefix="distilled",
            plan=partial(objective, context, params),
        )
        for params in settings
    ]


def control_settings(
    context: StudyContext, settings: Sequence[Mapping[str, Scalar]]
) -> list[Setting]:
    """Return what the control may choose from: learning rates for every network of the settings.

    Those of the confirmed settings, and half of the best one's: the search tuned them for the
    distilled student, whose cross entropy weighs less, so the control's best may lie lower.

    Args:
        context: The study.
        settings: The confirmed settings, best first.
    """
    rates: dict[str, list[float]] = {}
    students: dict[str, dict[str, Scalar]] = {}
    for params in settings:
        student = same_student(params)
        students[str(student)] = student
        rate = float(params.get("learning_rate", PAPER["learning_rate"]))
        rates.setdefault(str(student), []).append(rate)
    wanted = [
        {**students[key], "learning_rate": rate}
        for key, own in rates.items()
        for rate in dict.fromkeys([*own, own[0] / 2])
    ]
    return [
        Setting(role=ALONE, params=params, prefix="alone", plan=partial(alone, context, params))
        for params in wanted
    ]


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
        *distilled_settings(context, objective, settings),
        *control_settings(context, settings),
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
