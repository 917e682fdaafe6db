"""Networks small enough to train in a blink, brought in as a user's own would be: a plug-in."""

import torch
from timm.models import register_model
from torch import Tensor, nn


class TinyNet(nn.Module):
    """Two convolutions, batch normalisation, dropout and a linear layer."""

    def __init__(self, num_classes: int, *, width: int, drop_rate: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.features(x).mean(dim=(2, 3))))


@register_model
def tiny_student(pretrained: bool = False, **options: object) -> nn.Module:
    return TinyNet(options["num_classes"], width=8, drop_rate=options.get("drop_rate", 0.0))


@register_model
def tiny_teacher(pretrained: bool = False, **options: object) -> nn.Module:
    splits = options.get("ffe_splits", 4)
    width = {2: 12, 4: 16, 8: 20}[splits]
    return TinyNet(options["num_classes"], width=width, drop_rate=options.get("drop_rate", 0.0))


@register_model
def tiny_failing(pretrained: bool = False, **options: object) -> nn.Module:
    class Failing(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            if self.training and x.shape[0] > 1 and not x.is_meta:
                raise RuntimeError("this network cannot be trained")
            return super().forward(x)

    return Failing(options["num_classes"], width=4, drop_rate=options.get("drop_rate", 0.0))


@register_model
def tiny_slow(pretrained: bool = False, **options: object) -> nn.Module:
    """Sleep at every step, so that a test has time to interrupt."""
    import time

    class Slow(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                time.sleep(0.06)
            return super().forward(x)

    return Slow(options["num_classes"], width=8, drop_rate=options.get("drop_rate", 0.0))


@register_model
def tiny_wide(pretrained: bool = False, **options: object) -> nn.Module:
    return TinyNet(options["num_classes"], width=24, drop_rate=options.get("drop_rate", 0.0))


@register_model
def tiny_middle(pretrained: bool = False, **options: object) -> nn.Module:
    return TinyNet(options["num_classes"], width=16, drop_rate=options.get("drop_rate", 0.0))


@register_model
def tiny_unexportable(pretrained: bool = False, **options: object) -> nn.Module:
    """Decide by a value on the way, which no graph can hold."""

    class Deciding(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            if not x.is_meta and logits.detach().abs().sum().item() > 1e9:
                return logits * 0.0
            return logits

    return Deciding(options["num_classes"], width=8, drop_rate=options.get("drop_rate", 0.0))
