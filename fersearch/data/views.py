"""Augmentation as a pure function: the view of image i in epoch e depends on (seed, e, i) alone.

Because a view does not depend on the batch it comes in, on the order of the data, or on how many
numbers somebody else drew, a teacher's answer to a view can be computed once and replayed.
The random numbers come from a counter: a 32-bit integer mix of (key of seed and epoch, image,
stream), in integer arithmetic that is exact and equal on every device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fersearch.data.preprocessing import Preprocessing
from fersearch.seeds import derive_seed

__all__ = ["Indices", "ViewPolicy", "Views", "counter_uniform", "epoch_order", "on_device"]

STREAMS = 16
MASK = 0xFFFFFFFF
# Numbers of images, int64 (B,): an array, or a tensor that may be on the device already.
Indices = np.ndarray | Tensor
# A GPU holds all images of a split where they take at most this share of its free memory.
RESIDENT_SHARE = 0.25
LOAD_IMAGES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewPolicy:
    """How far a training view may differ from its image; zero everywhere means no augmentation.

    Attributes:
        shift: Largest translation, as a fraction of the image side (a random crop).
        scale: Largest relative change of size: 0.1 means a zoom of 0.9-1.1.
        rotation: Largest rotation in degrees.
        flip: Probability of a horizontal flip.
        brightness: Largest change of brightness, in units of the 0-1 grey scale.
        contrast: Largest relative change of contrast.
        erase: Probability that one rectangle is replaced by a random grey value.
        erase_area: Largest share of the image that the rectangle covers.
    """

    shift: float = 0.06
    scale: float = 0.08
    rotation: float = 8.0
    flip: float = 0.5
    brightness: float = 0.1
    contrast: float = 0.15
    erase: float = 0.15
    erase_area: float = 0.12


def _mix(value: Tensor) -> Tensor:
    """Mix the low 32 bits of each int64: multiply-xorshift, a bijection on 0..2**32-1."""
    value = (value ^ (value >> 16)) & MASK
    value = (value * 0x21F0AAAD) & MASK
    value = value ^ (value >> 15)
    value = (value * 0x735A2D97) & MASK
    return value ^ (value >> 15)


def counter_uniform(seed: int, epoch: int, indices: Tensor) -> Tensor:
    """Return uniform numbers in [0, 1) for the images ``indices`` of one epoch.

    Args:
        seed: Seed of the views.
        epoch: Number of the epoch, from 0.
        indices: int64 ``(B,)``, numbers of the images in the training split.

    Returns:
        float32 ``(B, 16)``: sixteen independent streams an image, the same on CPU and GPU.
    """
    key = derive_seed(seed, "views", epoch)
    counter = indices.unsqueeze(1) * STREAMS + torch.arange(STREAMS, device=indices.device)
    mixed = _mix((counter & MASK) ^ (key & MASK))
    mixed = _mix(mixed ^ ((counter >> 32) & MASK) ^ (key >> 32))
    return (mixed >> 8).to(torch.float32) * (1.0 / (1 << 24))


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order in which an epoch visits ``count`` images: int64 ``(count,)``."""
    generator = np.random.Generator(np.random.Philox(derive_seed(seed, "order", epoch)))
    return generator.permutation(count)


def on_device(indices: Indices, device: torch.device) -> Tensor:
    """Return the numbers of images as a tensor on ``device``, int64 ``(B,)``."""
    numbers = torch.from_numpy(indices) if isinstance(indices, np.ndarray) else indices
    return numbers.to(device, non_blocking=True)


