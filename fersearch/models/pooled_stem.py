"""A stem of convolution, batch normalisation and max pooling that trains faster on a CPU.

Batch normalisation is a straight line in each channel: where the line rises, the largest number of
a window stays the largest. So the pooling may come first, and leaves a quarter of the map to be
normalised. Where the line falls, the sign of the convolution's weights is turned, and of the scale.

The map before the pooling is the largest of the whole network. It is made, measured and pooled a
few images at a time, while they are in the processor's cache; so is its gradient, which is never
whole. ``torch.compile`` cannot look into it: it would make loops over single numbers of the
pooling. What all this is worth stands in docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from fersearch.models.batch_norm import ImagewiseBatchNorm2d, keep_statistics
from fersearch.models.cpu_training import trains_on_cpu

__all__ = ["pooled_first", "pools_first"]

# What a few images take of the map before the pooling: it should fit into a processor's cache.
PART_BYTES = 3 << 20


def pools_first(x: Tensor, stem: nn.Sequential, pooling: nn.Module) -> bool:
    """Return whether :func:`pooled_first` may stand for the layers of a stem.

    It may while they train on channels-last images on a CPU, where they are what they are in
    ShuffleNetV2 and where nothing is hooked on them that would not be called.

    Args:
        x: Images ``(B, C, H, W)``.
        stem: Convolution, batch normalisation and what follows after the pooling, a ReLU.
        pooling: Max pooling.
    """
    convolution: Any = stem[0]
    norm: Any = stem[1]
    return bool(
        trains_on_cpu(norm, x)
        and not torch.is_autocast_enabled("cpu")
        and type(convolution) is nn.Conv2d
        and convolution.bias is None
        and convolution.kernel_size == (3, 3)
        and convolution.padding == (1, 1)
        and convolution.padding_mode == "zeros"
        and convolution.dilation == (1, 1)
        and convolution.groups == 1
        and type(norm) in {nn.BatchNorm2d, ImagewiseBatchNorm2d}
        and norm.affine
        and norm.momentum is not None
        and type(pooling) is nn.MaxPool2d
        and _pair(pooling.dilation) == (1, 1)
        and not pooling.ceil_mode
        and _pixels(x, convolution.stride) > 1  # as batch normalisation asks for
        and not any(_is_hooked(layer) for layer in (stem, convolution, norm, pooling))
    )


def _is_hooked(layer: nn.Module) -> bool:
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


def pooled_first(
    x: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d, pooling: nn.MaxPool2d
) -> Tensor:
    """Return ``pooling(norm(convolution(x)))``, up to rounding; running statistics are kept up.

    Gradients are the same, too, except where numbers of one window are equal, before rounding or
    because their channel's scale is zero: another one of them may be taken for the largest.

    Args:
        x: Channels-last images ``(B, C, H, W)``, float32 or float64, on a CPU.
        convolution: Makes the map that is pooled; its padding is 1.
        norm: In training mode.
        pooling: Makes ``(B, C', H', W')``, which is returned.
    """
    window = [*_pair(pooling.kernel_size), *_pair(pooling.stride), *_pair(pooling.padding)]
    outputs = _stem(
        x, convolution.weight, norm.weight, norm.bias, norm.eps, list(convolution.stride), window
    )
    keep_statistics(norm, *outputs[1:3], pixels=_pixels(x, convolution.stride))
    answer: Tensor = outputs[0]
    return answer


def _pixels(x: Tensor, stride: Sequence[int]) -> int:
    """Return the pixels, of all images, that a convolution of 3x3 makes."""
    height, width = x.shape[2:]
    return len(x) * ((height - 1) // stride[0] + 1) * ((width - 1) // stride[1] + 1)


def _parts(x: Tensor, weight: Tensor, stride: list[int]) -> tuple[Tensor, ...]:
    """Split images so that the map of each part takes about :data:`PART_BYTES`."""
    one = _pixels(x[:1], stride) * len(weight) * x.element_size()
    parts: tuple[Tensor, ...] = torch.split(x, max(1, PART_BYTES // one))
    return parts


def _signs(scale: Tensor) -> Tensor:
    """Return -1 where a channel's line falls, 1 elsewhere."""
    return torch.where(scale < 0, -1.0, 1.0).to(scale.dtype)


def _pool(made: Tensor, window: list[int]) -> tuple[Tensor, Tensor]:
    """Return the largest numbers of each window and where they stood."""
    found: tuple[Tensor, Tensor] = torch.ops.aten.max_pool2d_with_indices(
        made, window[:2], window[2:4], window[4:]
    )
    return found


@torch.library.custom_op("fersearch::stem", mutates_args=())
def _stem(
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor,
    eps: float,
    stride: list[int],
    window: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Return the answer; mean and variance of the convolution; and what the gradient needs.

    That is the pooled map, and in parts its places and the map it was: all three of the turned
    convolution.
    """
    signs = _signs(scale)
    turned = weight * signs.view(-1, 1, 1, 1)
    parts = _parts(x, weight, stride)
    maps, means, variances, tops, places = [], [], [], [], []
    for part in parts:
        made = F.conv2d(part, turned, None, stride, 1)
        mean, variance = torch.batch_norm_update_stats(made, None, None, 0.0)
        top, place = _pool(made, window)
        maps.append(made)
        means.append(mean)
        variances.append(variance)
        tops.append(top)
        places.append(place)
    # Mean and variance of the whole from those of its parts.
    shares = torch.tensor([[len(part) / len(x)] for part in parts], dtype=x.dtype)
    of_parts = torch.stack(means)
    mean = (shares * of_parts).sum(0)
    variance = (shares * (torch.stack(variances) + (of_parts - mean) ** 2)).sum(0)
    pooled = torch.cat(tops)
    answer = F.batch_norm(pooled, mean, variance, scale.abs(), shift, False, 0.0, eps)
    return answer, mean * signs, variance, pooled, places, maps


@_stem.register_fake
def _(
    x: Tensor, weight: Tensor, scale: Tensor, *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor], list[Tensor]]:
    *_, stride, window = others
    maps = [F.conv2d(part, weight, None, stride, 1) for part in _parts(x, weight, stride)]
    tops, places = zip(*(_pool(made, window) for made in maps), strict=True)
    pooled = torch.cat(tops)
    answer, mean, variance = torch.empty_like(pooled), torch.empty_like(scale), scale.clone()
    return answer, mean, variance, pooled, list(places), maps


@torch.library.custom_op("fersearch::stem_backward", mutates_args=())
def _stem_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    scale: Tensor,
    mean: Tensor,
    variance: Tensor,
    pooled: Tensor,
    places: list[Tensor],
    maps: list[Tensor],
    eps: float,
    stride: list[int],
    window: list[int],
    of_images: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of images (empty unless asked for), weights, scale and shift."""
    signs = _signs(scale)
    mean = mean * signs
    # Normalisation of the pooled map as if mean and variance were constants ...
    of_pooled, of_scale, of_shift = torch.ops.aten.native_batch_norm_backward(
        grad, pooled, scale.abs(), mean, variance, None, None, False, eps, [True, True, True]
    )
    # ... and what comes of their not being so: a line in the map (Ioffe and Szegedy, 2015).
    pixels = _pixels(x, stride)
    inverse = torch.rsqrt(variance + eps)
    slope = -scale.abs() * inverse**2 * of_scale / pixels
    offset = -scale.abs() * inverse * of_shift / pixels - slope * mean
    # A row of pixels is one long vector: 24 channels are too few for one.
    width = maps[0].shape[3]
    slope, offset = slope.repeat(width), offset.repeat(width)
    turned = weight * signs.view(-1, 1, 1, 1)
    of_weight, of_x = torch.zeros_like(weight), []
    for part, made, place, top in zip(
        _parts(x, weight, stride), maps, places, of_pooled.split(len(maps[0])), strict=True
    ):
        spread = torch.ops.aten.max_pool2d_with_indices_backward(
            top, made, window[:2], window[2:4], window[4:], [1, 1], False, place
        )
        rows, made = (item.permute(0, 2, 3, 1).view(-1, len(slope)) for item in (spread, made))
        rows.addcmul_(made, slope).add_(offset)
        of_part, of_turned, _ = torch.ops.aten.convolution_backward(
            *(spread, part, turned, None, stride, [1, 1], [1, 1]),
            *(False, [0, 0], 1, [of_images, True, False]),
        )
        of_weight += of_turned
        of_x.append(of_part)
    images = torch.cat(of_x) if of_images else x.new_empty(0)
    return images, of_weight * signs.view(-1, 1, 1, 1), of_scale * signs, of_shift


@_stem_backward.register_fake
def _(
    grad: Tensor, x: Tensor, weight: Tensor, scale: Tensor, *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del grad
    images = torch.empty_like(x) if others[-1] else x.new_empty(0)
    return images, torch.empty_like(weight), torch.empty_like(scale), torch.empty_like(scale)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    x, weight, scale, _, ctx.eps, ctx.stride, ctx.window = inputs
    _, mean, variance, pooled, places, maps = output
    ctx.mark_non_differentiable(mean, variance, pooled, *places, *maps)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, weight, scale, mean, variance, pooled, *places, *maps)


def _gradients(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    x, weight, scale, mean, variance, pooled, *parts = ctx.saved_tensors
    half = len(parts) // 2
    images, *others = _stem_backward(
        *(grad.contiguous(memory_format=torch.channels_last), x, weight, scale),
        *(mean, variance, pooled, parts[:half], parts[half:]),
        *(ctx.eps, ctx.stride, ctx.window, ctx.needs_input_grad[0]),
    )
    return images if ctx.needs_input_grad[0] else None, *others, None, None, None


_stem.register_autograd(_gradients, setup_context=_keep)
