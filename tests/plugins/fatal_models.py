"""Networks that kill the process that trains them, the first time or every time."""

import os
import signal
from pathlib import Path

import timm
from timm.models import register_model
from torch import Tensor, nn

from fersearch.models import Baseline, register_baseline


class Fatal(nn.Module):
    """A tiny network that ends its process in training while ``$FATAL_LIVES`` holds a file."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not x.is_meta and x.shape[0] > 1:
            lives = sorted(Path(os.environ["FATAL_LIVES"]).iterdir())
            if lives:
                lives[0].unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return self.network(x)


@register_model
def fatal_student(pretrained: bool = False, **options: object) -> nn.Module:
    return Fatal(timm.create_model("tiny_student", **options))


@register_model
def fatal_teacher(pretrained: bool = False, **options: object) -> nn.Module:
    return Fatal(timm.create_model("tiny_teacher", **options))


register_baseline(Baseline(name="fatal_student", title="Fatal", source="A test"))
