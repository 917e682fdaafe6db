"""A study from beginning to end: search, confirm, test once. Run it again and it continues."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.study import Study

from fersearch.data.dataset import Dataset
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import Execution, Progress
from fersearch.errors import FersearchError, InputError
from fersearch.files import ensure_folder, file_lock, write_json
from fersearch.models import load_bundle, save_bundle
from fersearch.records import RunRecord
from fersearch.search.confirm import Confirmation, confirm, pick
from fersearch.search.estimate import Estimate
from fersearch.search.final import TestOutcome, run_test
from fersearch.search.folder import StudyFolder
from fersearch.search.objectives import StudyContext, resolve_objective
from fersearch.search.plots import draw_search_plots
from fersearch.search.pool import Failure, make_pool
from fersearch.search.progress import (
    Listener,
    StudyProgress,
    describe_run,
    describe_trial,
    ignore_progress,
)
from fersearch.search.protocol import differences, make_protocol
from fersearch.search.result import study_result
from fersearch.search.scheduler import Scheduler
from fersearch.search.storage import default_storage_url, open_storage, open_study
from fersearch.search.trials import TrialBook
from fersearch.spec import StudySpec
from fersearch.track import NullTracker, Sink

__all__ = ["StudySettings", "run_study"]

PROTOCOL = "fersearch_protocol"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """How a study is run, none of which changes what it measures.

    Attributes:
        workspace: Where everything is written.
        name: Name of the study; the study file's own name when empty.
        storage: URL of the study storage; the workspace's SQLite file when empty.
        jobs: Runs at a time, each in a process of its own when more than one.
        execution: Device, threads and precision of a run.
        timeout: Seconds after which no new trial is started, or None.
        teacher_weights: File with initial weights of the teacher, or empty.
        teacher_weights_sha256: Digest of that file, or empty.
        plugins: Plug-in files that every worker loads.
        notes: What the report should say besides.
        command: The command that reproduces the study.
    """

    workspace: Path
    name: str = ""
    storage: str = ""
    jobs: int = 1
    execution: Execution = field(default_factory=Execution)
    timeout: float | None = None
    teacher_weights: str = ""
    teacher_weights_sha256: str = ""
    plugins: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""


class _Runner:
    """One invocation of a study."""

    def __init__(
        self,
        spec: StudySpec,
        dataset: Dataset,
        settings: StudySettings,
        *,
        tracker: Sink,
        listener: Listener,
    ) -> None:
        self.spec = spec
        self.dataset = dataset
        self.settings = settings
        self.tracker = tracker
        self.listener = listener
        self.folder = StudyFolder(settings.workspace, settings.name or spec.name)
        self.context = StudyContext(
            spec=spec,
            info=dataset.info,
            preprocessing=Preprocessing.of_training_images(dataset.train.images),
            policy=ViewPolicy(),
            teacher_weights=settings.teacher_weights,
            teacher_weights_sha256=settings.teacher_weights_sha256,
        )
        self.protocol = make_protocol(
            spec,
            dataset.info,
            preprocessing=self.context.preprocessing,
            policy=self.context.policy,
            teacher_weights_sha256=settings.teacher_weights_sha256,
        )
        self.objective = resolve_objective(spec)
        self.estimate = Estimate(settings.jobs)
        self.phase = "search"
        self.done = 0
        self.total = spec.budget.trials
        self.book: TrialBook
        self.seconds: dict[str, float] = {}

    # --- what the listener and the tracker hear -------------------------------------------------

    def tell(self, *, message: str = "", step: Progress | None = None, finished: str = "") -> None:
        best = self.book.best()
        budget = self.spec.budget
        confirm_runs = budget.seeds * budget.confirm_top * 2
        if self.phase == "search":
            trials, runs = self.total - self.done, confirm_runs
        else:
            trials, runs = 0, self.total - self.done
        self.listener(
            StudyProgress(
                phase=self.phase,
                message=message,
                step=step,
                finished_run=finished,
                done=self.done,
                total=self.total,
                best=None if best is None else best.value,
                best_trial=None if best is None else best.number,
                images_per_second=self.estimate.images_per_second,
                remaining_seconds=self.estimate.remaining(
                    trials=trials, runs=runs, epochs=budget.epochs
                ),
            )
        )

    def on_progress(self, progress: Progress) -> bool:
        self.estimate.epoch(progress)
        keep = self.book.report(progress)
        self.tell(step=progress)
        return keep

    def on_teacher(self, record: RunRecord) -> None:
        known = self.folder.record(record.run_id)
        if not known.exists():
            self.folder.save(record)
            self.tracker.log(record)
            self.tell(
                message=f"{record.run_id} is ready: validation accuracy "
                f"{record.metrics['val_accuracy']:.1%} after {len(record.epochs)} epochs",
                finished=record.run_id,
            )

    # --- the phases -----------------------------------------------------------------------------

    def check_protocol(self, study: Study) -> None:
        before = study.user_attrs.get(PROTOCOL)
        if self.folder.protocol.exists():
            # The folder may be older than the storage, when the latter was deleted or changed.
            self._refuse_changes(json.loads(self.folder.protocol.read_text(encoding="utf-8")))
        if before is None:
            if study.get_trials(deepcopy=False):
                raise InputError(
                    f"the study {self.folder.name!r} in this storage was not made by fersearch",
                    "give this one another --name",
                )
            study.set_user_attr(PROTOCOL, self.protocol.values)
        else:
            self._refuse_changes(before)
        write_json(self.folder.protocol, self.protocol.values)

    def _refuse_changes(self, before: dict[str, Any]) -> None:
        changed = differences(before, self.protocol.values)
        if changed:
            shown = ", ".join(changed[:6]) + (" and more" if len(changed) > 6 else "")
            raise InputError(
                f"the study {self.folder.name!r} exists with another protocol: {shown}",
                "give the new one another --name, or use the old settings",
            )

    def scheduler(self, pool: Any) -> Scheduler:
        return Scheduler(
            pool,
            dataset=self.dataset.path,
            cache=self.folder.cache,
            execution=self.settings.execution,
            study=self.folder.name,
            protocol_hash=self.protocol.protocol_hash,
            on_progress=self.on_progress,
            on_teacher=self.on_teacher,
        )

    def search(self, scheduler: Scheduler) -> None:
        self.done = len(self.book.finished())
        resumed = self.book.resume(scheduler)
        if self.done or resumed:
            self.tell(message=f"continuing: {self.done} trials finished, {resumed} interrupted")

        def on_result(name: str, result: RunRecord | Failure) -> None:
            record = self.book.close(name, result)
            self.estimate.run(record)
            self.tracker.log(record)
            self.done += 1
            self.tell(message=describe_trial(record), finished=name)

        scheduler.run(refill=lambda: self.book.refill(scheduler), on_result=on_result)

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

        def on_record(record: RunRecord) -> None:
            self.tracker.log(record)
            self.done += 1
            self.tell(message=describe_run(record), finished=record.run_id)

        return confirm(
            scheduler,
            context=self.context,
            objective=self.objective,
            folder=self.folder,
            protocol_hash=self.protocol.protocol_hash,
            settings=[trial.params for trial in top],
            on_start=on_start,
            on_record=on_record,
        )

    def timed(self, name: str, start: float) -> None:
        self.seconds[name] = round(time.monotonic() - start, 1)

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
        self.tracker.start_study(
            self.folder.name,
            protocol=self.protocol.values,
            tags={"fersearch.study_hash": self.protocol.study_hash},
            identity=self.protocol.study_hash,
        )
        self.tracker.sync(self.folder.records())
        finished = self.folder.load_result()
        if finished is not None and self._still_holds(finished):
            return finished
        try:
            return self._work(study, started)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            self.tracker.finish_study({}, state="interrupted" if interrupted else "failed")
            raise

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
            outcome = run_test(
                pool,
                confirmation=confirmation,
                teacher=teacher,
                folder=self.folder,
                dataset=self.dataset.path,
                info=self.dataset.info,
                execution=self.settings.execution,
                study_hash=self.protocol.study_hash,
            )
            self.timed("test", mark)
        finally:
            pool.close()
        return self.write(study, confirmation, outcome, started)

    def _still_holds(self, result: dict[str, Any]) -> bool:
        """Return whether nothing has been asked for since the result was written."""
        counts = self.book.counts()
        return (
            result.get("study_hash") == self.protocol.study_hash
            and result.get("trials") == counts
            and sum(counts.values()) >= self.spec.budget.trials
        )

    def write(
        self, study: Study, confirmation: Confirmation, outcome: TestOutcome, started: float
    ) -> dict[str, Any]:
        """Write the model to deploy, the plots and ``result.json``; return the latter."""
        network, config = load_bundle(outcome.bundle)
        distilled = outcome.metrics["distilled"]
        metrics = {**config.metrics, "test_accuracy": distilled.accuracy}
        save_bundle(self.folder.model, network, dataclasses.replace(config, metrics=metrics))
        figures, notes = draw_search_plots(study, ensure_folder(self.folder.path / "figures"))
        self.timed("total", started)
        result = study_result(
            confirmation,
            outcome,
            context=self.context,
            objective=self.objective,
            folder=self.folder,
            book=self.book,
            protocol=self.protocol,
            execution=self.settings.execution,
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
