"""Keeping workers busy: runs wait for their soft labels, soft labels are made when wanted."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from fersearch.distill import (
    Execution,
    Progress,
    RunLabel,
    StackTask,
    TeacherTask,
    TrainJob,
    TrainTask,
    stack_key,
)
from fersearch.distill.tasks import teacher_parameters, teacher_run_id
from fersearch.errors import FersearchError
from fersearch.records import RunRecord
from fersearch.search.objectives import RunPlan
from fersearch.search.pool import Failure, Pool, Result

__all__ = ["Scheduler"]

Want = tuple[str, int]
Entry = tuple[TrainTask, Want | None]
NO_SEED = -1


class Scheduler:
    """Runs training tasks on a pool, and before them what they need.

    Args:
        pool: The workers.
        dataset: Folder of the decoded data.
        cache: The workspace's cache.
        execution: Device, threads, precision of every task.
        study: Name of the study.
        protocol_hash: Digest of its protocol.
        together: Trials that are trained in one program at most; 1 trains each on its own.
        on_progress: Told of every epoch; returning False prunes the run.
        on_teacher: Told of every teacher once it is there.
        on_lost: Told the name of a task whose worker died, and why, when it is done again.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        dataset: Path,
        cache: Path,
        execution: Execution,
        study: str,
        protocol_hash: str,
        together: int = 1,
        on_progress: Callable[[Progress], bool],
        on_teacher: Callable[[RunRecord], None],
        on_lost: Callable[[str, Failure], None],
    ) -> None:
        self._pool = pool
        self._dataset = dataset
        self._cache = cache
        self._execution = execution
        self._study = study
        self._protocol_hash = protocol_hash
        self._together = together
        self._on_progress = on_progress
        self._on_teacher = on_teacher
        self._on_lost = on_lost
        self._waiting: list[Entry] = []
        self._teachers: deque[tuple[Want, TeacherTask]] = deque()
        self._wanted: set[Want] = set()
        self._ready: set[Want] = set()
        self._running_teachers: dict[str, tuple[Want, TeacherTask]] = {}
        self._running: dict[str, tuple[Entry, ...]] = {}
        self._repeated: set[str] = set()
        self._loners: set[str] = set()

    @property
    def open_runs(self) -> int:
        """Number of training tasks that wait."""
        return len(self._waiting)

    def add(
        self, label: RunLabel, plan: RunPlan, *, checkpoint: Path, bundle: Path | None = None
    ) -> None:
        """Queue a training run and, if they are missing, its teacher and soft labels."""
        task = TrainTask(
            label=label,
            job=plan.job,
            teacher_job=plan.teacher,
            dataset=self._dataset,
            cache=self._cache,
            checkpoint=checkpoint,
            bundle=bundle,
            execution=self._execution,
        )
        want = None
        if plan.teacher is not None and plan.job.loss is None:
            want = (plan.teacher.digest(), NO_SEED)
            self._want(want, plan.teacher, seeds=(), epochs=0)
        elif plan.teacher is not None:
            want = (plan.teacher.digest(), plan.job.seed)
            self._want(want, plan.teacher, seeds=(plan.job.seed,), epochs=plan.job.recipe.epochs)
        self._waiting.append((task, want))

    def add_teacher(self, teacher: TrainJob) -> None:
        """Queue a teacher without soft labels, unless it has been wanted before."""
        if all(digest != teacher.digest() for digest, _ in self._wanted):
            self._want((teacher.digest(), NO_SEED), teacher, seeds=(), epochs=0)

    def _want(self, want: Want, teacher: TrainJob, *, seeds: tuple[int, ...], epochs: int) -> None:
        if want in self._wanted:
            return
        self._wanted.add(want)
        label = RunLabel(
            run_id=teacher_run_id(teacher),
            study=self._study,
            role="teacher",
            protocol_hash=self._protocol_hash,
            parameters=teacher_parameters(teacher),
        )
        task = TeacherTask(
            label=label,
            job=teacher,
            dataset=self._dataset,
            cache=self._cache,
            seeds=seeds,
            epochs=epochs,
            execution=self._execution,
        )
        self._teachers.append((want, task))

    def run(
        self,
        *,
        refill: Callable[[], None],
        on_result: Callable[[str, RunRecord | Failure], None],
        repeat_lost: bool = False,
    ) -> None:
        """Work until nothing is left.

        A teacher whose worker died is done again, once, from its last checkpoint: several runs
        wait for it, and what killed the worker need not have been its fault.

        Args:
            refill: Called whenever a worker may be free; may :meth:`add` runs.
            on_result: Told the name and result of every training run.
            repeat_lost: Do training runs whose worker died again, once, as well.

        Raises:
            FersearchError: A teacher could not be made.
        """
        while True:
            refill()
            self._submit()
            if self._pool.busy == 0:
                if self._waiting or self._teachers:
                    raise FersearchError("the workers are idle while runs wait for a teacher")
                return
            name, result = self._pool.wait(self._on_progress)
            if name in self._running_teachers:
                want, teacher = self._running_teachers.pop(name)
                if self._lost(name, result):
                    self._teachers.appendleft((want, teacher))
                else:
                    self._teacher_done(want, result)
                continue
            entries = self._running.pop(name)
            if len(entries) > 1:
                self._stack_done(entries, result, on_result)
            elif repeat_lost and self._lost(name, result):
                self._waiting.insert(0, entries[0])
            elif result is not None:
                assert not isinstance(result, tuple)
                on_result(name, result)

    def _lost(self, name: str, result: Result) -> bool:
        """Tell whether a task's worker died for the first time."""
        if not isinstance(result, Failure) or not result.died or name in self._repeated:
            return False
        self._repeated.add(name)
        self._on_lost(name, result)
        return True

    def _stack_done(
        self,
        entries: Sequence[Entry],
        result: Result,
        on_result: Callable[[str, RunRecord | Failure], None],
    ) -> None:
        """Hand on each student's record; after a failure, train each on its own.

        So the student that failed fails by itself. It may have been their number, for want of
        memory: later stacks have at most half as many.
        """
        if isinstance(result, Failure):
            self._together = max(1, len(entries) // 2)
            for task, _ in entries:
                self._loners.add(task.label.run_id)
                self._on_lost(task.label.run_id, result)
            self._waiting[:0] = entries
            return
        assert isinstance(result, tuple)
        for (task, _), record in zip(entries, result, strict=True):
            on_result(task.label.run_id, record)

    def _teacher_done(self, want: Want, result: Result) -> None:
        if isinstance(result, Failure):
            raise result.error()
        self._ready.add(want)
        if isinstance(result, RunRecord):
            self._on_teacher(result)

    def _submit(self) -> None:
        # Teachers first: several runs wait for each.
        while self._pool.free and self._teachers:
            want, teacher = self._teachers.popleft()
            name = f"{teacher.label.run_id} for seed {want[1]} ({want[0]})"
            self._running_teachers[name] = want, teacher
            self._pool.submit(name, teacher)
        while self._pool.free:
            ready = [item for item in self._waiting if item[1] is None or item[1] in self._ready]
            if not ready:
                return
            group = self._group(ready)
            for entry in group:
                self._waiting.remove(entry)
            name = "+".join(task.label.run_id for task, _ in group)
            self._running[name] = group
            tasks = tuple(task for task, _ in group)
            self._pool.submit(name, tasks[0] if len(tasks) == 1 else StackTask(tasks=tasks))

    def _group(self, ready: Sequence[Entry]) -> tuple[Entry, ...]:
        """Return the first run that waits and those trials that are trained together with it."""
        # No worker should idle because another one has taken all that was ready.
        size = min(self._together, math.ceil(len(ready) / self._pool.free))
        key = self._key(ready[0][0])
        if size == 1 or key is None:
            return (ready[0],)
        return tuple([entry for entry in ready if self._key(entry[0]) == key][:size])

    def _key(self, task: TrainTask) -> str | None:
        # Only trials: what is confirmed and tested is always trained by the ordinary trainer.
        alone = task.label.role != "trial" or task.label.run_id in self._loners
        return None if alone else stack_key(task.job)
