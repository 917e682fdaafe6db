"""Layers that train faster on a CPU and compute what PyTorch's own compute, up to rounding.

Each takes its own way only while it trains on channels-last maps on a CPU (:func:`trains_on_cpu`).
Everywhere else, evaluation, export, tracing, ``vmap`` and GPUs included, it is PyTorch's layer.
Parameters, their names and their initial values are PyTorch's always. What each is worth stands in
docs/performance.md.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "DepthwiseConv2d",
    "PointwiseConv2d",
    "interleaved",
    "runs_on_cpu",
    "trains_on_cpu",
    "twice",
]

# oneDNN's gradient of a depthwise kernel of 3x3 takes 8 to 14 times as long on output maps of 2x2
# as on maps of 3x3, and 2 to 6 times on single pixels.
LEAST_FAST_SIDE = 3

# From so many pixels on, of all images, a convolution of oneDNN is worth its conversion of weights.
MANY_PIXELS = 8192


def trains_on_cpu(module: nn.Module, x: Tensor) -> bool:
    """Return whether ``module`` is in training mode and ``x`` a channels-last map on a CPU.

    Args:
        module: The layer that is about to see the map.
        x: Map ``(B, C, H, W)``; halves of a channels-last map count as channels-last.
    """
    return module.training and runs_on_cpu(x, (torch.float32, torch.float64))


def runs_on_cpu(x: Tensor, dtypes: tuple[torch.dtype, ...]) -> bool:
    """Return whether ``x`` is a channels-last CPU map of one of ``dtypes``.

    Not while it is exported, traced or inside a transform of ``torch.func``.

    Args:
        x: Map ``(B, C, H, W)``; halves of a channels-last map count as channels-last.
        dtypes: Number types that count.
    """
    if x.device.type != "cpu" or x.dtype not in dtypes or x.stride(1) != 1:
        return False
    if torch.compiler.is_compiling():
        return not torch.compiler.is_exporting()
    # Inside torch.func's transforms, as when students are stacked, PyTorch's layers run.
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    return not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


class PointwiseConv2d(nn.Conv2d):
    """Convolution with a kernel of one pixel, stride 1, no padding and no bias.

    In channels-last memory it is one matrix product, which skips oneDNN's conversion of the
    weights in every call, forward and backward. From ``many_pixels`` on, of all images, where that
    conversion weighs little, it is oneDNN's convolution (of float32, and where there is oneDNN).
    """

    many_pixels = sys.maxsize
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        many_pixels = MANY_PIXELS

    @classmethod
    def taking_over(cls, layer: nn.Conv2d) -> PointwiseConv2d:
        """Return a layer that owns the weights of ``layer``; no random numbers are drawn."""
        with torch.device("meta"):
            taken = cls(layer.in_channels, layer.out_channels, 1, bias=False)
        taken.weight = layer.weight
        return taken.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map ``(B, out_channels, H, W)`` of a float map ``(B, in_channels, H, W)``."""
        if not trains_on_cpu(self, x):
            return super().forward(x)
        batch, channels, height, width = x.shape
        if batch * height * width >= self.many_pixels and x.dtype == torch.float32:
            # Half of a map is made dense once, instead of forward and backward.
            return super().forward(x.contiguous(memory_format=torch.channels_last))
        pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
        mixed = pixels.mm(self.weight.flatten(1).t())
        return mixed.view(batch, height, width, -1).permute(0, 3, 1, 2)


class DepthwiseConv2d(nn.Conv2d):
    """Depthwise convolution with a kernel of 3x3, padding 1 and no bias."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the map ``(B, C, H / stride, W / stride)`` of a float map ``(B, C, H, W)``."""
        stride = self.stride[0]
        smallest = (min(x.shape[2:]) - 1) // stride + 1
        if smallest >= LEAST_FAST_SIDE or not trains_on_cpu(self, x):
            return super().forward(x)
        convolved: Tensor = _DepthwiseOnSmallMaps.apply(x, self.weight, stride)
        return convolved


class _DepthwiseOnSmallMaps(torch.autograd.Function):
    """A depthwise convolution of 3x3 whose weights get their gradient on larger maps.

    Zeros around the gradient add nothing to the sum that is the gradient of the weights.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv2d(x, weight, None, stride, 1, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        stride: int = ctx.stride

        def gradients(grad: Tensor, x: Tensor, wanted: list[bool]) -> tuple[Tensor | None, ...]:
            both: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
                *(grad, x, weight, None, [stride, stride], [1, 1], [1, 1]),
                *(False, [0, 0], len(weight), [*wanted, False]),
            )
            return both

        of_x, of_weight = None, None
        if ctx.needs_input_grad[0]:
            of_x = gradients(grad, x, [True, False])[0]
        if ctx.needs_input_grad[1]:
            down, right = (max(LEAST_FAST_SIDE - side, 0) for side in grad.shape[2:])
            grad = F.pad(grad, (0, right, 0, down))
            x = F.pad(x, (0, right * stride, 0, down * stride))
            of_weight = gradients(grad, x, [False, True])[1]
        return of_x, of_weight, None


def interleaved(one: Tensor, other: Tensor) -> Tensor:
    """Return two channels-last ``(B, C, H, W)`` maps with their channels interleaved.

    It is ``torch.stack`` over a last axis that is then flattened, in two strided copies: stacking
    takes 4 to 5 times as long there, and hands strided gradients back, on which the gradient of
    ReLU takes 12 to 30 times as long.

    Returns:
        Channels-last ``(B, 2C, H, W)``.
    """
    if torch.compiler.is_compiling():  # which makes one loop of it, gradients included
        pair = torch.stack([one.permute(0, 2, 3, 1), other.permute(0, 2, 3, 1)], dim=4)
        return pair.flatten(3).permute(0, 3, 1, 2)
    mixed: Tensor = _Interleave.apply(one, other)
    return mixed


class _Interleave(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor) -> Tensor:
        del ctx
        one, other = one.permute(0, 2, 3, 1), other.permute(0, 2, 3, 1)
        pairs = one.new_empty((*one.shape, 2))
        pairs[..., 0].copy_(one)
        pairs[..., 1].copy_(other)
        return pairs.flatten(3).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        del ctx
        mixed = grads[0].permute(0, 2, 3, 1).contiguous()
        pairs = mixed.view(*mixed.shape[:3], -1, 2)
        one, other = (pairs[..., half].contiguous().permute(0, 3, 1, 2) for half in (0, 1))
        return one, other


def twice(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a map for each of the two layers that see it.

    In a compiled step the sum of the two gradients is made before it is used. The compiler would
    add them in the loop that takes every second channel of them (:func:`interleaved`), which then
    works on single numbers.
    """
    if torch.compiler.is_compiling():
        pair: tuple[Tensor, Tensor] = _Twice.apply(x)
        return pair
    return x, x


class _Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        del ctx
        return x.view_as(x), x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        del ctx
        total: Tensor = _sum(*grads)
        return total


@torch.library.custom_op("fersearch::sum", mutates_args=())
def _sum(one: Tensor, other: Tensor) -> Tensor:
    """Return the sum of two maps; ``torch.compile`` cannot look into it."""
    return one + other


@_sum.register_fake
def _(one: Tensor, other: Tensor) -> Tensor:
    return one + other