def _fits_on(device: torch.device, size: int) -> bool:
    """Tell whether ``size`` bytes of images should be kept on ``device``; on a CPU never."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return size <= RESIDENT_SHARE * free


class Views:
    """Training views and evaluation input of a set of images, made in batches on a device.

    Args:
        images: uint8 ``(N, C, S, S)``; kept where it is (a memory map stays one), and on a GPU
            that has room for all of them copied there once, at the first batch.
        preprocessing: How pixels become network input.
        policy: How far views may differ from their images.
        seed: Seed of the views.
        device: Where the batches are made.
    """

    def __init__(
        self,
        images: np.ndarray,
        *,
        preprocessing: Preprocessing,
        policy: ViewPolicy,
        seed: int,
        device: str = "cpu",
    ) -> None:
        self.images = images
        self.preprocessing = preprocessing
        self.policy = policy
        self.seed = seed
        self.device = torch.device(device)
        self._held: Tensor | None = None
        self._holds = _fits_on(self.device, images.nbytes)

    @classmethod
    def for_evaluation(
        cls, images: np.ndarray, *, preprocessing: Mapping[str, Any], device: str = "cpu"
    ) -> Views:
        """Prepare images for a saved model, whose config file holds its ``preprocessing``."""
        return cls(
            images,
            preprocessing=Preprocessing.from_plain(preprocessing),
            policy=ViewPolicy(),
            seed=0,
            device=device,
        )

    def __len__(self) -> int:
        return len(self.images)

    def _pixels(self, indices: Indices) -> Tensor:
        if self._holds:
            if self._held is None:
                self._held = self._copied()
            return self._held[on_device(indices, self.device)]
        numbers = indices if isinstance(indices, np.ndarray) else indices.cpu().numpy()
        # Fancy indexing copies the pixels out of the (read-only) memory map.
        return torch.from_numpy(self.images[numbers]).to(self.device, non_blocking=True)

    def _copied(self) -> Tensor:
        """Copy all images to the device, a part at a time: the host never holds them all."""
        held = torch.empty(self.images.shape, dtype=torch.uint8, device=self.device)
        for start in range(0, len(self.images), LOAD_IMAGES):
            part = np.array(self.images[start : start + LOAD_IMAGES])
            held[start : start + len(part)] = torch.from_numpy(part)
        return held

    def evaluation(self, indices: Indices) -> Tensor:
        """Return the images unchanged as network input, float32 ``(B, 3, S, S)``."""
        return self.preprocessing(self._pixels(indices))

    def training(self, epoch: int, indices: Indices) -> Tensor:
        """Return the views of images ``indices`` in ``epoch``, float32 ``(B, 3, S, S)``."""
        draws = counter_uniform(self.seed, epoch, on_device(indices, self.device))
        images = self.preprocessing.scale(self._pixels(indices))
        # The warp makes new images; the two after it may write into them.
        images = self._warp(images, draws)
        images = self._recolour_(images, draws)
        images = self._erase_(images, draws)
        return self.preprocessing.standardise(images)

    def _warp(self, images: Tensor, draws: Tensor) -> Tensor:
        """Rotate, scale, shift and flip with one bilinear resampling; the border is repeated."""
        policy = self.policy
        signed = draws[:, :5] * 2 - 1
        angle = signed[:, 0] * math.radians(policy.rotation)
        zoom = 1 + signed[:, 1] * policy.scale
        mirror = 1 - 2 * (draws[:, 2] < policy.flip).to(draws.dtype)
        # Normalised coordinates run over 2, so a shift of the side is 2.
        shift = (signed[:, 3:5] * (policy.shift * 2)).t()
        cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        of_x = torch.stack([cosine, sine]) * mirror
        of_y = torch.stack([-sine, cosine])
        side = images.shape[-1]
        position = torch.linspace(-1, 1, side, dtype=draws.dtype, device=images.device)
        position = position * ((side - 1) / side)
        columns = of_x.unsqueeze(2) * position
        rows = of_y.unsqueeze(2) * position + shift.unsqueeze(2)
        # What affine_grid gives, but one sum for each coordinate, each in a plane of its own: a
        # sixth of the time on a CPU.
        grid = columns.unsqueeze(2) + rows.unsqueeze(3)
        return torch.nn.functional.grid_sample(
            images,
            grid.permute(1, 2, 3, 0),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )

    def _recolour_(self, images: Tensor, draws: Tensor) -> Tensor:
        """Change contrast about each image's mean, then brightness; values stay in 0-1."""
        contrast = 1 + (draws[:, 5] * 2 - 1) * self.policy.contrast
        brightness = (draws[:, 6] * 2 - 1) * self.policy.brightness
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        contrast, brightness = contrast.view(-1, 1, 1, 1), brightness.view(-1, 1, 1, 1)
        return images.sub_(mean).mul_(contrast).add_(mean + brightness).clamp_(0, 1)

    def _erase_(self, images: Tensor, draws: Tensor) -> Tensor:
        """Replace a random rectangle by a grey value in a random share of the images."""
        chosen = draws[:, 7] < self.policy.erase
        if images.device.type == "cpu":
            # They are few. A GPU would have to tell the host how many, and does all instead.
            numbers = chosen.nonzero().squeeze(1)
            images[numbers] = self._with_rectangle(images[numbers], draws[numbers])
            return images
        changed = self._with_rectangle(images, draws)
        return torch.where(chosen.view(-1, 1, 1, 1), changed, images)

    def _with_rectangle(self, images: Tensor, draws: Tensor) -> Tensor:
        area = draws[:, 8] * self.policy.erase_area
        aspect = torch.exp((draws[:, 9] * 2 - 1) * math.log(2.0))
        side = images.shape[-1]
        height = (torch.sqrt(area * aspect) * side).clamp(max=side).view(-1, 1)
        width = (torch.sqrt(area / aspect) * side).clamp(max=side).view(-1, 1)
        top = draws[:, 10:11] * (side - height)
        left = draws[:, 11:12] * (side - width)
        position = torch.arange(side, device=images.device).view(1, -1) + 0.5
        rows = (position >= top) & (position < top + height)
        columns = (position >= left) & (position < left + width)
        mask = (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)
        return torch.where(mask, draws[:, 12].view(-1, 1, 1, 1), images)
