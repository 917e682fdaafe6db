"""Dense 3x3 convolutions of small maps as matrix products, one for each pair of pixels.

The last stages of a ResNet turn 48-pixel images into maps of 3x3 and 2x2. On those, oneDNN's
convolution takes 3 to 8 times as long as the products below: it multiplies by padding, and its
gradients leave the fast path. Every pixel of the output sees only the pixels of the input within
one row and column: for each such pair, the input's channels times one tap of the kernel.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fersearch.models.cpu_training import DepthwiseConv2d, PointwiseConv2d, runs_on_cpu

__all__ = ["SmallMapConv2d", "train_fast_on_cpu"]

# Maps of at most so many pixels a side come out of a convolution that takes the products' way. On
# maps of 3x3 a processor with native bfloat16 convolves in it as fast as it multiplies in float32.
MOST_SIDE = {torch.float32: 3, torch.float64: 3, torch.bfloat16: 2}
# Below so many weights a tap, starting the products takes longer than oneDNN needs for all.
LEAST_WEIGHTS = 2**15


@functools.lru_cache(maxsize=64)
def _pairs(height: int, width: int, stride: int) -> tuple[tuple[int, int, int, int], ...]:
    """Return which pixels meet: number of the output's, of the input's, row and column of the tap.

    Pixels are numbered row by row; the kernel is 3x3 and the padding 1.
    """
    found = []
    out_height, out_width = (height - 1) // stride + 1, (width - 1) // stride + 1
    for out_y in range(out_height):
        for out_x in range(out_width):
            for tap_y in range(3):
                for tap_x in range(3):
                    y, x = out_y * stride + tap_y - 1, out_x * stride + tap_x - 1
                    if 0 <= y < height and 0 <= x < width:
                        found.append((out_y * out_width + out_x, y * width + x, tap_y, tap_x))
    return tuple(found)


def _pixels(x: Tensor) -> Tensor:
    """Return a map ``(B, C, H, W)`` as ``(B, H * W, C)``: a view where it is channels-last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


class SmallMapConv2d(nn.Conv2d):
    """Convolution with a kernel of 3x3, padding 1 and no bias that is fast on small maps.

    It takes the products' way on a CPU, on channels-last maps, in training, and in
    evaluation too where ``in_evaluation`` is set. Elsewhere, and on larger maps, it is PyTorch's.
    Under bfloat16 autocast the products are float32.
    """

    in_evaluation = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the map ``(B, C', H / stride, W / stride)`` of a float map ``(B, C, H, W)``."""
        stride = self.stride[0]
        side = (max(x.shape[2:]) - 1) // stride + 1
        if (
            side > MOST_SIDE.get(x.dtype, 0)
            or not (self.training or self.in_evaluation)
            or not runs_on_cpu(x, tuple(MOST_SIDE))
        ):
            return super().forward(x)
        convolved: Tensor = _SmallMapConvolution.apply(x, self.weight, stride)
        return convolved


class _SmallMapConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.stride, ctx.dtype = stride, x.dtype
        x = x.to(weight.dtype)
        ctx.save_for_backward(x, weight)
        batch, _, height, width = x.shape
        out_height, out_width = (height - 1) // stride + 1, (width - 1) // stride + 1
        pixels, taps = _pixels(x), weight.permute(2, 3, 1, 0)
        mixed = x.new_empty((batch, out_height * out_width, len(weight)))
        begun = set()
        with torch.autocast("cpu", enabled=False):
            for to, of, row, column in _pairs(height, width, stride):
                if to in begun:
                    mixed[:, to].addmm_(pixels[:, of], taps[row, column])
                else:
                    torch.mm(pixels[:, of], taps[row, column], out=mixed[:, to])
                    begun.add(to)
        return mixed.view(batch, out_height, out_width, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_mixed = _pixels(grads[0].to(weight.dtype))
        height, width = x.shape[2:]
        pairs = _pairs(height, width, ctx.stride)
        of_x, of_weight = None, None
        with torch.autocast("cpu", enabled=False):
            if ctx.needs_input_grad[0]:
                taps = weight.permute(2, 3, 0, 1)
                spread = x.new_zeros(_pixels(x).shape)
                for to, of, row, column in pairs:
                    spread[:, of].addmm_(of_mixed[:, to], taps[row, column])
                of_x = spread.view(len(x), height, width, -1).permute(0, 3, 1, 2).to(ctx.dtype)
            if ctx.needs_input_grad[1]:
                pixels = _pixels(x)
                of_weight = torch.zeros_like(weight, memory_format=torch.channels_last)
                taps = of_weight.permute(2, 3, 0, 1)
                for to, of, row, column in pairs:
                    taps[row, column].addmm_(of_mixed[:, to].t(), pixels[:, of])
        return of_x, of_weight, None


def train_fast_on_cpu(model: nn.Module, *, in_evaluation: bool = False) -> nn.Module:
    """Let the convolutions of any network take the ways that are faster on a CPU; return it.

    Its modules change their class and nothing else: weights, names, hooks and random numbers stay
    as they were. A module of a class of somebody's own is left alone.

    Args:
        model: The network.
        in_evaluation: Do it in evaluation, too, where a way has that choice: answers then differ
            by rounding from those of the same network elsewhere.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = _faster(module)
        if isinstance(module, SmallMapConv2d):
            module.in_evaluation = in_evaluation
    return model


def _faster(layer: nn.Conv2d) -> type[nn.Conv2d]:
    """Return the class that computes what ``layer`` computes, faster where there is one."""
    plain = layer.bias is None and layer.padding_mode == "zeros" and layer.dilation == (1, 1)
    if not plain or layer.stride not in {(1, 1), (2, 2)}:
        return nn.Conv2d
    form = layer.kernel_size, layer.padding
    if form == ((1, 1), (0, 0)) and layer.groups == 1 and layer.stride == (1, 1):
        return PointwiseConv2d
    if form == ((3, 3), (1, 1)):
        if layer.groups == layer.in_channels == layer.out_channels:
            return DepthwiseConv2d
        if layer.groups == 1 and layer.in_channels * layer.out_channels >= LEAST_WEIGHTS:
            return SmallMapConv2d
    return nn.Conv2d
