"""Batch normalisation whose sums are made image by image in steps compiled for a CPU.

``torch.compile`` sums a channels-last map over all its pixels in bands of 16 channels: every band
goes through the whole map, and what one band has fetched into the cache has left it when the next
one comes. Summed image by image, and then over the images, the bands of an image find it in the
cache. What that is worth stands in docs/performance.md.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fersearch.models.cpu_training import trains_on_cpu

__all__ = ["ImagewiseBatchNorm2d", "keep_statistics"]


class ImagewiseBatchNorm2d(nn.BatchNorm2d):
    """PyTorch's batch normalisation, with other sums where a step is compiled for a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised map, ``(B, C, H, W)`` as ``x``."""
        if not (
            torch.compiler.is_compiling()
            and trains_on_cpu(self, x)
            and self.affine
            and self.momentum is not None
            and x.numel() > x.shape[1]  # pixels, without which there is no variance
        ):
            return super().forward(x)
        normalised, mean, variance = _Normalise.apply(x, self.weight, self.bias, self.eps)
        keep_statistics(self, mean, variance, pixels=x.numel() // x.shape[1])
        answer: Tensor = normalised
        return answer


def keep_statistics(norm: Any, mean: Tensor, variance: Tensor, *, pixels: int) -> None:
    """Keep running statistics up as batch normalisation does, where it does.

    Args:
        norm: A ``torch.nn.BatchNorm2d`` with a momentum.
        mean: Of the batch, ``(C,)``.
        variance: Of the batch, ``(C,)``, divided by the number of pixels.
        pixels: Of all images of the batch, at least 2.
    """
    if not norm.track_running_stats:
        return
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (pixels / (pixels - 1)), norm.momentum)


class _Normalise(torch.autograd.Function):
    """Normalise over images and pixels; gradients as in Ioffe and Szegedy, 2015, section 3."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        variances, means = torch.var_mean(x, (2, 3), correction=0)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        inverse = torch.rsqrt(variance + eps)
        ctx.save_for_backward(x, scale, mean, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return (x - _of(mean)) * _of(inverse * scale) + _of(shift), mean, variance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, scale, mean, inverse = ctx.saved_tensors
        grad = grads[0]
        pixels = x.numel() // x.shape[1]
        centred = x - _of(mean)
        of_shift = grad.sum((2, 3)).sum(0)
        of_scale = (grad * centred).sum((2, 3)).sum(0) * inverse
        line = _of(of_shift / pixels) + centred * _of(of_scale * inverse / pixels)
        return (grad - line) * _of(inverse * scale), of_scale, of_shift, None


def _of(channels: Tensor) -> Tensor:
    """Return numbers of channels so that they meet a map."""
    return channels.view(-1, 1, 1)
