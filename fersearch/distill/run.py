"""One training run: its network, loss, optimiser and history, epoch by epoch."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fersearch.data.dataset import Dataset
from fersearch.data.views import epoch_order, on_device
from fersearch.distill.checkpoint import load_checkpoint
from fersearch.distill.compiled import compiled
from fersearch.distill.criteria import make_loss
from fersearch.distill.evaluation import EVALUATION_BATCH, predict_logits, split_metrics
from fersearch.distill.job import Execution, TrainJob
from fersearch.distill.outcomes import DivergedError, EpochSums, TrainOutcome
from fersearch.distill.precision import autocast, trains_in_bfloat16
from fersearch.distill.recipe import (
    Schedule,
    clipped_step,
    count_steps,
    make_optimizer,
)
from fersearch.distill.recorded import RecordedStep
from fersearch.distill.run_data import RunData
from fersearch.distill.soft_labels import TeacherSignal
from fersearch.models import (
    Batch,
    TrainingData,
    TrainingLoss,
    create,
    load_weights,
    place,
    train_fast_on_cpu,
)
from fersearch.records import EpochRecord
from fersearch.seeds import derive_seed

__all__ = [
    "TrainingRun",
    "build_model",
]

DIVERGENCE_CHECK_STEPS = 8
# Pixels of the views that are made at once: 256 images of 48 pixels a side, on a GPU 2,048.
VIEW_PIXELS = {"cpu": 256 * 48**2, "cuda": 2048 * 48**2}


def build_model(job: TrainJob, classes: int, device: str = "cpu") -> nn.Module:
    """Create the job's network with its seeded initial weights, on ``device``, laid out for it."""
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
    return place(train_fast_on_cpu(model), device)


