"""Max pooling that ``torch.compile`` leaves to PyTorch's own kernels on a CPU.

Compiled, pooling becomes loops over single numbers, its gradient above all, which is scattered in
channels-first order and transposed after it; batch normalisation, fused into the same loops, is
slow with it. An operator that the compiler cannot look into keeps both fast. What it is worth
stands in docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from fersearch.models.cpu_training import trains_on_cpu

__all__ = ["OpaqueMaxPool2d"]


class OpaqueMaxPool2d(nn.MaxPool2d):
    """PyTorch's max pooling, also where a training step is compiled for a CPU.

    Args:
        kernel_size: Pixels a side of the window.
        stride: Pixels from window to window.
        padding: Pixels around the map, which are never the largest.
    """

    def __init__(self, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__(kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map ``(B, C, H', W')`` of the largest numbers of ``(B, C, H, W)``."""
        if torch.compiler.is_compiling() and trains_on_cpu(self, x):
            window = (_pair(side) for side in (self.kernel_size, self.stride, self.padding))
            largest: Tensor = _max_pool(x, *window)[0]
            return largest
        pooled: Tensor = super().forward(x)
        return pooled


def _pool(
    x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the largest numbers of each window and where they stood."""
    found: tuple[Tensor, Tensor] = torch.ops.aten.max_pool2d_with_indices(
        x, kernel, stride, padding
    )
    return found


_max_pool = torch.library.custom_op("fersearch::max_pool", _pool, mutates_args=())
_max_pool.register_fake(_pool)


@torch.library.custom_op("fersearch::max_pool_backward", mutates_args=())
def _max_pool_backward(
    grad: Tensor,
    x: Tensor,
    places: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
) -> Tensor:
    """Return the gradient of the map that was pooled."""
    # PyTorch's kernel is fast where the three share one memory format.
    grad = grad.contiguous(memory_format=torch.channels_last)
    spread: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        grad, x, kernel, stride, padding, [1, 1], False, places
    )
    return spread


@_max_pool_backward.register_fake
def _(grad: Tensor, x: Tensor, *_: Any) -> Tensor:
    del grad
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, *ctx.window = inputs
    ctx.save_for_backward(x, output[1])
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, None, None, None]:
    return _max_pool_backward(grad, *ctx.saved_tensors, *ctx.window), None, None, None


_max_pool.register_autograd(_gradients, setup_context=_keep)
