"""One invocation of something that trains: its settings, its folder, and who hears of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fersearch.data.dataset import Dataset
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import Execution, Progress
from fersearch.errors import InputError
from fersearch.files import write_json
from fersearch.records import RunRecord
from fersearch.search.estimate import Estimate
from fersearch.search.folder import BACKBONES, StudyFolder
from fersearch.search.objectives import StudyContext
from fersearch.search.pool import Failure, Pool
from fersearch.search.progress import Listener, StudyProgress, describe_run, describe_trial
from fersearch.search.protocol import Protocol, differences, make_protocol
from fersearch.search.scheduler import Scheduler
from fersearch.search.trials import TrialBook
from fersearch.spec import StudySpec
from fersearch.track import Sink

__all__ = ["Session", "StudySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """How a study is run, none of which changes what it measures.

    Attributes:
        workspace: Where everything is written.
        name: Name of the study; the study file's own name when empty.
        storage: URL of the study storage; the workspace's SQLite file when empty.
        jobs: Runs at a time, each in a process of its own when more than one.
        together: Trials that are trained in one program at most.
        execution: Device, threads and precision of a run.
        timeout: Seconds after which no new trial is started, or None.
        teacher_weights: File with initial weights of the teacher, or empty.
        teacher_weights_sha256: Digest of that file, or empty.
        plugins: Plug-in files that every worker loads.
        export: Whether the student is exported to ONNX, where the packages for it are there.
        notes: What the report should say besides.
        command: The command that reproduces the study.
    """

    workspace: Path
    name: str = ""
    storage: str = ""
    jobs: int = 1
    together: int = 1
    execution: Execution = field(default_factory=Execution)
    timeout: float | None = None
    teacher_weights: str = ""
    teacher_weights_sha256: str = ""
    plugins: tuple[str, ...] = ()
    export: bool = True
    notes: tuple[str, ...] = ()
    command: str = ""


class Session:
    """What a study, a grid and a run of baselines share.

    Args:
        spec: What is run.
        dataset: The data.
        settings: Where and how.
        tracker: Where run records go besides the folder.
        listener: Told of everything that happens.
        kind: ``studies`` or ``baselines``: the part of the workspace it is written to.
    """

    def __init__(
        self,
        spec: StudySpec,
        dataset: Dataset,
        settings: StudySettings,
        *,
        tracker: Sink,
        listener: Listener,
        kind: str = "studies",
    ) -> None:
        self.spec = spec
        self.dataset = dataset
        self.settings = settings
        self.tracker = tracker
        self.listener = listener
        self.folder = StudyFolder(settings.workspace, settings.name or spec.name, kind)
        self.context = StudyContext(
            spec=spec,
            info=dataset.info,
            preprocessing=Preprocessing.of_training_images(dataset.train.images),
            policy=ViewPolicy(),
            teacher_weights=settings.teacher_weights,
            teacher_weights_sha256=settings.teacher_weights_sha256,
        )
        self.protocol = self.make_protocol()
        self.estimate = Estimate(settings.jobs)
        self.phase = "search"
        self.done = 0
        self.total = spec.budget.trials
        self.seconds: dict[str, float] = {}

    def make_protocol(self) -> Protocol:
        """Return what the numbers are decided by."""
        return make_protocol(
            self.spec,
            self.dataset.info,
            preprocessing=self.context.preprocessing,
            policy=self.context.policy,
            teacher_weights_sha256=self.settings.teacher_weights_sha256,
        )

    # --- what the listener and the tracker hear -------------------------------------------------

    def best(self) -> tuple[float, int] | None:
        """Return the best validation metric so far and the trial that reached it."""
        return None

    def open_work(self) -> tuple[int, int]:
        """Return how many trials and how many full runs are left."""
        return 0, self.total - self.done

    def tell(self, *, message: str = "", step: Progress | None = None, finished: str = "") -> None:
        """Tell the listener what has happened."""
        best = self.best()
        trials, runs = self.open_work()
        self.listener(
            StudyProgress(
                phase=self.phase,
                message=message,
                step=step,
                finished_run=finished,
                done=self.done,
                total=self.total,
                best=None if best is None else best[0],
                best_trial=None if best is None else best[1],
                images_per_second=self.estimate.images_per_second,
                remaining_seconds=self.estimate.remaining(
                    trials=trials, runs=runs, epochs=self.spec.budget.epochs
                ),
            )
        )

    def on_progress(self, progress: Progress) -> bool:
        """Hear of an epoch; return whether the run may go on."""
        self.estimate.epoch(progress)
        self.tell(step=progress)
        return True

    def on_teacher(self, record: RunRecord) -> None:
        """Hear of a teacher or companion that is there now."""
        known = self.folder.record(record.run_id)
        if not known.exists():
            self.folder.save(record)
            self.tracker.log(record)
            self.tell(
                message=f"{record.run_id} is ready: validation accuracy "
                f"{record.metrics['val_accuracy']:.1%} after {len(record.epochs)} epochs",
                finished=record.run_id,
            )

    def on_lost(self, name: str, failure: Failure) -> None:
        """Hear of a task that is done again because its worker died."""
        self.tell(message=f"{name.split()[0]} is done again: {failure.message}")

    def on_record(self, record: RunRecord) -> None:
        """Hear of a full run that ended."""
        self.tracker.log(record)
        self.done += 1
        self.tell(message=describe_run(record), finished=record.run_id)

    # --- the folder -----------------------------------------------------------------------------

    def check_folder(self) -> None:
        """Refuse a folder that was made under another protocol, and a name that is taken."""
        other = "baselines" if self.folder.kind == "studies" else "studies"
        if StudyFolder(self.folder.workspace, self.folder.name, other).protocol.exists():
            what = "a run of baselines" if other == "baselines" else "a study"
            raise InputError(
                f"{self.folder.name!r} is the name of {what} in this workspace",
                "give this one another --name",
            )
        if (self.folder.load_result() or {}).get("kind") == BACKBONES:
            raise InputError(
                f"{self.folder.name!r} is the name of a study of several students",
                "give this one another --name",
            )
        if self.folder.protocol.exists():
            # The folder may be older than the storage, when the latter was deleted or changed.
            self.refuse_changes(json.loads(self.folder.protocol.read_text(encoding="utf-8")))

    def keep_protocol(self) -> None:
        """Write down what the folder is made under."""
        write_json(self.folder.protocol, self.protocol.values)

    def refuse_changes(self, before: dict[str, Any]) -> None:
        """Refuse to go on under another protocol than ``before``.

        Raises:
            InputError: Something differs; the message says what.
        """
        changed = differences(before, self.protocol.values)
        if changed:
            shown = ", ".join(changed[:6]) + (" and more" if len(changed) > 6 else "")
            what = "study" if self.folder.kind == "studies" else "baseline run"
            raise InputError(
                f"the {what} {self.folder.name!r} exists with another protocol: {shown}",
                "give the new one another --name, or use the old settings",
            )

    def scheduler(self, pool: Pool) -> Scheduler:
        """Return a scheduler that tells of its progress here."""
        return Scheduler(
            pool,
            dataset=self.dataset.path,
            cache=self.folder.cache,
            execution=self.settings.execution,
            study=self.folder.name,
            protocol_hash=self.protocol.protocol_hash,
            together=self.settings.together,
            on_progress=self.on_progress,
            on_teacher=self.on_teacher,
            on_lost=self.on_lost,
        )

    def search_trials(self, book: TrialBook, scheduler: Scheduler) -> None:
        """Run the trials of a search to their number."""

        def on_result(name: str, result: RunRecord | Failure) -> None:
            record = book.close(name, result)
            self.estimate.run(record)
            self.tracker.log(record)
            self.done += 1
            self.tell(message=describe_trial(record), finished=name)

        scheduler.run(refill=lambda: book.refill(scheduler), on_result=on_result)

    @contextmanager
    def ending_tracked(self) -> Iterator[None]:
        """Let the tracker know when what happens inside is interrupted or fails."""
        try:
            yield
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            self.tracker.finish_study({}, state="interrupted" if interrupted else "failed")
            raise

    def timed(self, name: str, start: float) -> None:
        """Note how many seconds a phase took."""
        self.seconds[name] = round(time.monotonic() - start, 1)

    def open_tracking(self) -> None:
        """Open the run in the tracker and write what it lacks."""
        self.tracker.start_study(
            self.folder.name,
            protocol=self.protocol.values,
            tags={
                "fersearch.kind": self.folder.kind,
                "fersearch.study_hash": self.protocol.study_hash,
                "fersearch.protocol_hash": self.protocol.protocol_hash,
            },
            identity=self.protocol.study_hash,
        )
        self.tracker.sync(self.folder.records())
