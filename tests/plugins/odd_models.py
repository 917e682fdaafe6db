"""Networks that cannot be students, or only just, each in its own way."""

import timm
import torch
from timm.models import register_model
from torch import Tensor, nn


class Small(nn.Module):
    """A convolution and a linear layer."""

    def __init__(self, num_classes: int, in_chans: int = 3, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 8, 3, stride=2, padding=1)
        self.dropout = nn.Dropout(drop_rate)
        self.fc = nn.Linear(8, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return self.conv(x).relu().mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.features(x)))


def small(options: dict) -> dict:
    return {"num_classes": options["num_classes"], "drop_rate": options.get("drop_rate", 0.0)}


@register_model
def odd_grey(pretrained: bool = False, **options: object) -> nn.Module:
    """Take one channel unless it is told otherwise, and say nothing of it."""
    return Small(**small(options), in_chans=options.get("in_chans", 1))


@register_model
def odd_only_grey(pretrained: bool = False, **options: object) -> nn.Module:
    """Take one channel whatever it is told, and say so."""
    network = Small(**small(options), in_chans=1)
    network.in_chans = 1
    return network


@register_model
def odd_no_dropout(
    pretrained: bool = False,
    num_classes: int = 7,
    pretrained_cfg: object = None,
    pretrained_cfg_overlay: object = None,
    cache_dir: object = None,
) -> nn.Module:
    """Know nothing of drop_rate."""
    return Small(num_classes)


@register_model
def odd_deaf(pretrained: bool = False, **options: object) -> nn.Module:
    """Take drop_rate and leave it alone; begin with a classifier of zeros."""
    network = Small(options["num_classes"])
    nn.init.zeros_(network.fc.weight)
    return network


@register_model
def odd_zero_head(pretrained: bool = False, **options: object) -> nn.Module:
    """Begin with a classifier of zeros, which hides the dropout before it."""
    network = Small(**small(options))
    nn.init.zeros_(network.fc.weight)
    return network


@register_model
def odd_two_heads(pretrained: bool = False, **options: object) -> nn.Module:
    """Give two tensors of logits in training and one in evaluation."""

    class TwoHeads(Small):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            return (logits, logits) if self.training else logits

    return TwoHeads(**small(options))


@register_model
def odd_tuple(pretrained: bool = False, **options: object) -> nn.Module:
    """Give a tuple always."""

    class Tuple(Small):
        def forward(self, x: Tensor) -> Tensor:
            return (super().forward(x),)

    return Tuple(**small(options))


@register_model
def odd_features(pretrained: bool = False, **options: object) -> nn.Module:
    """Give features, whatever the number of classes."""

    class Features(Small):
        def forward(self, x: Tensor) -> Tensor:
            return self.features(x)[:, :5]

    return Features(**{**small(options), "num_classes": 1})


@register_model
def odd_wide_training(pretrained: bool = False, **options: object) -> nn.Module:
    """Give more logits in training than in evaluation."""

    class Wide(Small):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            return torch.cat([logits, logits], dim=1) if self.training else logits

    return Wide(**small(options))


@register_model
def odd_frozen(pretrained: bool = False, **options: object) -> nn.Module:
    """Have nothing to train."""
    return Small(**small(options)).requires_grad_(False)


@register_model
def odd_infinite(pretrained: bool = False, **options: object) -> nn.Module:
    """Give infinite logits."""
    network = Small(**small(options))
    nn.init.constant_(network.fc.bias, float("inf"))
    return network


@register_model
def odd_strides(pretrained: bool = False, **options: object) -> nn.Module:
    """View its maps as if they lay in memory channel by channel."""

    class Strides(Small):
        def features(self, x: Tensor) -> Tensor:
            maps = self.conv(x)
            return maps.view(len(maps), -1).view(len(maps), 8, -1).mean(dim=2)

    return Strides(**small(options))


@register_model
def odd_looking(pretrained: bool = False, **options: object) -> nn.Module:
    """Decide by the values of the image, which torch's meta device does not have."""

    class Looking(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.mean().item() > 0 else -x)

    return Looking(**small(options))


@register_model
def odd_unbuildable(pretrained: bool = False, **options: object) -> nn.Module:
    """Fail as it is built."""
    raise ValueError("this network cannot be built")


@register_model
def odd_failing_late(pretrained: bool = False, **options: object) -> nn.Module:
    """Train on two images and fail on more."""
    network = timm.create_model("tiny_student", **options)

    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            if self.training and len(x) > 2:
                raise RuntimeError("this network fails later")
            return self.network(x)

    return Late()
