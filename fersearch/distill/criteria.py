"""Which training loss a job has: distillation, a baseline's own, or plain cross entropy."""

from __future__ import annotations

from torch import Tensor, nn

from fersearch.distill.job import TrainJob
from fersearch.distill.losses import LossSettings, distillation_loss
from fersearch.distill.precision import full_precision
from fersearch.distill.soft_labels import TeacherSignal
from fersearch.errors import FersearchError
from fersearch.models import Batch, CrossEntropy, TrainingLoss, get_baseline

__all__ = ["make_loss"]


class Distillation(TrainingLoss):
    """A distillation loss on a teacher's soft labels and the hard labels.

    Args:
        settings: Which loss, and its temperature and alpha.
        teacher: Where the soft labels come from.
        label_smoothing: Label smoothing of the hard labels, in 0-1.
    """

    def __init__(
        self, settings: LossSettings, teacher: TeacherSignal, label_smoothing: float
    ) -> None:
        super().__init__()
        self.settings = settings
        self.teacher = teacher
        self.label_smoothing = label_smoothing

    def forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss and the student's logits."""
        logits = full_precision(network(batch.inputs))
        loss = distillation_loss(
            logits,
            self.teacher.logits(batch.epoch, batch.indices, batch.inputs),
            batch.labels,
            settings=self.settings,
            label_smoothing=self.label_smoothing,
        )
        return loss, logits


def make_loss(job: TrainJob, teacher: TeacherSignal | None) -> TrainingLoss:
    """Return the training loss of ``job``.

    Raises:
        FersearchError: A distillation loss has no teacher.
        InputError: The job names an unknown baseline.
    """
    smoothing = job.recipe.label_smoothing
    if job.loss is not None:
        if teacher is None:
            raise FersearchError("a distillation loss needs a teacher")
        return Distillation(job.loss, teacher, smoothing)
    if job.baseline:
        return get_baseline(job.baseline).loss(smoothing)
    return CrossEntropy(smoothing)
