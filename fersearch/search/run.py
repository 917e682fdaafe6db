"""A study from beginning to end: search, confirm, test once. Run it again and it continues."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from optuna.study import Study

from fersearch.data.dataset import Dataset
from fersearch.distill import Progress, TrainJob
from fersearch.errors import FersearchError, InputError
from fersearch.evaluations import Evaluation
from fersearch.files import ensure_folder, file_lock, write_json
from fersearch.models import load_bundle, save_bundle
from fersearch.search.confirm import Confirmation, confirm
from fersearch.search.evaluating import RowPlan, evaluate_rows, teacher_plan
from fersearch.search.objectives import resolve_objective
from fersearch.search.plots import draw_search_plots
from fersearch.search.pool import make_pool
from fersearch.search.progress import (
    Listener,
    ignore_progress,
)
from fersearch.search.repeats import pick
from fersearch.search.result import study_result
from fersearch.search.scheduler import Scheduler
from fersearch.search.session import Session, StudySettings
from fersearch.search.storage import default_storage_url, open_storage, open_study
from fersearch.search.trials import TrialBook
from fersearch.spec import StudySpec
from fersearch.track import NullTracker, Sink

__all__ = ["run_study"]

PROTOCOL = "fersearch_protocol"


class _Runner(Session):
    """One invocation of a study."""

    book: TrialBook

    def __init__(
        self,
        spec: StudySpec,
        dataset: Dataset,
        settings: StudySettings,
        *,
        tracker: Sink,
        listener: Listener,
    ) -> None:
        super().__init__(spec, dataset, settings, tracker=tracker, listener=listener)
        self.objective = resolve_objective(spec)

    def best(self) -> tuple[float, int] | None:
        """Return the best validation metric so far and the trial that reached it."""
        trial = self.book.best()
        return None if trial is None or trial.value is None else (trial.value, trial.number)

    def open_work(self) -> tuple[int, int]:
        """Return how many trials and how many full runs are left."""
        if self.phase != "search":
            return super().open_work()
        return self.total - self.done, self.spec.budget.seeds * self.spec.budget.confirm_top * 2

    def on_progress(self, progress: Progress) -> bool:
        """Hear of an epoch; return whether the pruner lets the trial go on."""
        self.estimate.epoch(progress)
        keep = self.book.report(progress)
        self.tell(step=progress)
        return keep

    # --- the phases -----------------------------------------------------------------------------

    def check_protocol(self, study: Study) -> None:
        """Refuse a storage or a folder that was made under another protocol."""
        before = study.user_attrs.get(PROTOCOL)
        self.check_folder()
        if before is None:
            if study.get_trials(deepcopy=False):
                raise InputError(
                    f"the study {self.folder.name!r} in this storage was not made by fersearch",
                    "give this one another --name",
                )
            study.set_user_attr(PROTOCOL, self.protocol.values)
        else:
            self.refuse_changes(before)
        self.keep_protocol()

    def search(self, scheduler: Scheduler) -> None:
        self.done = len(self.book.finished())
        resumed = self.book.resume(scheduler)
        if self.done or resumed:
            self.tell(message=f"continuing: {self.done} trials finished, {resumed} interrupted")
        self.search_trials(self.book, scheduler)

    def confirm(self, scheduler: Scheduler) -> Confirmation:
        self.phase = "confirm"
        top = self.book.top(self.spec.budget.confirm_top)
        if not top:
            reasons = {str(t.user_attrs.get("reason", "")) for t in self.book.finished()}
            raise FersearchError(
                f"none of {len(self.book.finished())} trials was completed: "
                f"{'; '.join(sorted(reasons))[:300]}",
                "run more trials, or narrow the learning rate in the study file",
            )

        def on_start(done: int, total: int) -> None:
            self.done, self.total = done, total
            self.tell(
                message=f"confirming the best {len(top)} settings and the bare student over "
                f"{self.spec.budget.seeds} fresh seeds"
            )

        return confirm(
            scheduler,
            context=self.context,
            objective=self.objective,
            folder=self.folder,
            protocol_hash=self.protocol.protocol_hash,
            settings=[trial.params for trial in top],
            on_start=on_start,
            on_record=self.on_record,
        )

    def run(self, study: Study) -> dict[str, Any]:
        started = time.monotonic()
        self.book = TrialBook(
            study,
            context=self.context,
            objective=self.objective,
            folder=self.folder,
            protocol_hash=self.protocol.protocol_hash,
            timeout=self.settings.timeout,
        )
        self.open_tracking()
        finished = self.folder.load_result()
        if finished is not None and self._still_holds(finished):
            return finished
        with self.ending_tracked():
            return self._work(study, started)

    def _work(self, study: Study, started: float) -> dict[str, Any]:
        pool = make_pool(self.settings.jobs, plugins=self.settings.plugins)
        try:
            scheduler = self.scheduler(pool)
            self.search(scheduler)
            self.timed("search", started)
            mark = time.monotonic()
            confirmation = self.confirm(scheduler)
            best = pick(confirmation.distilled)
            seed = confirmation.seeds[0]
            teacher = self.objective(self.context, best.params, seed).teacher
            if teacher is not None:
                scheduler.add_teacher(teacher)
                scheduler.run(refill=lambda: None, on_result=lambda name, result: None)
            self.timed("confirm", mark)
            mark = time.monotonic()
            self.phase, self.done, self.total = "test", 0, 1
            self.tell(message="testing, once: distilled student, bare student, teacher")
            evaluation, _ = evaluate_rows(
                pool,
                self.row_plans(confirmation, teacher),
                kind="study",
                context=self.context,
                folder=self.folder,
                protocol=self.protocol,
                dataset=self.dataset.path,
                execution=self.settings.execution,
                pairs=[("distilled", "student_alone")],
                command=self.settings.command,
            )
            self.timed("test", mark)
        finally:
            pool.close()
        return self.write(study, confirmation, evaluation, started)

    def _still_holds(self, result: dict[str, Any]) -> bool:
        """Return whether nothing has been asked for since the result was written."""
        counts = self.book.counts()
        return (
            result.get("study_hash") == self.protocol.study_hash
            and result.get("trials") == counts
            and sum(counts.values()) >= self.spec.budget.trials
        )

    def row_plans(self, confirmation: Confirmation, teacher: TrainJob | None) -> list[RowPlan]:
        """Return what is tested: the picked student of either role and the teacher."""
        training = self.spec.training
        chosen = {"distilled": confirmation.distilled, "student_alone": confirmation.alone}
        titles = {"distilled": "distilled", "student_alone": "alone"}
        plans = [
            RowPlan.of_candidate(
                pick(candidates),
                self.folder,
                key=key,
                role="student" if key == "student_alone" else key,
                model=training.student,
                options=training.student_options,
                title=f"{training.student}, {titles[key]}",
            )
            for key, candidates in chosen.items()
        ]
        return plans if teacher is None else [*plans, teacher_plan(teacher, self.folder)]

    def write(
        self, study: Study, confirmation: Confirmation, evaluation: Evaluation, started: float
    ) -> dict[str, Any]:
        """Write the model to deploy, the plots and ``result.json``; return the latter."""
        best = self.folder.bundle(pick(confirmation.distilled).best_record.run_id)
        network, config = load_bundle(best)
        logits = evaluation.logits["distilled"]
        accuracy = float((logits.argmax(axis=-1) == evaluation.labels).mean())
        metrics = {**config.metrics, "test_accuracy": accuracy}
        save_bundle(self.folder.model, network, dataclasses.replace(config, metrics=metrics))
        figures, notes = draw_search_plots(study, ensure_folder(self.folder.path / "figures"))
        self.timed("total", started)
        result = study_result(
            confirmation,
            evaluation,
            folder=self.folder,
            book=self.book,
            protocol=self.protocol,
            notes=self.dataset.info.notes,
        )
        result["seconds"] = self.seconds
        result["command"] = self.settings.command
        result["jobs"] = self.settings.jobs
        result["figures"] = [[title, f"figures/{name}"] for title, name in figures]
        result["notes"] = [*self.settings.notes, *notes]
        write_json(self.folder.result, result)
        return result


def run_study(
    spec: StudySpec,
    dataset: Dataset,
    settings: StudySettings,
    *,
    tracker: Sink | None = None,
    listener: Listener = ignore_progress,
) -> dict[str, Any]:
    """Run a study, or what is left of it, and return the content of its ``result.json``.

    Args:
        spec: What is searched.
        dataset: The data.
        settings: Where and how it runs.
        tracker: Where run records go besides the study's folder.
        listener: Told of everything that happens.

    Raises:
        InputError: A study of that name has another protocol, or the storage cannot be opened.
        FersearchError: The study is being run by another process, or cannot be finished.
    """
    runner = _Runner(spec, dataset, settings, tracker=tracker or NullTracker(), listener=listener)
    url = settings.storage or default_storage_url(settings.workspace)
    storage = open_storage(url, lock=ensure_folder(settings.workspace) / "optuna.lock")
    name = runner.folder.name
    busy = f"the study {name!r} is being run by another process"
    with file_lock(runner.folder.lock, wait=False, busy=busy):
        study = open_study(storage, name)
        runner.check_protocol(study)
        return runner.run(study)
