"""What a study tries next, as a pure function of its seed and of what earlier trials showed.

Trial ``t`` is proposed from the results of trials ``0 .. t - lag`` and from the settings (not the
results) of the ``lag - 1`` trials after them, by a sampler built anew from hash(seed, t). Its
pruning decisions compare it with the same finished trials. Nothing else enters: not the clock, not
the number of workers, not how often the study was stopped. So a study gives the same trials in one
go, in pieces, or on several workers, as long as at most ``lag`` of them run at a time.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from fersearch.errors import FersearchError
from fersearch.search.goals import Goals, best_trial
from fersearch.search.snapshot import Snapshot
from fersearch.seeds import derive_seed
from fersearch.spec import (
    CategoricalParameter,
    FloatParameter,
    Parameter,
    Scalar,
    StudySpec,
    is_active,
)

__all__ = [
    "DIVERGED",
    "NOTED",
    "RUNGS",
    "CostWatch",
    "Proposer",
    "TrialWatch",
    "Watch",
    "distribution",
]

# User attributes of a trial: what the pruner and what the sampler noted about it.
RUNGS = "rungs"
NOTED = "sampler"
DIVERGED = "diverged"
LEAST_RIVALS = 4
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return Optuna's form of a parameter's range."""
    if isinstance(parameter, CategoricalParameter):
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter, FloatParameter):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def make_sampler(name: str, seed: int, *, conditional: bool = False) -> BaseSampler:
    """Return a fresh sampler: ``tpe`` (multivariate), ``gp``, ``nsga2`` or ``random``.

    Args:
        name: As said.
        seed: Its seed.
        conditional: Some parameters are searched under conditions only. ``tpe`` then models each
            group of parameters that occur together; ``gp`` and ``nsga2`` draw the conditional
            ones at random, as they know no conditions.
    """
    seed %= 2**32
    with warnings.catch_warnings():
        # What Optuna calls experimental here has been stable in its results for us: see the tests
        # that a study in pieces equals one straight through.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _sampler(name, seed, conditional)


def _sampler(name: str, seed: int, conditional: bool) -> BaseSampler:
    if name == "tpe":
        return TPESampler(seed=seed, multivariate=True, constant_liar=True, group=conditional)
    if name == "gp":
        return GPSampler(seed=seed, deterministic_objective=True, warn_independent_sampling=False)
    if name == "nsga2":
        return NSGAIISampler(seed=seed, population_size=10)
    return RandomSampler(seed=seed)


def make_pruner(name: str, epochs: int) -> BasePruner:
    """Return a pruner for trials of ``epochs`` epochs: ``hyperband``, ``median`` or ``none``."""
    if name == "hyperband" and epochs > 1:
        return HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
    if name == "median" and epochs > 1:
        return MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, epochs // 4))
    return NopPruner()


class Proposer:
    """Proposes trials of one study and decides which to prune.

    Args:
        spec: The study.
        goals: Its objectives.
    """

    def __init__(self, spec: StudySpec, goals: Goals) -> None:
        self._spec = spec
        self._goals = goals
        self._lag = spec.search.lag
        self._distributions = {item.name: distribution(item) for item in spec.space}
        self._known: dict[int, FrozenTrial] = {}

    def ready(self, trials: Sequence[FrozenTrial], number: int) -> bool:
        """Return whether everything that trial ``number`` may learn from has finished."""
        return all(
            trial.state in FINISHED for trial in trials if trial.number <= number - self._lag
        )

    def exhausted(self, trials: Sequence[FrozenTrial], number: int) -> bool:
        """Return whether the study's patience ended before trial ``number``.

        The trials that are compared are those that trial ``number`` may learn from, so the search
        ends at the same trial on one worker and on several.
        """
        patience = self._spec.search.patience
        if patience is None:  # nothing to rank at every new trial
            return False
        known = [trial for trial in trials if trial.number <= number - self._lag]
        best = best_trial(known)
        return best is not None and len(known) - 1 - best.number >= patience

    def propose(
        self, trials: Sequence[FrozenTrial], number: int
    ) -> tuple[dict[str, Scalar], dict[str, Any]]:
        """Return the settings of trial ``number``; the study's enqueued settings come first.

        Returns:
            The settings, and the trial's generation where the sampler is a genetic one, which has
            to be kept with the trial under :data:`NOTED`: without it every trial would belong to
            the first generation, whose settings are random.
        """
        if number < len(self._spec.enqueue) and self._spec.search.sampler != "nsga2":
            return dict(self._spec.enqueue[number]), {}
        view = self._view(trials, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = view.ask()
            values: dict[str, Scalar] = {}
            for parameter in self._spec.space:
                if is_active(parameter, values):
                    values[parameter.name] = _suggest(trial, parameter)
        if number < len(self._spec.enqueue):
            values = dict(self._spec.enqueue[number])
        noted = view.get_trials(deepcopy=False)[number].system_attrs
        return values, {key: item for key, item in noted.items() if key.endswith(":generation")}

    def active_distributions(self, params: Mapping[str, Scalar]) -> dict[str, BaseDistribution]:
        """Return the ranges of the parameters that a trial has."""
        return {name: self._distributions[name] for name in self._distributions if name in params}

    def watch(
        self, trials: Sequence[FrozenTrial], number: int, params: Mapping[str, Scalar]
    ) -> Watch:
        """Return the judge of a running trial's reports."""
        if self._goals.costs:
            known = [trial for trial in trials if trial.number <= number - self._lag]
            return CostWatch(self._spec, self._goals, known, params)
        view = self._view(trials, number)
        view.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(params),
                distributions=self.active_distributions(params),
            )
        )
        return TrialWatch(view, number)

    def _view(self, trials: Sequence[FrozenTrial], number: int) -> Study:
        """Build an in-memory study that shows exactly what trial ``number`` may know."""
        search = self._spec.search
        earlier = sorted(trials, key=lambda trial: trial.number)[:number]
        if [trial.number for trial in earlier] != list(range(number)):
            raise FersearchError(
                f"the study's storage lacks trials before number {number}",
                "its database was changed by something else: give the study another --name",
            )
        return optuna.create_study(
            storage=Snapshot([self._seen(trial, number) for trial in earlier]),
            # Hyperband derives the bracket from the study's name: a name made of the seed keeps
            # the user's name for the study out of the results.
            study_name=f"seed-{search.seed}",
            directions=self._goals.directions,
            sampler=make_sampler(
                search.sampler,
                derive_seed(search.seed, "sampler", number),
                conditional=any(parameter.when for parameter in self._spec.space),
            ),
            pruner=make_pruner(search.pruner, self._spec.budget.epochs),
        )

    def _seen(self, trial: FrozenTrial, number: int) -> FrozenTrial:
        """Return a trial as trial ``number`` sees it; what has finished never changes again."""
        known = trial.number <= number - self._lag
        shown = self._known.get(trial.number) if known else None
        if shown is None:
            shown = self._shown(trial, known=known)
            shown.number = shown._trial_id = trial.number
            if known and trial.state in FINISHED:
                self._known[trial.number] = shown
        return shown

    def _shown(self, trial: FrozenTrial, *, known: bool) -> FrozenTrial:
        if not known:
            return create_trial(
                state=TrialState.RUNNING,
                params=trial.params,
                distributions=self.active_distributions(trial.params),
                system_attrs=trial.user_attrs.get(NOTED, {}),
            )
        state, values = trial.state, trial.values
        if state == TrialState.PRUNED and self._goals.costs:
            # Samplers of several objectives know nothing of pruned trials. Such a one is shown as
            # what it had reached: the students that cost no more were better even then. One that
            # diverged has reached nothing, whatever it reported before.
            state = TrialState.COMPLETE
            diverged = bool(trial.user_attrs.get(DIVERGED, False))
            reached = 0.0 if diverged else max(trial.intermediate_values.values(), default=0.0)
            values = self._goals.values(reached, trial.params)
        return create_trial(
            state=state,
            values=values if state == TrialState.COMPLETE else None,
            params=trial.params,
            distributions=trial.distributions,
            intermediate_values=trial.intermediate_values,
            system_attrs={**trial.user_attrs.get(NOTED, {}), **trial.user_attrs.get(RUNGS, {})},
        )


