"""The training loop: one job in, one trained network out, stoppable after every epoch."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fersearch.data.dataset import Dataset
from fersearch.data.views import Views, epoch_order
from fersearch.distill.checkpoint import load_checkpoint, save_checkpoint
from fersearch.distill.criteria import make_loss
from fersearch.distill.evaluation import EVALUATION_BATCH, predict_logits, split_metrics
from fersearch.distill.job import Execution, TrainJob
from fersearch.distill.precision import autocast, trains_in_bfloat16, uses_bfloat16
from fersearch.distill.recipe import Schedule, count_steps, make_optimizer
from fersearch.distill.soft_labels import TeacherSignal
from fersearch.errors import FersearchError
from fersearch.models import Batch, TrainingData, TrainingLoss, create, load_weights
from fersearch.records import EpochRecord
from fersearch.seeds import derive_seed

__all__ = ["TrainOutcome", "build_model", "runs_in_bfloat16", "train"]

OnEpoch = Callable[[EpochRecord], bool]
DIVERGENCE_CHECK_STEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOutcome:
    """What training gave.

    Attributes:
        state: ``complete`` or ``pruned``.
        reason: Why it was pruned; empty when complete.
        epochs: One record per finished epoch.
        best_epoch: Epoch with the best validation metric; -1 when none finished.
        model: The network with the weights of that epoch, in evaluation mode, on the device.
        seconds: Wall-clock seconds of all epochs, those before an interruption included.
        training_params: Parameters that were trained, those of the loss included.
        notes: What the loss says about how it was made up.
    """

    state: str
    reason: str
    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    model: nn.Module
    seconds: float
    training_params: int
    notes: tuple[str, ...] = ()


class DivergedError(Exception):
    """The loss is no longer a finite number."""


def build_model(job: TrainJob, classes: int) -> nn.Module:
    """Create the job's network with its seeded initial weights, in channels-last layout."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(job.seed, "weights"))
        model = create(
            job.model,
            num_classes=classes,
            image_size=job.preprocessing.image_size,
            **{"drop_rate": job.recipe.dropout, **job.model_options},
        )
    if job.weights:
        load_weights(model, Path(job.weights))
    # A network that must see the image as it was undoes the standardising itself.
    set_preprocessing = getattr(model, "set_preprocessing", None)
    if set_preprocessing is not None:
        set_preprocessing(job.preprocessing.mean, job.preprocessing.std)
    return model.to(memory_format=torch.channels_last)


def runs_in_bfloat16(job: TrainJob, classes: int, execution: Execution) -> bool:
    """Return whether the job's network runs under bfloat16 autocast; no weights are made."""
    with torch.device("meta"):
        size = job.preprocessing.image_size
        model = create(job.model, num_classes=classes, image_size=size, **job.model_options)
    return uses_bfloat16(model, execution)


