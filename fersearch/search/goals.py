"""What a search wants: a high validation metric, and in a Pareto search low costs beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fersearch.spec import Scalar, StudySpec

__all__ = ["Goals", "best_trial", "metric_of", "top_trials"]

Costs = Callable[[Mapping[str, Scalar]], Sequence[float]]


def _no_costs(params: Mapping[str, Scalar]) -> Sequence[float]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Goals:
    """The objectives of a study, the validation metric first.

    Attributes:
        metric: ``accuracy`` or ``macro_f1``, in 0-1; maximised.
        costs: Names of what is minimised beside it; empty in a study of one objective.
        cost_of: Returns the costs of a setting in the same order. They follow from the student
            alone, so they are known before it is trained.
    """

    metric: str = "accuracy"
    costs: tuple[str, ...] = ()
    cost_of: Costs = field(default=_no_costs)

    @classmethod
    def of(cls, spec: StudySpec) -> Goals:
        """Return the goals of a study of one objective."""
        return cls(metric=spec.search.metric)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the objectives."""
        return (self.metric, *self.costs)

    @property
    def maximise(self) -> tuple[bool, ...]:
        """Whether each objective is to be large."""
        return (True, *(False for _ in self.costs))

    @property
    def directions(self) -> list[StudyDirection]:
        """The same in Optuna's words."""
        return [
            StudyDirection.MAXIMIZE if large else StudyDirection.MINIMIZE for large in self.maximise
        ]

    def values(self, metric: float, params: Mapping[str, Scalar]) -> list[float]:
        """Return the value of every objective."""
        return [metric, *self.cost_of(params)]


def metric_of(trial: FrozenTrial) -> float | None:
    """Return the validation metric of a complete trial; None where there is none.

    Optuna's ``trial.value`` refuses trials of several objectives.
    """
    return trial.values[0] if trial.values else None


def _ranked(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: (-(metric_of(trial) or 0.0), trial.number))


def best_trial(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """Return the complete trial with the highest metric, the earliest of equals."""
    return next(iter(_ranked(trials)), None)


def top_trials(trials: Iterable[FrozenTrial], count: int) -> list[FrozenTrial]:
    """Return the complete trials of the highest metric with different settings, best first."""
    chosen: list[FrozenTrial] = []
    for trial in _ranked(trials):
        if all(trial.params != other.params for other in chosen):
            chosen.append(trial)
    return chosen[:count]
