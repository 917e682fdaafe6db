"""A study of several objectives: a high metric at low cost, the front, and the point to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial

from fersearch.distill import TrainJob
from fersearch.errors import FersearchError, InputError
from fersearch.records import to_plain
from fersearch.search.confirm import (
    Confirmation,
    control_settings,
    distilled_settings,
    same_student,
)
from fersearch.search.costs import CostTable, cost_table
from fersearch.search.evaluating import RowPlan
from fersearch.search.front_plot import draw_front
from fersearch.search.goals import Goals
from fersearch.search.repeats import Candidate, Setting, pick, seeds_of, train_over_seeds
from fersearch.search.runner import StudyRunner
from fersearch.search.scheduler import Scheduler
from fersearch.spec import Scalar
from fersearch.stats import crowding, knee, pareto_front

__all__ = ["ParetoRunner", "TooSlowError", "points_to_confirm"]

PRUNING = (
    "a trial is pruned when, after a quarter of the epochs, it lies below the median of the "
    "earlier trials of students that cost no more"
)


class TooSlowError(InputError):
    """No student of a study keeps its limit on the latency."""


class ParetoRunner(StudyRunner):
    """One invocation of a study that minimises costs beside its metric.

    The front is that of the complete trials. Its knee and the points that stand most alone are
    confirmed over fresh seeds and tested; the one that is handed out is the knee of the confirmed
    ones, or the best of them within the limit on latency.
    """

    table: CostTable

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        search = self.spec.search
        # The costs are measured once the study is known to be ours to run.
        self.goals = Goals(
            metric=search.metric,
            costs=search.costs,
            cost_of=lambda params: self.table.costs(params),
        )

    def prepare(self, study: Study) -> None:
        """Measure what the students cost."""
        self.tell(message=f"measuring what the students cost: {', '.join(self.goals.costs)}")
        self.table = cost_table(
            self.context,
            study=study,
            folder=self.folder.path,
            cache=self.folder.cache,
            plugins=self.settings.plugins,
        )
        self.check_limit()

    def check_limit(self) -> None:
        """Refuse a limit that no student keeps, before any of them is trained.

        Raises:
            TooSlowError: All are slower.
        """
        limit = self.spec.search.max_latency_ms
        if limit is None:
            return
        known = {item.model: item.of("latency") for item in self.table.students.values()}
        fastest = min(known, key=lambda model: known[model])
        if known[fastest] > limit:
            raise TooSlowError(
                f"no student of this study takes {limit:g} ms or less on this machine: the fastest "
                f"is {fastest} with {known[fastest]:.3g} ms",
                "raise --max-latency-ms, or add a smaller --student or --input-size",
            )

    def within_limit(self, params: Mapping[str, Scalar]) -> bool:
        """Tell whether a setting's student keeps the limit on latency."""
        limit = self.spec.search.max_latency_ms
        return limit is None or self.table.student(params).of("latency") <= limit

    def front(self) -> list[FrozenTrial]:
        """Return the complete trials that no other beats, the most accurate first."""
        trials = self.book.complete()
        kept = pareto_front([trial.values for trial in trials], maximise=self.goals.maximise)
        return sorted((trials[index] for index in kept), key=lambda trial: -trial.values[0])

    def allowed(self, front: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials to choose from: those of the front within the limit on latency.

        Where the front has none, the best complete trial within the limit.

        Raises:
            FersearchError: No complete trial keeps the limit.
        """
        within = [trial for trial in front if self.within_limit(trial.params)]
        if within:
            return within
        others = [trial for trial in self.book.complete() if self.within_limit(trial.params)]
        if not others:
            fastest = min(
                self.table.student(trial.params).of("latency") for trial in self.book.complete()
            )
            raise FersearchError(
                f"no complete trial keeps the limit of {self.spec.search.max_latency_ms:g} ms: the "
                f"fastest student tried takes {fastest:.3g} ms",
                "run more --trials, or give the fast students alone",
            )
        return [max(others, key=lambda trial: trial.values[0])]

    # --- the phases -----------------------------------------------------------------------------

    def confirm(self, scheduler: Scheduler) -> Confirmation:
        """Train points of the front over fresh seeds, take one, and train its control."""
        self.phase = "confirm"
        self.require_complete()
        front = self.front()
        allowed = self.allowed(front)
        chosen = points_to_confirm(
            [trial.values for trial in allowed],
            maximise=self.goals.maximise,
            count=self.spec.budget.confirm_top,
            best_first=self.spec.search.max_latency_ms is not None,
        )
        points = [allowed[index].params for index in chosen]
        self.tell(
            message=f"the front has {len(front)} points; confirming {len(points)} of them over "
            f"{self.spec.budget.seeds} fresh seeds"
        )
        wanted = distilled_settings(self.context, self.objective, points)
        distilled = self.train(scheduler, wanted)
        best = self.recommend(distilled)
        own = [params for params in points if same_student(params) == same_student(best.params)]
        own.sort(key=lambda params: params != best.params)
        self.tell(message=f"taking {self.name_of(best.params)}; training it without a teacher")
        alone = self.train(scheduler, control_settings(self.context, own))
        return Confirmation(seeds=self.seeds, distilled=distilled, alone=alone, chosen=best)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The fresh seeds."""
        return seeds_of(self.spec.search.seed, self.spec.budget.seeds)

    def train(self, scheduler: Scheduler, settings: Sequence[Setting]) -> tuple[Candidate, ...]:
        """Train settings over the seeds."""

        def on_start(done: int, total: int) -> None:
            self.done, self.total = done, total

        return train_over_seeds(
            scheduler,
            settings,
            seeds=self.seeds,
            metric=self.spec.search.metric,
            folder=self.folder,
            protocol_hash=self.protocol.protocol_hash,
            on_start=on_start,
            on_record=self.on_record,
        )

    def recommend(self, candidates: Sequence[Candidate]) -> Candidate:
        """Return the confirmed point to take.

        With a limit on latency the one with the best metric within it, else the knee of the front
        of the confirmed points. A point that diverged on any seed is left out.
        """
        best = pick(candidates)  # refuses when all of them diverged
        if self.spec.search.max_latency_ms is not None:
            return best
        whole = [item for item in candidates if item.mean > 0.0]
        values = [self.goals.values(item.mean, item.params) for item in whole]
        front = pareto_front(values, maximise=self.goals.maximise)
        # Scaled over the search's whole front: the few confirmed points alone span too little.
        bend = knee(
            [values[index] for index in front],
            maximise=self.goals.maximise,
            over=[trial.values for trial in self.front()],
        )
        return whole[front[bend]]

    def name_of(self, params: Mapping[str, Scalar]) -> str:
        """Return a student's name with its size and its costs."""
        student = self.table.student(params)
        size = f" at {student.options['input_size']} px" if "input_size" in student.options else ""
        costs = ", ".join(f"{name} {student.of(name):.4g}" for name in self.goals.costs)
        return f"{student.model}{size} ({costs})"

    def row_plans(self, confirmation: Confirmation, teacher: TrainJob | None) -> list[RowPlan]:
        """Return what is tested: what every study tests, and the other confirmed points."""
        plans = super().row_plans(confirmation, teacher)
        others = [
            self.student_plan(
                candidate, key=f"front_{self.trial_of(candidate.params)}", word="distilled"
            )
            for candidate in confirmation.distilled
            if candidate is not confirmation.best and candidate.mean > 0.0
        ]
        return [*plans, *others]

    def trial_of(self, params: Mapping[str, Scalar]) -> int:
        """Return the number of the first complete trial with these settings."""
        return next(trial.number for trial in self.book.complete() if trial.params == params)

    # --- what is written ------------------------------------------------------------------------

    def more_results(self, confirmation: Confirmation, result: dict[str, Any]) -> dict[str, Any]:
        """Return the objectives, the front and the costs."""
        front = self.front()
        bend = knee([trial.values for trial in front], maximise=self.goals.maximise)
        confirmed = {self.trial_of(item.params): item for item in confirmation.distilled}
        taken = self.trial_of(confirmation.best.params)
        shown = {trial.number: trial for trial in front}
        shown |= {number: self.book.trials()[number] for number in confirmed}
        points = []
        for number, trial in sorted(shown.items(), key=lambda pair: -pair[1].values[0]):
            student = self.table.student(trial.params)
            block = result["test"].get("distilled" if number == taken else f"front_{number}")
            points.append(
                {
                    "trial": number,
                    "params": trial.params,
                    "model": student.model,
                    "options": student.options,
                    "values": dict(zip(self.goals.names, trial.values, strict=True)),
                    "costs": student,
                    "on_front": any(item.number == number for item in front),
                    "knee": number == front[bend].number,
                    "recommended": number == taken,
                    # None too where a seed diverged: its mean is not one.
                    "confirmed": (confirmed[number].mean or None) if number in confirmed else None,
                    "test_accuracy": None if block is None else block["accuracy"],
                    "test_accuracy_ci95": None if block is None else block["accuracy_ci95"],
                }
            )
        limit = self.spec.search.max_latency_ms
        plain: dict[str, Any] = to_plain(
            {
                "objectives": list(self.goals.names),
                "pruning": PRUNING if self.spec.search.pruner != "none" else "none",
                "recommendation": "the knee of the confirmed points"
                if limit is None
                else f"the best confirmed point of at most {limit:g} ms",
                "front": points,
                "student_costs": list(self.table.students.values()),
            }
        )
        return plain

    def draw(self, study: Study, folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
        """Draw the front against every cost, then the search."""
        front = {trial.number for trial in self.front()}
        drawn = []
        for place, cost in enumerate(self.goals.costs, start=1):
            name = f"front_{cost}.png"
            draw_front(
                folder / name,
                trials=self.book.complete(),
                front=front,
                place=place,
                names=(self.goals.metric, cost),
                title_of=lambda trial: self.table.student(trial.params).model,
            )
            drawn.append((f"Front: {self.goals.metric.replace('_', ' ')} against {cost}", name))
        figures, notes = super().draw(study, folder)
        return [*drawn, *figures], notes


def points_to_confirm(
    values: Sequence[Sequence[float]],
    *,
    maximise: Sequence[bool],
    count: int,
    best_first: bool = False,
) -> list[int]:
    """Choose the points of a front that are worth more seeds.

    Args:
        values: One row a point of the front.
        maximise: Whether an objective is to be large, one a column; the metric is the first.
        count: How many, at least 1.
        best_first: Begin with the best metric instead of the knee: when a limit decides.

    Returns:
        Indices: the knee and the best metric, then those that stand most alone (crowding distance).

    >>> points_to_confirm([[0.9, 9], [0.88, 2], [0.7, 1.5], [0.5, 1]], maximise=[True, False],
    ...                   count=3)
    [1, 0, 3]
    """
    array = np.asarray(values, dtype=np.float64)
    ends = [knee(array, maximise=maximise), int(np.argmax(array[:, 0]))]
    alone = np.argsort(-crowding(array, maximise=maximise), kind="stable")
    order = [*(reversed(ends) if best_first else ends), *map(int, alone)]
    return list(dict.fromkeys(order))[:count]
