"""Networks that are hard to deploy, brought in as a user's own would be: a plug-in."""

import random

import torch
from timm.models import register_model
from torch import Tensor, nn


class Pooled(nn.Module):
    """Six maps, their means, and a linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(6, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.conv(x)).mean(dim=(2, 3)))


@register_model
def awkward_dicing(pretrained: bool = False, **options: object) -> nn.Module:
    """Add a number drawn outside PyTorch at each call: an exporter takes one draw for all."""

    class Dicing(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + random.random()

    return Dicing(options["num_classes"])


@register_model
def awkward_branching(pretrained: bool = False, **options: object) -> nn.Module:
    """Look at the values of its input to decide what to do."""

    class Branching(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            return logits * 2 if bool(logits.sum() > 0) else logits

    return Branching(options["num_classes"])


@register_model
def awkward_uneven(pretrained: bool = False, **options: object) -> nn.Module:
    """Keep one map ten thousand times larger than the others: eight bits see nothing else."""

    class Uneven(Pooled):
        def forward(self, x: Tensor) -> Tensor:
            maps = torch.relu(self.conv(x))
            uneven = torch.cat([maps, 1e4 * maps[:, :1]], dim=1)
            return self.fc(torch.relu(uneven).mean(dim=(2, 3))[:, :6])

    return Uneven(options["num_classes"])


@register_model
def awkward_flat(pretrained: bool = False, **options: object) -> nn.Module:
    """One linear layer: no map for Grad-CAM."""

    class Flat(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.fc = nn.Linear(3 * 16 * 16, num_classes)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.flatten(1))

    return Flat(options["num_classes"])
