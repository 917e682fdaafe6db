"""The training loop: one job in, one trained network out, stoppable after every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from fersearch.data.dataset import Dataset
from fersearch.distill.checkpoint import save_checkpoint
from fersearch.distill.job import Execution, TrainJob
from fersearch.distill.outcomes import DivergedError, TrainOutcome
from fersearch.distill.precision import uses_bfloat16
from fersearch.distill.run import TrainingRun
from fersearch.distill.soft_labels import TeacherSignal
from fersearch.errors import FersearchError
from fersearch.models import create
from fersearch.records import EpochRecord

__all__ = ["OnEpoch", "check_job", "finish_run", "runs_in_bfloat16", "train", "training_context"]

OnEpoch = Callable[[EpochRecord], bool]


def runs_in_bfloat16(job: TrainJob, classes: int, execution: Execution) -> bool:
    """Return whether the job's network runs under bfloat16 autocast; no weights are made."""
    with torch.device("meta"):
        size = job.preprocessing.image_size
        model = create(job.model, num_classes=classes, image_size=size, **job.model_options)
    return uses_bfloat16(model, execution)


def train(
    job: TrainJob,
    dataset: Dataset,
    *,
    execution: Execution,
    teacher: TeacherSignal | None = None,
    companion: nn.Module | None = None,
    checkpoint: Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainOutcome:
    """Train the job's network; validation picks the best epoch, the test split is never opened.

    Args:
        job: What to train.
        dataset: Where its images are; must be the job's data.
        execution: Device, threads and precision.
        teacher: Where soft labels come from; needed when the job has a distillation loss.
        companion: Trained network that the baseline's loss asked for, frozen, on the device.
        checkpoint: File to continue from and to write after every epoch; it is left in place.
        on_epoch: Called after every epoch, first with those that a checkpoint already holds;
            returning False prunes the run.

    Returns:
        The outcome; a run whose loss is no longer finite is ``pruned`` with its reason.

    Raises:
        FersearchError: The job does not fit the data set or has no teacher.
    """
    check_job(job, dataset, teacher)
    with training_context(execution):
        run = TrainingRun(job, dataset, execution=execution, teacher=teacher, companion=companion)
        run.resume(checkpoint)
        return finish_run(run, checkpoint, on_epoch)


def check_job(job: TrainJob, dataset: Dataset, teacher: TeacherSignal | None) -> None:
    """Refuse a job of other data, and a distillation loss without a teacher.

    Raises:
        FersearchError: As said.
    """
    if job.data_sha256 != dataset.info.sha256:
        raise FersearchError("the job was made for other data than it is given")
    if job.loss is not None and teacher is None:
        raise FersearchError("a distillation loss needs a teacher")


@contextmanager
def training_context(execution: Execution) -> Iterator[None]:
    """Fix threads and kernels inside; the caller's random numbers are as they were."""
    if execution.threads:
        torch.set_num_threads(execution.threads)
    # ``enabled`` must be said: left out, it turns cuDNN off.
    fixed = torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False)
    with torch.random.fork_rng(), fixed:
        yield


def finish_run(run: TrainingRun, checkpoint: Path | None, on_epoch: OnEpoch | None) -> TrainOutcome:
    """Tell of the epochs that a run has, and train those that it lacks; see :func:`train`."""
    for record in list(run.history):
        if on_epoch is not None and not on_epoch(record):
            return run.outcome("pruned", f"stopped by the pruner after epoch {record.epoch}")
    for epoch in range(len(run.history), run.job.recipe.epochs):
        try:
            record = run.run_epoch(epoch)
        except DivergedError as error:
            return run.outcome("pruned", f"diverged: {error}")
        if checkpoint is not None:
            save_checkpoint(checkpoint, run.checkpoint())
        if on_epoch is not None and not on_epoch(record):
            return run.outcome("pruned", f"stopped by the pruner after epoch {epoch}")
    return run.outcome("complete")