class Watch(Protocol):
    """Judges the reports of one running trial."""

    def report(self, step: int, value: float) -> bool:
        """Take the metric of an epoch, from 0; return whether the trial should be pruned."""
        ...

    def rungs(self) -> dict[str, Any]:
        """Return what is to be kept with the trial under :data:`RUNGS`."""
        ...


class CostWatch:
    """Prunes in a Pareto search, which Optuna's pruners do not know.

    A trial is pruned when, after a quarter of the epochs, its metric lies below the median of what
    earlier trials of students that cost no more had at the same epoch, if there are at least
    :data:`LEAST_RIVALS` of them. The cheapest student is thus compared with itself alone.

    Args:
        spec: The study.
        goals: Its objectives.
        known: The trials that may be compared with.
        params: The trial's settings.
    """

    def __init__(
        self,
        spec: StudySpec,
        goals: Goals,
        known: Sequence[FrozenTrial],
        params: Mapping[str, Scalar],
    ) -> None:
        own = goals.cost_of(params)
        self._rivals = [
            trial.intermediate_values
            for trial in known
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            and all(
                cost <= limit for cost, limit in zip(goals.cost_of(trial.params), own, strict=True)
            )
        ]
        self._first = max(1, spec.budget.epochs // 4)
        self._prunes = spec.search.pruner != "none"

    def report(self, step: int, value: float) -> bool:
        """Take the metric of an epoch, from 0; return whether the trial should be pruned."""
        if not self._prunes or step < self._first:
            return False
        reached = [values[step] for values in self._rivals if step in values]
        return len(reached) >= LEAST_RIVALS and value < statistics.median(reached)

    def rungs(self) -> dict[str, Any]:
        """Return nothing: the rule needs no notes."""
        return {}


class TrialWatch:
    """Judges the reports of one running trial against what was finished before it."""

    def __init__(self, view: Study, number: int) -> None:
        self._view = view
        self._number = number
        self._trial_id = view.get_trials(deepcopy=False)[number]._trial_id
        self._steps: set[int] = set()

    def report(self, step: int, value: float) -> bool:
        """Take the metric of an epoch; return whether the trial should be pruned."""
        if step in self._steps:
            return False
        self._steps.add(step)
        self._view._storage.set_trial_intermediate_value(self._trial_id, step, value)
        trial = self._view.get_trials(deepcopy=False)[self._number]
        return bool(self._view.pruner.prune(self._view, trial))

    def rungs(self) -> dict[str, Any]:
        """Return what the pruner noted about the trial, to be kept with it."""
        return dict(self._view.get_trials(deepcopy=False)[self._number].system_attrs)


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Scalar:
    if isinstance(parameter, CategoricalParameter):
        choice: Scalar = trial.suggest_categorical(parameter.name, parameter.choices)  # type: ignore[assignment]
        return choice
    if isinstance(parameter, FloatParameter):
        return trial.suggest_float(parameter.name, parameter.low, parameter.high, log=parameter.log)
    return trial.suggest_int(
        parameter.name, parameter.low, parameter.high, log=parameter.log, step=parameter.step
    )
