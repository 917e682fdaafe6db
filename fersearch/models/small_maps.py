"""Dense 3x3 convolutions of small maps as matrix products.

The last stages of a ResNet turn 48-pixel images into maps of 3x3 and 2x2. On those, oneDNN's
convolution takes 3 to 8 times as long as the products below: it multiplies by padding, and its
gradients leave the fast path.

In float32 there is a product for each pair of pixels: every pixel of the output sees only the
pixels of the input within one row and column, and for each such pair the input's channels are
multiplied by one tap of the kernel. In bfloat16, on a processor that multiplies tiles of it (AMX),
one large product of all gathered neighbourhoods is faster, though a part of it is padding.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fersearch.environment import multiplies_bfloat16_tiles
from fersearch.models.batch_norm import ImagewiseBatchNorm2d
from fersearch.models.cpu_training import DepthwiseConv2d, PointwiseConv2d, runs_on_cpu

__all__ = ["SmallMapConv2d", "train_fast_on_cpu"]

# Maps of at most so many pixels a side come out of a convolution that takes the products' way. On
# maps of 3x3 a processor with native bfloat16 convolves in it as fast as it multiplies in float32;
# one with tiles gathers, up to the last side.
MOST_SIDE = {torch.float32: 3, torch.float64: 3, torch.bfloat16: 2}
MOST_GATHERED_SIDE = 4
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
    Maps in bfloat16 are multiplied in it on processors with tiles, on others in float32.
    """

    in_evaluation = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the map ``(B, C', H / stride, W / stride)`` of a float map ``(B, C, H, W)``."""
        stride = self.stride[0]
        side = (max(x.shape[2:]) - 1) // stride + 1
        if not (self.training or self.in_evaluation) or not runs_on_cpu(x, tuple(MOST_SIDE)):
            return super().forward(x)
        gathers = x.dtype == torch.bfloat16 and multiplies_bfloat16_tiles()
        if side > (MOST_GATHERED_SIDE if gathers else MOST_SIDE[x.dtype]):
            return super().forward(x)
        way = _GatheredConvolution if gathers else _PairedConvolution
        convolved: Tensor = way.apply(x, self.weight, stride)
        return convolved


class _GatheredConvolution(torch.autograd.Function):
    """One product: all neighbourhoods ``(B * H' * W', 9 * C)`` times the kernels' ``(9 * C, C')``.

    Numbers are those of ``x``; sums over a neighbourhood are rounded to them once.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        kernels = weight.permute(0, 2, 3, 1).reshape(len(weight), -1).to(x.dtype)
        ctx.save_for_backward(x, kernels)
        ctx.stride, ctx.dtype = stride, weight.dtype
        around = _neighbourhoods(x, stride)
        convolved = around.flatten(3).flatten(0, 2) @ kernels.t()
        return convolved.view(*around.shape[:3], -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, kernels = ctx.saved_tensors
        of_mixed = _pixels(grads[0].to(x.dtype)).flatten(0, 1)
        stride, (height, width) = ctx.stride, x.shape[2:]
        of_x, of_weight = None, None
        if ctx.needs_input_grad[0]:
            out_height, out_width = grads[0].shape[2:]
            of_around = (of_mixed @ kernels).view(len(x), out_height, out_width, 3, 3, -1)
            # In float32: nine sums in bfloat16 would be rounded nine times.
            spread = torch.zeros((len(x), height + 2, width + 2, x.shape[1]))
            for row in range(3):
                for column in range(3):
                    rows = slice(row, row + stride * out_height, stride)
                    columns = slice(column, column + stride * out_width, stride)
                    spread[:, rows, columns] += of_around[:, :, :, row, column]
            inner = spread[:, 1 : height + 1, 1 : width + 1].permute(0, 3, 1, 2)
            of_x = inner.to(x.dtype, memory_format=torch.channels_last)
        if ctx.needs_input_grad[1]:
            # Gathered once more: kept, they would take nine times the memory of the map.
            around = _neighbourhoods(x, stride).flatten(3).flatten(0, 2)
            of_kernels = (of_mixed.t() @ around).to(ctx.dtype)
            of_weight = of_kernels.view(len(kernels), 3, 3, -1).permute(0, 3, 1, 2)
        return of_x, of_weight, None


def _neighbourhoods(x: Tensor, stride: int) -> Tensor:
    """Return what each pixel of the output sees, ``(B, H', W', 3, 3, C)``, dense in memory."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    around = padded.unfold(1, 3, stride).unfold(2, 3, stride)
    return around.permute(0, 1, 2, 4, 5, 3).contiguous()


class _PairedConvolution(torch.autograd.Function):
    """A product for each pair of pixels that meet, in the weights' numbers."""

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
    """Let the layers of any network take the ways that are faster on a CPU; return it.

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
        elif type(module) is nn.BatchNorm2d:
            module.__class__ = ImagewiseBatchNorm2d
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
