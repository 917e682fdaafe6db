"""Training several students of one job, but for loss settings and learning rate, in one program.

They see the same view of an image at the same step, so a batch is made once. On a GPU their
recorded steps run side by side; elsewhere their weights are stacked, and one forward pass serves
all. Each has an ordinary run with an ordinary checkpoint, and ends up with the weights that
it would have alone, up to rounding.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fersearch.data.dataset import Dataset
from fersearch.distill.checkpoint import save_checkpoint
from fersearch.distill.evaluation import predict_logits
from fersearch.distill.job import Execution, TrainJob
from fersearch.distill.outcomes import DivergedError, EpochSums, TrainOutcome
from fersearch.distill.run import TrainingRun
from fersearch.distill.run_data import RunData
from fersearch.distill.side_by_side import train_side_by_side
from fersearch.distill.soft_labels import TeacherSignal
from fersearch.distill.stacked_loss import StackedLoss
from fersearch.distill.stacked_students import Fitness, StackedStudents, try_stacking
from fersearch.distill.trainer import OnEpoch, check_job, finish_run, training_context
from fersearch.errors import FersearchError
from fersearch.records import digest

__all__ = ["Student", "stack_key", "train_stack"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """One of the students that are trained together.

    Attributes:
        job: What to train.
        teacher: Where its soft labels come from; students of one teacher share the object.
        checkpoint: File to continue from and to write after every epoch, as :func:`train`'s.
        on_epoch: Called after every epoch; returning False prunes this student.
    """

    job: TrainJob
    teacher: TeacherSignal | None = None
    checkpoint: Path | None = None
    on_epoch: OnEpoch | None = None


def stack_key(job: TrainJob) -> str | None:
    """Return what jobs have in common that can be trained together; None for a job that cannot.

    Everything counts but the parameters of the loss, the teacher and the learning rate. A
    baseline has a loss of its own, which may do anything: it is trained alone.
    """
    if job.baseline:
        return None
    recipe = dataclasses.replace(job.recipe, learning_rate=1.0)
    plain = dataclasses.replace(job, recipe=recipe, loss=None, teacher="")
    return digest({"job": plain.digest(), "distilled": job.loss is not None})


def train_stack(
    students: Sequence[Student], dataset: Dataset, *, execution: Execution
) -> tuple[TrainOutcome, ...]:
    """Train students together; each has the outcome that :func:`train` gives it, up to rounding.

    One that diverges or is pruned leaves, and the others go on without it. Students whose
    checkpoints hold different numbers of epochs are trained together from where they meet. The
    last one left is trained as :func:`train` does, and so are all of them, one after another,
    when steps are not recorded and their network cannot be stacked.

    Args:
        students: Their jobs must have one :func:`stack_key`.
        dataset: Where the images are; must be the jobs' data.
        execution: Device, threads and precision.

    Returns:
        The outcomes in the students' order. ``seconds`` are a student's share: those of an epoch
        divided by the number of students that were trained in it; a note says how many began.

    Raises:
        FersearchError: The jobs do not go together, do not fit the data set or have no teacher.
    """
    keys = {stack_key(student.job) for student in students}
    if len(keys) != 1 or None in keys:
        raise FersearchError("these jobs cannot be trained together")
    for student in students:
        check_job(student.job, dataset, student.teacher)
    with training_context(execution):
        data = RunData.of(students[0].job, dataset, execution)
        members = [_Member(student, dataset, data, execution) for student in students]
        # Steps that are recorded are made side by side, whatever the network.
        fitness = Fitness() if members[0].run.recorded else try_stacking(members[0].run)
        return tuple(_Stack(members, fitness).train())


class _Member:
    """A student, its run and, once it has ended, its outcome."""

    def __init__(
        self, student: Student, dataset: Dataset, data: RunData, execution: Execution
    ) -> None:
        self.student = student
        self.run = TrainingRun(
            student.job,
            dataset,
            data=data,
            execution=execution,
            teacher=student.teacher,
            companion=None,
        )
        self.run.resume(student.checkpoint)
        self.outcome: TrainOutcome | None = None

    def told(self, place: int) -> None:
        """Tell of the epoch at ``place`` of the history; the answer may prune the student."""
        record = self.run.history[place]
        if self.student.on_epoch is not None and not self.student.on_epoch(record):
            self.end("pruned", f"stopped by the pruner after epoch {record.epoch}")

    def diverged(self, error: DivergedError) -> None:
        self.end("pruned", f"diverged: {error}")

    def end(self, state: str, reason: str = "") -> None:
        if self.outcome is None:
            self.outcome = self.run.outcome(state, reason)

    def close(self, epoch: int, sums: EpochSums, logits: np.ndarray, *, seconds: float) -> None:
        """Take up an epoch that was trained together with others; its answers may end the run."""
        try:
            self.run.close_epoch(epoch, sums, logits, seconds=seconds)
        except DivergedError as error:
            self.diverged(error)
        else:
            self.closed(epoch)

    def closed(self, epoch: int) -> None:
        """Keep a finished epoch, then tell of it."""
        if self.student.checkpoint is not None:
            save_checkpoint(self.student.checkpoint, self.run.checkpoint())
        self.told(epoch)


class _Stack:
    """Members in training, and the stacked students of those that are in the current epoch."""

    def __init__(self, members: Sequence[_Member], fitness: Fitness) -> None:
        self._members = members
        self._fitness = fitness
        self._stacked: list[_Member] = []
        self._students: StackedStudents | None = None

    def train(self) -> list[TrainOutcome]:
        """Train all members to their end."""
        many = len(self._members)
        if self._fitness.refusal:
            for member in self._members:
                member.run.notes = (f"trained alone: not stacked ({self._fitness.refusal})",)
                student = member.student
                member.outcome = finish_run(member.run, student.checkpoint, student.on_epoch)
            return self._outcomes()
        for member in self._members:
            member.run.notes = (f"trained in a stack of {many} students, seconds are its share",)
            for place in range(len(member.run.history)):
                member.told(place)
                if member.outcome is not None:
                    break
        for epoch in range(self._members[0].run.job.recipe.epochs):
            # A member whose checkpoint is further ahead joins when the others get there.
            here = [
                member
                for member in self._members
                if member.outcome is None and len(member.run.history) == epoch
            ]
            if len(here) == 1:
                self._alone(here[0], epoch)
            elif here and here[0].run.recorded:
                self._side_by_side(here, epoch)
            elif here:
                self._together(here, epoch)
        return self._outcomes()

    def _outcomes(self) -> list[TrainOutcome]:
        outcomes = []
        for member in self._members:
            member.end("complete")
            assert member.outcome is not None
            outcomes.append(member.outcome)
        return outcomes

    def _alone(self, member: _Member, epoch: int) -> None:
        try:
            member.run.run_epoch(epoch)
        except DivergedError as error:
            member.diverged(error)
            return
        self._stacked = []
        member.closed(epoch)

    def _together(self, here: list[_Member], epoch: int) -> None:
        """Train and validate an epoch of at least two students."""
        start = time.perf_counter()
        many = len(here)
        if self._stacked != here:
            self._stacked = here
            self._students = StackedStudents(
                [member.run for member in here], unused=self._fitness.unused
            )
        assert self._students is not None
        sums = self._train_epoch(self._students, epoch)
        if not self._stacked:
            return
        runs = [member.run for member in self._stacked]
        self._students.store(runs)
        logits = self._students.predict(runs[0])
        seconds = (time.perf_counter() - start) / many
        for member, own, answers in zip(list(self._stacked), sums, logits, strict=True):
            member.close(epoch, own, answers, seconds=seconds)

    def _side_by_side(self, here: list[_Member], epoch: int) -> None:
        """Train and validate an epoch of students whose steps are recorded."""
        start = time.perf_counter()
        sums = train_side_by_side([member.run for member in here], epoch)
        logits = [
            predict_logits(run.model, run.val_views, execution=run.execution)
            for run in (member.run for member in here)
        ]
        seconds = (time.perf_counter() - start) / len(here)
        for member, own, answers in zip(here, sums, logits, strict=True):
            if math.isfinite(own.loss):
                member.close(epoch, own, answers, seconds=seconds)
            else:
                member.diverged(DivergedError.in_training(epoch, member.run.steps - 1))

    def _train_epoch(self, students: StackedStudents, epoch: int) -> list[EpochSums]:
        """Train an epoch; who diverges leaves the stack at once."""
        lead = self._stacked[0].run
        device = lead.labels.device
        rates = _rates([member.run for member in self._stacked]).to(device, students.dtype)
        loss = self._loss(students)
        totals = torch.zeros(len(students), device=device, dtype=students.dtype)
        right = torch.zeros(len(students), device=device, dtype=torch.int64)
        seen = 0
        lead.seed_dropout(epoch)
        for number, batch in enumerate(lead.epoch_batches(epoch)):
            losses, correct = students.step(batch, loss, rates[number])
            totals += losses * len(batch.labels)
            right += correct
            seen += len(batch.labels)
            if not lead.looks_after(number):
                continue
            finite = np.isfinite(totals.cpu().numpy())
            if finite.all():
                continue
            left = self._leave(students, finite, DivergedError.in_training(epoch, number))
            if not left:
                return []
            totals, right, rates = totals[left], right[left], rates[:, left]
            loss = self._loss(students)
        return [
            EpochSums(loss=total / seen, accuracy=count / seen, images=seen)
            for total, count in zip(totals.tolist(), right.tolist(), strict=True)
        ]

    def _leave(
        self, students: StackedStudents, stays: np.ndarray, error: DivergedError
    ) -> list[int]:
        """Let those diverged go whose ``stays`` is false; return the places of the others."""
        left = [place for place, finite in enumerate(stays) if finite]
        for place, member in enumerate(self._stacked):
            if place not in left:
                member.diverged(error)
        self._stacked = [self._stacked[place] for place in left]
        students.keep(left)
        return left

    def _loss(self, students: StackedStudents) -> StackedLoss:
        return StackedLoss(
            [member.student.job for member in self._stacked],
            [member.student.teacher for member in self._stacked],
            device=students.weights.device,
            dtype=students.dtype,
        )


def _rates(runs: Sequence[TrainingRun]) -> Tensor:
    """Take the schedules through an epoch; return the learning rates, ``(steps, runs, 1)``.

    All at once: a number that goes to a GPU at each step would make the host wait for each.
    """
    columns = []
    for run in runs:
        # Schedules warn before the optimiser's first step, which here is made without it.
        run.optimizer.zero_grad(set_to_none=True)
        run.optimizer.step()
        column = []
        for _ in range(run.steps):
            column.append(run.schedule.learning_rate)
            run.schedule.after_step()
        columns.append(column)
    return torch.tensor(columns, dtype=torch.float64).T.unsqueeze(2)
