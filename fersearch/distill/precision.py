"""Where bfloat16 pays: dense convolutions on hardware that computes it natively."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from fersearch.distill.job import Execution
from fersearch.environment import native_bfloat16

__all__ = ["autocast", "full_precision", "trains_in_bfloat16", "uses_bfloat16"]

# On a CPU, the bfloat16 gradient of a strided convolution's weights on a map of one pixel is partly
# uninitialised memory (seen with PyTorch 2.15 and oneDNN, tests/distill): smaller images, whose
# last maps are that small, train in float32.
LEAST_CPU_SIZE = 48


def uses_bfloat16(model: nn.Module, execution: Execution) -> bool:
    """Return whether ``model`` runs under bfloat16 autocast.

    Only where the device computes in it natively, and only networks without depthwise
    convolutions: measured at 48 px with AVX512-BF16, ResNet18 trains 1.4-1.8 times as fast,
    ShuffleNetV2 0.5 times (``benchmarks/precision.py``). On an H100 at 48 px, a recorded step of
    ShuffleNetV2 takes 1.3 times as long in bfloat16, one of EFF-ResNet18 as long as in float32.
    """
    if execution.autocast == "never" or not native_bfloat16(execution.device):
        return False
    return not any(
        isinstance(module, nn.Conv2d) and module.groups > 1 for module in model.modules()
    )


def trains_in_bfloat16(model: nn.Module, execution: Execution, *, image_size: int) -> bool:
    """Return whether ``model`` is trained under bfloat16 autocast; images of ``image_size`` px."""
    on_gpu = execution.device.startswith("cuda")
    return (on_gpu or image_size >= LEAST_CPU_SIZE) and uses_bfloat16(model, execution)


def autocast(execution: Execution, *, enabled: bool) -> AbstractContextManager[None]:
    """Return the bfloat16 autocast context of the execution's device."""
    device = execution.device.split(":")[0]
    context: AbstractContextManager[None] = torch.autocast(
        device, dtype=torch.bfloat16, enabled=enabled
    )
    return context


def full_precision(logits: Tensor) -> Tensor:
    """Return ``logits`` for a loss: half precision becomes float32, what is wider stays."""
    return logits.float() if logits.dtype.itemsize < 4 else logits
