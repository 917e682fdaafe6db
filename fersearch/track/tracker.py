"""The MLflow tracker: records go to a background thread, so training never waits for a store.

The truth is on disk, in the run records. What the thread has not written when the process dies is
written by :meth:`Tracker.sync` of the next one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fersearch.files import file_lock
from fersearch.records import RunRecord, digest
from fersearch.track.connection import connect, find_experiment, one_line, opening, store_errors
from fersearch.track.location import TrackingLocation, masked_uri, resolve_tracking
from fersearch.track.runs import STATUS, RunWriter, StudyHeader

__all__ = ["Tracker"]

FAILURES_IN_A_ROW = 2  # a store that fails twice is taken as gone until the next call
Job = Callable[[], None]


class Tracker:
    """Writes run records into MLflow; open it with :meth:`open`, use it as a context manager.

    No method but :meth:`open` raises for what the store does: what could not be written waits,
    is tried again with the next call, and is named in :attr:`warnings`.
    """

    def __init__(self, writer: RunWriter, location: TrackingLocation, workspace: Path) -> None:
        self._writer = writer
        self._location = location
        self._workspace = workspace
        self._errors = store_errors()
        self._study = ""
        self._notes: list[str] = []
        self._failure = ""
        self._changed = threading.Condition()
        self._pending: dict[tuple[str, ...], Job] = {}
        self._asked = 0  # passes over the pending jobs that were asked for, and those done
        self._done = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="fersearch-track", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, *, workspace: Path, tracking_uri: str | None, experiment: str) -> Tracker:
        """Open the tracking store, and create it where it is the workspace's own.

        The first opening of a new workspace takes some seconds: MLflow creates its tables.

        Args:
            workspace: Folder of everything that runs write.
            tracking_uri: MLflow tracking URI; ``None`` for ``$MLFLOW_TRACKING_URI`` or, without
                that, ``mlflow.db`` and ``mlartifacts`` in the workspace.
            experiment: Name of the MLflow experiment; it is created if need be.

        Raises:
            InputError: The store cannot be reached or is not one.
        """
        workspace = workspace.expanduser().resolve()
        location = resolve_tracking(workspace, tracking_uri)
        client = connect(location)
        with opening(location), file_lock(location.lock):
            experiment_id = find_experiment(client, experiment, location.artifacts)
        return cls(RunWriter(client, experiment_id), location, workspace)

    @property
    def uri(self) -> str:
        """The tracking URI, without a password."""
        return masked_uri(self._location.uri)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be written so far, one line each; empty when all is well."""
        with self._changed:
            notes = list(dict.fromkeys(self._notes))
            if self._pending and self._failure:
                notes.append(
                    f"MLflow at {self.uri}: {len(self._pending)} entries are not written yet "
                    f"({self._failure}); the run records are safe, and running the command again "
                    "writes what is missing"
                )
            return tuple(notes)

    def start_study(
        self,
        name: str,
        *,
        protocol: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        identity: str = "",
    ) -> None:
        """Open the parent run of the study ``name``, or reopen the one that is there.

        Args:
            name: Name of the study, as in its records.
            protocol: Its comparison protocol; it becomes the parent run's parameters.
            tags: Further tags of the parent run.
            identity: Tells apart studies of one name on one server; by default that is the
                workspace. Processes that share a study from several workspaces name the same.
        """
        if not identity and self._location.named:
            identity = digest(str(self._workspace))
        header = StudyHeader(
            name=name, identity=identity, protocol=dict(protocol), tags=dict(tags or {})
        )
        self._study = name
        self._writer.announce(header)
        self._submit(("study", name), lambda: self._open_study(name))

    def log(self, record: RunRecord, artifacts: Sequence[Path] = ()) -> None:
        """Write one finished run below its study.

        A record that is there already is left alone; another record of the same run replaces it,
        and so does a whole record the half-written trace of a crash.

        Args:
            record: The run.
            artifacts: Files and folders to keep beside it; they must stay until they are written.
        """
        kept = self._existing(artifacts)
        self._submit(("run", record.study, record.run_id), lambda: self._write(record, kept))

    def sync(self, records: Iterable[RunRecord]) -> None:
        """Write those of ``records`` that the store does not hold."""
        for record in records:
            self.log(record)

    def finish_study(
        self,
        metrics: Mapping[str, float],
        artifacts: Sequence[Path] = (),
        *,
        state: str = "complete",
    ) -> None:
        """End the parent run of the study that was started last.

        Args:
            metrics: Figures of the whole study.
            artifacts: Files and folders to keep: result, report, model.
            state: ``complete``, ``interrupted`` or ``failed``.

        Raises:
            ValueError: No study was started, or the state is unknown.
        """
        if not self._study or state not in STATUS:
            raise ValueError(f"no study to finish as {state!r}: start_study comes first")
        name, figures, kept = self._study, dict(metrics), self._existing(artifacts)
        self._submit(("finish", name), lambda: self._finish(name, figures, kept, state))

    def flush(self, timeout: float | None = None) -> bool:
        """Try once to write everything that waits; return whether nothing waits any more.

        Args:
            timeout: Seconds to wait for that at most; ``None`` waits to the end of the try.
        """
        with self._changed:
            self._asked += 1
            goal = self._asked
            self._changed.notify_all()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self._done < goal and self._thread.is_alive():
                left = 0.5 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, 0.5))
            return not self._pending

    def close(self, timeout: float = 30.0) -> None:
        """Write what waits, within ``timeout`` seconds, and end the background thread."""
        self.flush(timeout)
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(1.0)

    def __enter__(self) -> Self:
        """Return the tracker itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the tracker."""
        self.close()

    def _existing(self, artifacts: Sequence[Path]) -> tuple[Path, ...]:
        for path in artifacts:
            if not path.exists():
                with self._changed:
                    self._notes.append(f"{path} is not there and was not tracked")
        return tuple(path.resolve() for path in artifacts if path.exists())

    def _open_study(self, name: str) -> None:
        self._writer.open_study(name, reopen=True)

    def _write(self, record: RunRecord, artifacts: Sequence[Path]) -> None:
        self._writer.write(record, artifacts)

    def _finish(
        self, name: str, metrics: Mapping[str, float], artifacts: Sequence[Path], state: str
    ) -> None:
        self._writer.finish_study(name, metrics, artifacts, state)

    def _submit(self, key: tuple[str, ...], job: Job) -> None:
        with self._changed:
            self._pending.pop(key, None)  # the newest call counts, and comes last
            self._pending[key] = job
            self._asked += 1
            self._changed.notify_all()

    def _work(self) -> None:
        """Run passes until the tracker is closed (the thread's body)."""
        try:
            self._passes()
        finally:
            with self._changed:
                self._failure = self._failure or "the tracking thread has ended"
                self._changed.notify_all()

    def _passes(self) -> None:
        while True:
            with self._changed:
                while self._done >= self._asked and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                goal = self._asked
                jobs = list(self._pending.items())
            self._attempt(jobs)
            with self._changed:
                self._done = goal
                self._changed.notify_all()

    def _attempt(self, jobs: Sequence[tuple[tuple[str, ...], Job]]) -> None:
        failures = 0
        for key, job in jobs:
            try:
                # One writer at a time: looking for a run and writing it is one act.
                with file_lock(self._location.lock):
                    job()
            except self._errors as error:
                self._writer.forget()
                failures += 1
                with self._changed:
                    self._failure = one_line(error)
                if failures == FAILURES_IN_A_ROW:
                    return
            else:
                failures = 0
                with self._changed:
                    if self._pending.get(key) is job:
                        del self._pending[key]
