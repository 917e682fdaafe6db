"""The search alone: trials that train nothing, in our loop and in bare Optuna.

Both ask, report every epoch and tell, with the same sampler and pruner, on a SQLite file opened in
the same way. Ours also keeps a record of every trial in the study's folder, and shows the sampler
only what the trial may know.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from fersearch.data.dataset import Dataset
from fersearch.distill import Progress, Task, TrainTask
from fersearch.records import EpochRecord, RunRecord
from fersearch.search.goals import Goals
from fersearch.search.pool import Handler
from fersearch.search.progress import ignore_progress
from fersearch.search.proposals import distribution, make_pruner, make_sampler
from fersearch.search.runner import StudyRunner
from fersearch.search.session import StudySettings
from fersearch.search.storage import default_storage_url, open_storage, open_study
from fersearch.search.trials import TrialBook
from fersearch.spec import StudySpec, load_study, override
from fersearch.track import NullTracker, Sink

TRIALS_A_BLOCK = 50
# The validation accuracy, in 0-1, of settings after an epoch.
Curve = Callable[[dict[str, Any], int], float]


def make_spec(trials: int, epochs: int, *, sampler: str, pruner: str) -> StudySpec:
    """Return the shipped study with another budget."""
    return override(
        load_study("distill"),
        {
            "budget.trials": trials,
            "budget.epochs": epochs,
            "search.sampler": sampler,
            "search.pruner": pruner,
        },
    )


def curve(params: dict[str, Any], epoch: int) -> float:
    """Return a made-up validation accuracy with its optimum at T = 5, learning rate 0.03."""
    best = 1 - abs(params["temperature"] - 5) / 20 - abs(params["learning_rate"] - 0.03)
    return best * (1 - 0.5 ** (epoch + 1))


class IdlePool:
    """Does one task at a time, which takes no time; students report what ``curve`` says."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self._task: tuple[str, Task] | None = None
        self.ended: list[float] = []

    @property
    def free(self) -> int:
        """How many more tasks can be submitted now."""
        return 0 if self._task else 1

    @property
    def busy(self) -> int:
        """How many tasks are submitted and not finished."""
        return 1 if self._task else 0

    def submit(self, name: str, task: Task) -> None:
        """Remember a task."""
        self._task = name, task

    def wait(self, handler: Handler) -> tuple[str, RunRecord | None]:
        """Report the epochs of the task, as far as the pruner lets it go, and end it."""
        assert self._task is not None
        name, task = self._task
        self._task = None
        if not isinstance(task, TrainTask):
            return name, None
        params = dict(task.label.parameters)
        epochs: list[EpochRecord] = []
        state, total = "complete", task.job.recipe.epochs
        for epoch in range(total):
            epochs.append(epoch_record(epoch, self._curve(params, epoch)))
            progress = Progress(
                run_id=name, stage="train", done=epoch + 1, total=total, record=epochs[-1]
            )
            if not handler(progress):
                state = "pruned"
                break
        self.ended.append(time.perf_counter())
        best = max(epochs, key=lambda record: record.val_accuracy)
        return name, RunRecord(
            run_id=name,
            study=task.label.study,
            role="trial",
            state=state,
            model=task.job.model,
            parameters=task.label.parameters,
            seed=task.job.seed,
            protocol_hash=task.label.protocol_hash,
            data_sha256=task.job.data_sha256,
            best_epoch=best.epoch,
            metrics={"val_accuracy": best.val_accuracy},
            epochs=tuple(epochs),
            seconds=8.0,
            started="2026-01-01T00:00:00+00:00",
        )

    def close(self) -> None:
        """Forget the task."""
        self._task = None


def epoch_record(epoch: int, value: float) -> EpochRecord:
    """Return the record of an epoch that reached ``value``."""
    return EpochRecord(
        epoch=epoch,
        learning_rate=0.05,
        train_loss=1.0,
        train_accuracy=value,
        val_loss=1.0,
        val_accuracy=value,
        val_macro_f1=value,
        images=4000,
        seconds=1.0,
    )


def our_search(
    spec: StudySpec,
    dataset: Dataset,
    workspace: Path,
    *,
    tracker: Sink | None = None,
    curve: Curve = curve,
) -> list[float]:
    """Run a study's search on an idle pool; return when it began and when each trial ended."""
    runner = StudyRunner(
        spec,
        dataset,
        StudySettings(workspace=workspace),
        tracker=tracker or NullTracker(),
        listener=ignore_progress,
    )
    storage = open_storage(default_storage_url(workspace), lock=workspace / "optuna.lock")
    study = open_study(storage, spec.name, Goals.of(spec).directions)
    runner.book = TrialBook(
        study,
        context=runner.context,
        objective=runner.objective,
        folder=runner.folder,
        protocol_hash=runner.protocol.protocol_hash,
        goals=runner.goals,
    )
    pool = IdlePool(curve)
    start = time.perf_counter()
    runner.search(runner.scheduler(pool))
    storage.engine.dispose()
    # A trial is over when the next one has been reported: what closes it is counted with it.
    return [start, *pool.ended[1:], time.perf_counter()]


def bare_search(spec: StudySpec, workspace: Path) -> list[float]:
    """Run the same number of trials with Optuna alone; return the times as :func:`our_search`."""
    storage = open_storage(default_storage_url(workspace), lock=workspace / "optuna.lock")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            storage=storage,
            study_name=spec.name,
            direction="maximize",
            sampler=make_sampler(spec.search.sampler, spec.search.seed),
            pruner=make_pruner(spec.search.pruner, spec.budget.epochs),
        )
    for params in spec.enqueue:
        study.enqueue_trial(dict(params))
    space = {parameter.name: distribution(parameter) for parameter in spec.space}
    times = [time.perf_counter()]
    for _ in range(spec.budget.trials):
        trial = study.ask(space)
        value, pruned = 0.0, False
        for epoch in range(spec.budget.epochs):
            value = curve(trial.params, epoch)
            trial.report(value, epoch)
            pruned = trial.should_prune() and epoch < spec.budget.epochs - 1
            if pruned:
                break
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)
        times.append(time.perf_counter())
    storage.engine.dispose()
    return times


def per_trial(times: list[float]) -> float:
    """Return the milliseconds a trial took on average."""
    return 1000 * (times[-1] - times[0]) / (len(times) - 1)


def by_block(times: list[float]) -> list[float]:
    """Return the milliseconds a trial took in each block of trials, the last one short or not.

    >>> by_block([0.0, *(0.5 * n for n in range(1, 61))])
    [500.0, 500.0]
    """
    return [
        per_trial(times[start : start + TRIALS_A_BLOCK + 1])
        for start in range(0, len(times) - 1, TRIALS_A_BLOCK)
    ]
