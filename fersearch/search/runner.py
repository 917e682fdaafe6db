"""A study of one objective, from beginning to end: search, confirm, test once."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from optuna.study import Study

from fersearch.data.dataset import Dataset
from fersearch.deploy.exported import ExportReport
from fersearch.distill import Progress, TrainJob
from fersearch.errors import FersearchError, InputError
from fersearch.evaluations import Evaluation
from fersearch.files import ensure_folder, write_json
from fersearch.models import load_bundle, save_bundle
from fersearch.search.confirm import Confirmation, confirm
from fersearch.search.deploying import export_student, withdraw_stale
from fersearch.search.evaluating import RowPlan, evaluate_rows, teacher_plan
from fersearch.search.goals import Goals, metric_of
from fersearch.search.objectives import resolve_objective, student_of
from fersearch.search.plots import draw_search_plots
from fersearch.search.pool import make_pool
from fersearch.search.progress import Listener
from fersearch.search.protocol import PROTOCOL
from fersearch.search.repeats import Candidate
from fersearch.search.result import study_result
from fersearch.search.scheduler import Scheduler
from fersearch.search.session import Session, StudySettings
from fersearch.search.trials import TrialBook
from fersearch.spec import StudySpec
from fersearch.track import Sink

__all__ = ["StudyRunner"]


class StudyRunner(Session):
    """One invocation of a study of one objective."""

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
        self.goals = Goals.of(spec)
        self.export: ExportReport | None = None
        self.export_notes: tuple[str, ...] = ()

    def best(self) -> tuple[float, int] | None:
        """Return the best validation metric so far and the trial that reached it."""
        trial = self.book.best()
        metric = None if trial is None else metric_of(trial)
        return None if trial is None or metric is None else (metric, trial.number)

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
        """Refuse a storage that was made under another protocol, or not by this program."""
        before = study.user_attrs.get(PROTOCOL)
        if before is not None:
            self.refuse_changes(before)
        elif study.get_trials(deepcopy=False) or study.directions != self.goals.directions:
            raise InputError(
                f"the study {self.folder.name!r} in this storage was not made by this command",
                "give this one another --name",
            )

    def store_protocol(self, study: Study) -> None:
        """Write down what the study is run under."""
        study.set_user_attr(PROTOCOL, self.protocol.values)
        self.keep_protocol()

    def search(self, scheduler: Scheduler) -> None:
        """Finish the trials that were interrupted, and run new ones up to their number."""
        self.done = len(self.book.finished())
        resumed = self.book.resume(scheduler)
        if self.done or resumed:
            self.tell(message=f"continuing: {self.done} trials finished, {resumed} interrupted")
        self.search_trials(self.book, scheduler)
        if len(self.book.trials()) < self.spec.budget.trials and self.book.ended():
            self.tell(
                message=f"the search ends: {self.spec.search.patience} trials in a row did not "
                "better the best one (patience)"
            )

    def require_complete(self) -> None:
        """Refuse to go on when no trial was completed.

        Raises:
            FersearchError: None was; the message says why they ended.
        """
        if self.book.complete():
            return
        reasons = {str(t.user_attrs.get("reason", "")) for t in self.book.finished()}
        raise FersearchError(
            f"none of {len(self.book.finished())} trials was completed: "
            f"{'; '.join(sorted(reasons))[:300]}",
            "run more trials, or narrow the learning rate in the study file",
        )

    def confirm(self, scheduler: Scheduler) -> Confirmation:
        """Train the best settings, and the bare student, over fresh seeds."""
        self.phase = "confirm"
        self.require_complete()
        top = self.book.top(self.spec.budget.confirm_top)

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
        """Do what is left of the study and return its result."""
        started = time.monotonic()
        self.book = TrialBook(
            study,
            context=self.context,
            objective=self.objective,
            folder=self.folder,
            protocol_hash=self.protocol.protocol_hash,
            timeout=self.settings.timeout,
            goals=self.goals,
        )
        self.prepare(study)
        # Only now: what was refused until here may be mended under the same name.
        self.store_protocol(study)
        self.open_tracking()
        finished = self.folder.load_result()
        if finished is not None and self._still_holds(finished) and self.book.ended():
            return finished
        with self.ending_tracked():
            return self._work(study, started, finished)

    def prepare(self, study: Study) -> None:
        """Do what has to be done before the first trial."""

    def _work(
        self, study: Study, started: float, finished: dict[str, Any] | None
    ) -> dict[str, Any]:
        pool = make_pool(self.settings.jobs, plugins=self.settings.plugins)
        try:
            scheduler = self.scheduler(pool)
            self.search(scheduler)
            if finished is not None and self._still_holds(finished):
                return finished  # no time for another trial: there is nothing new to test
            self.timed("search", started)
            mark = time.monotonic()
            confirmation = self.confirm(scheduler)
            best = confirmation.best
            seed = confirmation.seeds[0]
            teacher = self.objective(self.context, best.params, seed).teacher
            if teacher is not None:
                scheduler.add_teacher(teacher)
                scheduler.run(refill=lambda: None, on_result=lambda name, result: None)
            self.timed("confirm", mark)
            self.save_model(confirmation)
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
        """Return whether no trial has ended since the result was written."""
        return (
            result.get("study_hash") == self.protocol.study_hash
            and result.get("trials") == self.book.counts()
        )

    def row_plans(self, confirmation: Confirmation, teacher: TrainJob | None) -> list[RowPlan]:
        """Return what is tested: the picked student of either role and the teacher."""
        plans = [
            self.student_plan(confirmation.best, key="distilled", word="distilled"),
            self.student_plan(confirmation.control, key="student_alone", word="alone"),
        ]
        return plans if teacher is None else [*plans, teacher_plan(teacher, self.folder)]

    def student_plan(self, candidate: Candidate, *, key: str, word: str) -> RowPlan:
        """Plan the row of a student's setting; ``word`` says what it is after its model's name."""
        model, options = student_of(self.context, candidate.params)
        size = f" at {options['input_size']} px" if "input_size" in options else ""
        return RowPlan.of_candidate(
            candidate,
            self.folder,
            key=key,
            role="student" if key == "student_alone" else "distilled",
            model=model,
            options=options,
            title=f"{model}{size}, {word}",
            export=self.export if key == "distilled" else None,
        )

    def save_model(self, confirmation: Confirmation) -> None:
        """Save the network to deploy, and its files where they are wanted and can be made."""
        mark = time.monotonic()
        bundle = self.folder.bundle(confirmation.best.best_record.run_id)
        save_bundle(self.folder.model, *load_bundle(bundle))
        withdraw_stale(self.folder)
        if not self.settings.export:
            return
        self.tell(message="exporting the student to ONNX, float32 and 8 bits")
        self.export, note = export_student(self.folder, self.dataset)
        if note:
            self.tell(message=note)
            self.export_notes = (note,)
        self.timed("export", mark)

    def write(
        self, study: Study, confirmation: Confirmation, evaluation: Evaluation, started: float
    ) -> dict[str, Any]:
        """Write the model to deploy, the plots and ``result.json``; return the latter."""
        network, config = load_bundle(self.folder.model)
        logits = evaluation.logits["distilled"]
        accuracy = float((logits.argmax(axis=-1) == evaluation.labels).mean())
        metrics = {**config.metrics, "test_accuracy": accuracy}
        save_bundle(self.folder.model, network, dataclasses.replace(config, metrics=metrics))
        figures, notes = self.draw(study, ensure_folder(self.folder.path / "figures"))
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
        result["notes"] = [*self.settings.notes, *notes, *self.export_notes]
        result.update(self.more_results(confirmation, result))
        write_json(self.folder.result, result)
        return result

    def draw(self, study: Study, folder: Path) -> tuple[list[tuple[str, str]], list[str]]:
        """Draw the search; return title and file of each figure, and what could not be drawn."""
        return draw_search_plots(study, folder, goals=self.goals)

    def more_results(self, confirmation: Confirmation, result: dict[str, Any]) -> dict[str, Any]:
        """Return what ``result.json`` holds besides."""
        return {}