class _Run:
    """The state of one run: everything a checkpoint keeps."""

    def __init__(
        self,
        job: TrainJob,
        dataset: Dataset,
        *,
        execution: Execution,
        teacher: TeacherSignal | None,
        companion: nn.Module | None,
    ) -> None:
        self.job = job
        self.execution = execution
        device = execution.device
        common: dict[str, Any] = {
            "preprocessing": job.preprocessing,
            "policy": job.policy,
            "seed": job.seed,
            "device": device,
        }
        self.train_views = Views(dataset.train.images, **common)
        self.val_views = Views(dataset.val.images, **common)
        self.labels = torch.from_numpy(np.array(dataset.train.labels)).to(device)
        self.val_labels = np.array(dataset.val.labels)
        self.model = build_model(job, len(dataset.info.classes)).to(device)
        self.bfloat16 = trains_in_bfloat16(
            self.model, execution, image_size=job.preprocessing.image_size
        )
        self.loss = self.prepared_loss(dataset.info.classes, teacher, companion)
        self.parameters = [*self.model.parameters(), *self.loss.parameters()]
        self.optimizer = make_optimizer(self.parameters, job.recipe)
        self.steps = count_steps(len(self.train_views), job.recipe.batch_size)
        self.schedule = Schedule(self.optimizer, job.recipe, steps_per_epoch=self.steps)
        self.history: list[EpochRecord] = []
        self.best_epoch = -1
        self.best_metric = -math.inf
        self.best_weights: dict[str, Tensor] = {}

    def prepared_loss(
        self,
        classes: tuple[str, ...],
        teacher: TeacherSignal | None,
        companion: nn.Module | None,
    ) -> TrainingLoss:
        """Make the loss and let it look at the training split; its parts get seeded weights."""
        job, device = self.job, torch.device(self.execution.device)

        def channels(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, device=device).view(1, -1, 1, 1).expand(1, 3, 1, 1)

        def batches() -> Iterator[Tensor]:
            for start in range(0, len(self.train_views), EVALUATION_BATCH):
                end = min(start + EVALUATION_BATCH, len(self.train_views))
                yield self.train_views.evaluation(np.arange(start, end))

        data = TrainingData(
            classes=classes,
            labels=self.labels,
            image_size=job.preprocessing.image_size,
            mean=channels(job.preprocessing.mean),
            std=channels(job.preprocessing.std),
            seed=job.seed,
            device=device,
            batches=batches,
        )
        self.model.eval()
        torch.manual_seed(derive_seed(job.seed, "loss"))
        loss = make_loss(job, teacher).to(device)
        with torch.no_grad():
            loss.prepare(self.model, data, companion=companion)
        return loss.to(device)

    def checkpoint(self) -> dict[str, Any]:
        return {
            "job": self.job.digest(),
            "model": self.model.state_dict(),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": [dataclasses.asdict(record) for record in self.history],
            "best_epoch": self.best_epoch,
            "best_metric": self.best_metric,
            "best_weights": self.best_weights,
        }

    def restore(self, content: dict[str, Any]) -> None:
        self.model.load_state_dict(content["model"])
        self.loss.load_state_dict(content["loss"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        self.history = [EpochRecord(**record) for record in content["history"]]
        self.best_epoch = content["best_epoch"]
        self.best_metric = content["best_metric"]
        self.best_weights = content["best_weights"]

    def step(self, epoch: int, number: int, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Make one optimiser step; return the loss and the number of right answers."""
        inputs = self.train_views.training(epoch, indices)
        rows = torch.from_numpy(indices)
        batch = Batch(
            inputs=inputs,
            labels=self.labels[rows.to(self.labels.device)],
            indices=rows,
            epoch=epoch,
            progress=(epoch * self.steps + number) / (self.job.recipe.epochs * self.steps),
        )
        with autocast(self.execution, enabled=self.bfloat16):
            loss, logits = self.loss(self.model, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.job.recipe.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.job.recipe.clip_norm)
        self.optimizer.step()
        self.schedule.after_step()
        return loss.detach(), (logits.detach().argmax(dim=1) == batch.labels).sum()

    def train_epoch(self, epoch: int) -> tuple[float, float, int]:
        """Train one epoch; return mean loss, accuracy and the number of images seen."""
        # Dropout draws from the global generator: seeding it by epoch makes a resumed run and an
        # uninterrupted one draw the same masks.
        torch.manual_seed(derive_seed(self.job.seed, "dropout", epoch))
        self.model.train()
        self.loss.train()
        order = epoch_order(self.job.seed, epoch, len(self.train_views))
        size = self.job.recipe.batch_size
        total = torch.zeros((), device=self.labels.device)
        right = torch.zeros((), device=self.labels.device, dtype=torch.int64)
        seen = 0
        for number in range(self.steps):
            indices = order[number * size : (number + 1) * size]
            loss, correct = self.step(epoch, number, indices)
            total += loss * len(indices)
            right += correct
            seen += len(indices)
            # A sum stays non-finite once one loss was: looking now and then misses nothing.
            last = number == self.steps - 1
            if (last or number % DIVERGENCE_CHECK_STEPS == 0) and not math.isfinite(float(total)):
                raise DivergedError(f"the loss was not finite at epoch {epoch}, step {number}")
        return float(total) / seen, int(right) / seen, seen

    def run_epoch(self, epoch: int) -> EpochRecord:
        """Train and validate one epoch and keep its weights if they are the best so far."""
        start = time.perf_counter()
        train_loss, train_accuracy, images = self.train_epoch(epoch)
        learning_rate = self.schedule.learning_rate
        logits = predict_logits(self.model, self.val_views, execution=self.execution)
        if not np.isfinite(logits).all():
            raise DivergedError(f"the network's answers were not finite after epoch {epoch}")
        metrics = split_metrics(logits, self.val_labels)
        self.schedule.after_epoch(metrics.loss)
        metric = metrics.macro_f1 if self.job.metric == "macro_f1" else metrics.accuracy
        if metric > self.best_metric:
            self.best_epoch, self.best_metric = epoch, metric
            self.best_weights = {
                name: value.detach().clone() for name, value in self.model.state_dict().items()
            }
        record = EpochRecord(
            epoch=epoch,
            learning_rate=learning_rate,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=metrics.loss,
            val_accuracy=metrics.accuracy,
            val_macro_f1=metrics.macro_f1,
            images=images,
            seconds=time.perf_counter() - start,
        )
        self.history.append(record)
        return record

    def outcome(self, state: str, reason: str = "") -> TrainOutcome:
        if self.best_weights:
            self.model.load_state_dict(self.best_weights)
        return TrainOutcome(
            state=state,
            reason=reason,
            epochs=tuple(self.history),
            best_epoch=self.best_epoch,
            model=self.model.eval(),
            seconds=sum(record.seconds for record in self.history),
            training_params=sum(item.numel() for item in self.parameters if item.requires_grad),
            notes=self.loss.notes,
        )


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
    if job.data_sha256 != dataset.info.sha256:
        raise FersearchError("the job was made for other data than it is given")
    if job.loss is not None and teacher is None:
        raise FersearchError("a distillation loss needs a teacher")
    if execution.threads:
        torch.set_num_threads(execution.threads)
    # Fork the generator, so that a caller's own random numbers are as they were.
    with torch.random.fork_rng(), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        run = _Run(job, dataset, execution=execution, teacher=teacher, companion=companion)
        if checkpoint is not None:
            content = load_checkpoint(checkpoint, job=job.digest(), device=execution.device)
            if content is not None:
                run.restore(content)
        return _loop(run, checkpoint, on_epoch)


def _loop(run: _Run, checkpoint: Path | None, on_epoch: OnEpoch | None) -> TrainOutcome:
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
