"""Baselines on the terms of a study: same data, views, epochs and seeds; tested once."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fersearch.data.dataset import Dataset
from fersearch.errors import FersearchError, InputError
from fersearch.evaluations import Evaluation
from fersearch.files import ensure_folder, file_lock, write_json
from fersearch.models import Baseline, get_baseline, list_baselines
from fersearch.records import digest, to_plain
from fersearch.search.evaluating import RowPlan, evaluate_rows
from fersearch.search.goals import metric_of
from fersearch.search.objectives import StudyContext, baseline
from fersearch.search.pool import Pool, make_pool
from fersearch.search.progress import Listener, ignore_progress
from fersearch.search.protocol import COMPARED, Protocol
from fersearch.search.repeats import Candidate, Setting, pick, seeds_of, train_over_seeds
from fersearch.search.session import Session, StudySettings
from fersearch.search.storage import default_storage_url, open_storage, open_study
from fersearch.search.trials import TrialBook
from fersearch.spec import Scalar, StudySpec
from fersearch.spec.parameters import FloatParameter
from fersearch.stats import evaluate
from fersearch.track import NullTracker, Sink

__all__ = ["BUDGETS", "BaselinePlan", "run_baselines"]

BUDGETS = ("fixed", "tuned")
# What a tuned baseline searches, and the point that it tries first: the fixed recipe's.
LEARNING_RATES = (1e-3, 0.3)
WEIGHT_DECAYS = (1e-5, 5e-3)
# What a command that reproduces a row names, besides what is tuned.
OPTIONS = ("data", "image_size", "epochs", "batch_size", "recipe", "seed", "seeds")
OBJECTIVE = "fersearch.search.objectives:baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselinePlan:
    """Which baselines are run, and what is tuned.

    Attributes:
        names: Names of the baselines.
        budget: ``fixed``: one recipe for all; ``tuned``: learning rate and weight decay of each
            are searched with the same number of trials.
        trials: Finished trials of each baseline; only with ``tuned``.
        learning_rate: Learning rate of the fixed recipe; the first that a tuned baseline tries.
    """

    names: tuple[str, ...]
    budget: str = "fixed"
    trials: int = 8
    learning_rate: float = 0.05


@dataclass(slots=True)
class _Search:
    """The search of one tuned baseline."""

    entry: Baseline
    context: StudyContext
    best: dict[str, Scalar] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


class _Runner(Session):
    """One invocation of a run of baselines."""

    def __init__(
        self,
        spec: StudySpec,
        dataset: Dataset,
        settings: StudySettings,
        *,
        plan: BaselinePlan,
        tracker: Sink,
        listener: Listener,
    ) -> None:
        self.plan = plan
        self.book: TrialBook | None = None
        super().__init__(
            spec, dataset, settings, tracker=tracker, listener=listener, kind="baselines"
        )

    def make_protocol(self) -> Protocol:
        """Return the compared part of a study's protocol and how the baselines are tuned.

        Which baselines are run, and with how many trials, is not part of it: both may grow.
        """
        whole = super().make_protocol()
        values = {
            **{name: whole.values[name] for name in (*COMPARED, "data", "data_kind")},
            "budget": self.plan.budget,
            "learning_rate": self.plan.learning_rate,
            **({"sampler": self.spec.search.sampler} if self.plan.budget == "tuned" else {}),
        }
        free = ("data",)
        return Protocol(
            values=values,
            protocol_hash=whole.protocol_hash,
            study_hash=digest({key: item for key, item in values.items() if key not in free}),
        )

    def best(self) -> tuple[float, int] | None:
        """Return the best validation metric of the baseline that is being tuned."""
        trial = None if self.book is None or self.phase != "search" else self.book.best()
        metric = None if trial is None else metric_of(trial)
        return None if trial is None or metric is None else (metric, trial.number)

    def on_progress(self, progress: Any) -> bool:
        """Hear of an epoch; return whether the pruner lets the trial go on."""
        self.estimate.epoch(progress)
        keep = True if self.book is None else self.book.report(progress)
        self.tell(step=progress)
        return keep

    def derived(self, entry: Baseline) -> StudyContext:
        """Return the study that tunes one baseline."""
        low, high = LEARNING_RATES
        least, most = WEIGHT_DECAYS
        first = {
            "learning_rate": self.plan.learning_rate,
            "weight_decay": float(self.protocol.values["recipe_settings"]["weight_decay"]),
        }
        spec = dataclasses.replace(
            self.spec,
            name=f"{self.folder.name}.{entry.name}",
            objective=OBJECTIVE,
            budget=dataclasses.replace(self.spec.budget, trials=self.plan.trials),
            training=dataclasses.replace(
                self.spec.training, student=entry.name, student_options={}
            ),
            teacher=dataclasses.replace(self.spec.teacher, learning_rate=self.plan.learning_rate),
            space=(
                FloatParameter(name="learning_rate", low=low, high=high, log=True),
                FloatParameter(name="weight_decay", low=least, high=most, log=True),
            ),
            enqueue=(first,),
        )
        return dataclasses.replace(self.context, spec=spec)

    def tune(self, search: _Search, pool: Pool) -> None:
        """Search the learning rate and the weight decay of one baseline."""
        settings = self.settings
        storage = open_storage(
            settings.storage or default_storage_url(settings.workspace),
            lock=ensure_folder(settings.workspace) / "optuna.lock",
        )
        name = search.context.spec.name
        study = open_study(storage, name)
        study.set_user_attr("fersearch_kind", "baseline")
        book = self.book = TrialBook(
            study,
            context=search.context,
            objective=baseline,
            folder=self.folder,
            protocol_hash=self.protocol.protocol_hash,
            prefix=f"{search.entry.name}-",
        )
        self.phase, self.done, self.total = "search", len(book.finished()), self.plan.trials
        scheduler = self.scheduler(pool)
        book.resume(scheduler)
        self.search_trials(book, scheduler)
        best = book.best()
        if best is None:
            raise FersearchError(
                f"none of {len(book.finished())} trials of {search.entry.title} was completed",
                "give it more --trials",
            )
        search.best, search.counts = dict(best.params), book.counts()
        self.book = None

    def train(self, searches: Sequence[_Search], pool: Pool) -> tuple[Candidate, ...]:
        """Train the chosen setting of every baseline over the seeds."""
        self.phase = "train"
        seeds = seeds_of(self.spec.search.seed, self.spec.budget.seeds)

        def on_start(done: int, total: int) -> None:
            self.done, self.total = done, total
            names = ", ".join(search.entry.title for search in searches)
            self.tell(message=f"training {names} over {len(seeds)} seeds")

        settings = [
            Setting(
                role="baseline",
                params=search.best,
                prefix=search.entry.name,
                plan=partial(baseline, search.context, search.best),
            )
            for search in searches
        ]
        return train_over_seeds(
            self.scheduler(pool),
            settings,
            seeds=seeds,
            metric=self.spec.search.metric,
            folder=self.folder,
            protocol_hash=self.protocol.protocol_hash,
            on_start=on_start,
            on_record=self.on_record,
        )

    def row(self, search: _Search, candidate: Candidate) -> RowPlan:
        """Plan the row of one baseline."""
        entry = search.entry
        return RowPlan.of_candidate(
            candidate,
            self.folder,
            key=entry.name,
            role="baseline",
            model=entry.name,
            options={},
            title=entry.title,
            source=entry.source,
            notes=(*entry.notes, self.budget_note(search)),
            command=self.row_command(entry),
        )

    def row_command(self, entry: Baseline) -> str:
        """Return the command that reproduces one row, whatever commands filled the table."""
        values, plan = self.protocol.values, self.plan
        words = ["fersearch", "baseline", "run", entry.name]
        for plugin in self.settings.plugins if entry.file_sha256 else ():
            words += ["--plugin", plugin]
        options = {
            **{name: values[name] for name in OPTIONS},
            "dropout": values["recipe_settings"]["dropout"],
            "label_smoothing": values["recipe_settings"]["label_smoothing"],
            "objective": values["metric"],
            "budget": plan.budget,
            "learning_rate": plan.learning_rate,
            **({"trials": plan.trials} if plan.budget == "tuned" else {}),
        }
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)

    def budget_note(self, search: _Search) -> str:
        """Say how the row's settings were found."""
        if self.plan.budget == "fixed":
            return (
                f"fixed recipe: learning rate {self.plan.learning_rate:g} as for every baseline, "
                "not tuned"
            )
        trials = sum(search.counts.values())
        return f"learning rate and weight decay tuned on validation with {trials} trials"

    def run(self) -> dict[str, Any]:
        """Tune, train, test; return the content of ``result.json``."""
        started = time.monotonic()
        self.check_folder()
        self.keep_protocol()
        self.open_tracking()
        with self.ending_tracked():
            return self._work(started)

    def _work(self, started: float) -> dict[str, Any]:
        searches = []
        for name in self.names():
            entry = get_baseline(name)
            fixed = {"learning_rate": self.plan.learning_rate}
            searches.append(_Search(entry, self.derived(entry), best=dict[str, Scalar](fixed)))
        pool = make_pool(self.settings.jobs, plugins=self.settings.plugins)
        try:
            if self.plan.budget == "tuned":
                for search in searches:
                    self.tune(search, pool)
                self.timed("search", started)
            mark = time.monotonic()
            candidates = self.train(searches, pool)
            self.timed("train", mark)
            mark = time.monotonic()
            self.phase, self.done, self.total = "test", 0, 1
            self.tell(message="testing each baseline, once")
            trained = [pair for pair in zip(searches, candidates, strict=True) if pair[1].mean > 0]
            if not trained:
                pick(candidates)  # says why
            evaluation, _ = evaluate_rows(
                pool,
                [self.row(search, candidate) for search, candidate in trained],
                kind="baselines",
                context=self.context,
                folder=self.folder,
                protocol=self.protocol,
                dataset=self.dataset.path,
                execution=self.settings.execution,
                command=self.settings.command,
                failed=self.diverged(searches, candidates),
            )
            self.timed("test", mark)
        finally:
            pool.close()
        self.timed("total", started)
        result = self.result(searches, evaluation)
        write_json(self.folder.result, result)
        return result

    def diverged(
        self, searches: Sequence[_Search], candidates: Sequence[Candidate]
    ) -> dict[str, str]:
        """Return why a baseline is not tested, by its title."""
        return {
            search.entry.title: "; ".join(
                f"seed {record.seed}: {record.reason}"
                for record in candidate.records
                if record.state != "complete"
            )
            for search, candidate in zip(searches, candidates, strict=True)
            if candidate.mean == 0
        }

    def names(self) -> list[str]:
        """Return the baselines asked for and those that an earlier command ran under this name."""
        before = self.folder.load_result() or {}
        known = {entry.name for entry in list_baselines()}
        missing = [name for name in before.get("baselines", ()) if name not in known]
        if missing:
            raise InputError(
                f"the baseline run {self.folder.name!r} holds {', '.join(missing)} too, which no "
                "loaded file registers",
                "bring in its file with --plugin, or give this run another --name",
            )
        return list(dict.fromkeys([*before.get("baselines", ()), *self.plan.names]))

    def result(
        self,
        searches: Sequence[_Search],
        evaluation: Evaluation,
    ) -> dict[str, Any]:
        """Return what ``result.json`` holds, as plain values."""
        rows = {
            row.key: {
                **to_plain(row),
                "test": evaluate(
                    evaluation.logits[row.key],
                    evaluation.labels,
                    evaluation.classes,
                    seeds=row.seeds,
                ),
            }
            for row in evaluation.rows
        }
        plain: dict[str, Any] = to_plain(
            {
                "name": self.folder.name,
                "baselines": [search.entry.name for search in searches],
                "budget": self.plan.budget,
                "trials": {search.entry.name: search.counts for search in searches},
                "protocol": evaluation.protocol,
                "protocol_hash": evaluation.protocol_hash,
                "study_hash": evaluation.study_hash,
                "rows": rows,
                "diverged": evaluation.failed,
                "test_reads": evaluation.test_reads,
                "environment": evaluation.environment,
                "seconds": self.seconds,
                "command": self.settings.command,
            }
        )
        return plain


def run_baselines(
    spec: StudySpec,
    dataset: Dataset,
    settings: StudySettings,
    *,
    plan: BaselinePlan,
    tracker: Sink | None = None,
    listener: Listener = ignore_progress,
) -> dict[str, Any]:
    """Run baselines, or what is left of them, and return the content of their ``result.json``.

    Baselines that an earlier command ran under the same name stay in the result.

    Args:
        spec: The study on whose terms they are run: budget, seeds, recipe.
        dataset: The data.
        settings: Where and how it runs.
        plan: Which baselines, and what is tuned.
        tracker: Where run records go besides the folder.
        listener: Told of everything that happens.

    Raises:
        InputError: A baseline is unknown, or a run of that name has another protocol.
        FersearchError: It is being run by another process, or cannot be finished.
    """
    runner = _Runner(
        spec, dataset, settings, plan=plan, tracker=tracker or NullTracker(), listener=listener
    )
    busy = f"the baseline run {runner.folder.name!r} is being run by another process"
    with file_lock(runner.folder.lock, wait=False, busy=busy):
        return runner.run()
