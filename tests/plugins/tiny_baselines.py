"""A baseline of one file, with a loss and a companion of its own, as a user would bring it."""

import timm
from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F

from fersearch.models import (
    Baseline,
    Batch,
    TrainingData,
    TrainingLoss,
    register_baseline,
)


@register_model
def tiny_rival(pretrained: bool = False, **options: object) -> nn.Module:
    return timm.create_model("tiny_student", **options)


class RivalLoss(TrainingLoss):
    """Cross entropy and the distance to a companion's logits through a trained scale."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self._companion: tuple[nn.Module, ...] = ()

    def prepare(
        self, network: nn.Module, data: TrainingData, *, companion: nn.Module | None = None
    ) -> None:
        assert companion is not None
        self._companion = (companion,)
        self.scale = nn.Linear(len(data.classes), len(data.classes)).to(data.device)
        seen = sum(len(images) for images in data.batches())
        self.notes = (f"looked at {seen} training images",)

    def forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = network(batch.inputs).float()
        wanted = self._companion[0](batch.inputs).float()
        loss = F.cross_entropy(logits, batch.labels) + 0.1 * F.mse_loss(self.scale(logits), wanted)
        return loss, logits


register_baseline(
    Baseline(
        name="tiny_rival",
        title="Rival <i>&</i> =1+1",
        source="A test",
        loss=RivalLoss,
        companion="tiny_student",
        notes=("It is a test.",),
    )
)


@register_model
def slow_rival(pretrained: bool = False, **options: object) -> nn.Module:
    """Sleep at every step, so that a test has time to interrupt."""
    return timm.create_model("tiny_slow", **options)


register_baseline(Baseline(name="slow_rival", title="Slow rival", source="A test"))