class TrainingRun:
    """The state of one run: everything a checkpoint keeps."""

    def __init__(
        self,
        job: TrainJob,
        dataset: Dataset,
        *,
        data: RunData | None = None,
        execution: Execution,
        teacher: TeacherSignal | None,
        companion: nn.Module | None,
    ) -> None:
        self.job = job
        self.execution = execution
        data = data or RunData.of(job, dataset, execution)
        self.train_views, self.val_views = data.train_views, data.val_views
        self.labels, self.val_labels = data.labels, data.val_labels
        self.model = build_model(job, len(dataset.info.classes), execution.device)
        self.bfloat16 = trains_in_bfloat16(
            self.model, execution, image_size=job.preprocessing.image_size
        )
        self.loss = self.prepared_loss(dataset.info.classes, teacher, companion)
        # A baseline's loss may call parts of its network, which are not compiled by themselves.
        self.trained = self.model if job.baseline else compiled(self.model, execution)
        self.parameters = [*self.model.parameters(), *self.loss.parameters()]
        self.optimizer = make_optimizer(self.parameters, job.recipe)
        self.teacher = teacher
        self.recorded = self.make_recorded_step()
        # What the epoch gave so far. On a GPU the host asks for it at the epoch's end.
        self.loss_sum = torch.zeros((), device=execution.device)
        self.right_sum = torch.zeros((), device=execution.device, dtype=torch.int64)
        self.steps = count_steps(len(self.train_views), job.recipe.batch_size)
        self.schedule = Schedule(self.optimizer, job.recipe, steps_per_epoch=self.steps)
        self.history: list[EpochRecord] = []
        self.best_epoch = -1
        self.best_metric = -math.inf
        self.best_weights: dict[str, Tensor] = {}
        self.notes: tuple[str, ...] = ()

    def make_recorded_step(self) -> RecordedStep | None:
        """Return what records the run's steps on a GPU; None where they are made as they are.

        A baseline's loss may look at what changes from step to step, which is not recorded.
        """
        device = self.labels.device
        if device.type != "cuda" or self.job.baseline or not self.execution.records:
            return None
        return RecordedStep(self.optimizer, device)

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
        """Return all that a continued run needs."""
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

    def resume(self, checkpoint: Path | None) -> None:
        """Continue from a file, where there is one of this job."""
        if checkpoint is None:
            return
        content = load_checkpoint(checkpoint, job=self.job.digest(), device=self.execution.device)
        if content is not None:
            self.restore(content)

    def restore(self, content: dict[str, Any]) -> None:
        """Take up what :meth:`checkpoint` returned."""
        self.model.load_state_dict(content["model"])
        self.loss.load_state_dict(content["loss"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        self.history = [EpochRecord(**record) for record in content["history"]]
        self.best_epoch = content["best_epoch"]
        self.best_metric = content["best_metric"]
        self.best_weights = content["best_weights"]

    def epoch_batches(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch in its order; they do not depend on the network."""
        order = epoch_order(self.job.seed, epoch, len(self.train_views))
        # On a GPU one copy an epoch: a copy a step would make the host wait for each.
        rows = on_device(order, self.labels.device)
        labels = self.labels[rows]
        size, total = self.job.recipe.batch_size, self.job.recipe.epochs * self.steps
        # Views of small images cost more calls than pixels: those of several batches are made at
        # once.
        pixels = VIEW_PIXELS[self.labels.device.type]
        together = max(1, pixels // (size * self.job.preprocessing.image_size**2))
        for first in range(0, self.steps, together):
            last = min(first + together, self.steps)
            inputs = self.train_views.training(epoch, rows[first * size : last * size])
            for step in range(first, last):
                part = slice(step * size, (step + 1) * size)
                yield Batch(
                    inputs=inputs[(step - first) * size : (step - first + 1) * size],
                    labels=labels[part],
                    indices=rows[part],
                    epoch=epoch,
                    progress=(epoch * self.steps + step) / total,
                )

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for the epoch's first step."""
        self.seed_dropout(epoch)
        if self.teacher is not None:
            self.teacher.open(epoch)
        self.model.train()
        self.loss.train()
        self.loss_sum.zero_()
        self.right_sum.zero_()

    def advance(self, batch: Batch) -> None:
        """Make the next step of the run."""
        if self.recorded is None:
            self.step(batch)
        else:
            self.recorded(self.step, batch)
        self.schedule.after_step()

    def step(self, batch: Batch) -> None:
        """Make one optimiser step, and add up the loss and the right answers."""
        with autocast(self.execution, enabled=self.bfloat16):
            loss, logits = self.loss(self.trained, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clipped_step(self.optimizer, self.parameters, clip_norm=self.job.recipe.clip_norm)
        self.loss_sum += loss.detach() * len(batch.labels)
        self.right_sum += (logits.detach().argmax(dim=1) == batch.labels).sum()

    def looks_after(self, number: int) -> bool:
        """Return whether to look after step ``number`` of an epoch if the loss is still finite.

        A sum stays non-finite once one loss was: looking now and then misses nothing. With a GPU
        the host would have to wait each time: it looks at the end of the epoch alone.
        """
        if number == self.steps - 1:
            return True
        return self.labels.device.type == "cpu" and number % DIVERGENCE_CHECK_STEPS == 0

    def seed_dropout(self, epoch: int) -> None:
        """Seed the global generator, which dropout draws from.

        By epoch, so that a resumed run and an uninterrupted one draw the same masks.
        """
        torch.manual_seed(derive_seed(self.job.seed, "dropout", epoch))

    def train_epoch(self, epoch: int) -> EpochSums:
        """Train one epoch.

        Raises:
            DivergedError: The loss is no longer finite.
        """
        self.begin_epoch(epoch)
        seen = 0
        for number, batch in enumerate(self.epoch_batches(epoch)):
            self.advance(batch)
            seen += len(batch.labels)
            if self.looks_after(number) and not math.isfinite(float(self.loss_sum)):
                raise DivergedError.in_training(epoch, number)
        return self.sums(seen)

    def sums(self, images: int) -> EpochSums:
        """Return what the epoch gave, which ended after ``images`` images."""
        return EpochSums(
            loss=float(self.loss_sum) / images,
            accuracy=int(self.right_sum) / images,
            images=images,
        )

    def run_epoch(self, epoch: int) -> EpochRecord:
        """Train and validate one epoch and keep its weights if they are the best so far.

        Raises:
            DivergedError: The loss or an answer is no longer finite.
        """
        start = time.perf_counter()
        sums = self.train_epoch(epoch)
        logits = predict_logits(self.model, self.val_views, execution=self.execution)
        return self.close_epoch(epoch, sums, logits, seconds=time.perf_counter() - start)

    def close_epoch(
        self, epoch: int, sums: EpochSums, logits: np.ndarray, *, seconds: float
    ) -> EpochRecord:
        """Take up an epoch whose weights are in the network.

        Args:
            epoch: Its number.
            sums: What training gave.
            logits: The network's answers to the validation split, float32 ``(M, classes)``.
            seconds: Wall-clock seconds of the epoch.

        Raises:
            DivergedError: An answer is not finite.
        """
        learning_rate = self.schedule.learning_rate
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
            train_loss=sums.loss,
            train_accuracy=sums.accuracy,
            val_loss=metrics.loss,
            val_accuracy=metrics.accuracy,
            val_macro_f1=metrics.macro_f1,
            images=sums.images,
            seconds=seconds,
        )
        self.history.append(record)
        return record

    def outcome(self, state: str, reason: str = "") -> TrainOutcome:
        """End the run with the weights of its best epoch."""
        refusal = self.recorded.refusal if self.recorded else ""
        own = (f"steps were not recorded: {refusal}",) if refusal else ()
        # Both hold memory of a GPU.
        self.recorded = None
        self.optimizer.zero_grad(set_to_none=True)
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
            notes=(*self.loss.notes, *self.notes, *own),
        )
