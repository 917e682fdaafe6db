"""Turning stored uint8 images into network input: written once, saved with every model."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fersearch.errors import InputError

__all__ = ["Preprocessing"]

STATISTICS_IMAGES = 4096


def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return one value a channel, ``(1, C, 1, 1)``, on ``device``."""
    return _kept(values, device) if device.type == "cuda" else _made(values, device)


def _format(device: torch.device) -> torch.memory_format:
    return torch.contiguous_format if device.type == "cuda" else torch.channels_last


def _made(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(1, -1, 1, 1)


# A GPU waits for every copy of numbers from the host: once will do, not once a batch.
_kept = functools.lru_cache(maxsize=16)(_made)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes network input: scale to 0-1, standardise, repeat grey to three channels.

    Attributes:
        image_size: Side of the square input in pixels.
        mean: Per-channel mean of the training images, in 0-1; one value for grey, three for RGB.
        std: Per-channel standard deviation of the training images, in 0-1.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of_training_images(cls, images: np.ndarray) -> Preprocessing:
        """Measure mean and standard deviation on the training split, uint8 ``(N, C, S, S)``.

        At most 4,096 evenly spaced images are read, rounded to four digits so that the values are
        the same on every machine.
        """
        step = max(1, len(images) // STATISTICS_IMAGES)
        sample = np.asarray(images[::step], dtype=np.float32) / 255.0
        mean = sample.mean(axis=(0, 2, 3), dtype=np.float64)
        std = np.maximum(sample.std(axis=(0, 2, 3), dtype=np.float64), 1e-3)
        return cls(
            image_size=int(images.shape[-1]),
            mean=tuple(round(float(value), 4) for value in mean),
            std=tuple(round(float(value), 4) for value in std),
        )

    @classmethod
    def from_plain(cls, value: Mapping[str, Any]) -> Preprocessing:
        """Read what :func:`fersearch.records.to_plain` wrote into a model's config file."""
        try:
            return cls(
                image_size=int(value["image_size"]),
                mean=tuple(float(item) for item in value["mean"]),
                std=tuple(float(item) for item in value["std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the model's preprocessing is not readable: {error!r}") from error

    @property
    def channels(self) -> int:
        """Number of channels of the stored images: 1 (grey) or 3 (RGB)."""
        return len(self.mean)

    def scale(self, images: Tensor) -> Tensor:
        """Turn uint8 ``(B, C, S, S)`` into float32 in 0-1."""
        return images.to(torch.float32).div_(255.0)

    def standardise(self, images: Tensor) -> Tensor:
        """Turn float32 in 0-1, ``(B, C, S, S)``, into network input ``(B, 3, S, S)``.

        On a CPU the result is in channels-last memory format, as networks are there; on a GPU in
        PyTorch's usual one, which each network's first layer turns into its own.
        """
        images = images - _channels(self.mean, images.device)
        images = images.div_(_channels(self.std, images.device))
        if images.shape[1] != 1:
            return images.contiguous(memory_format=_format(images.device))
        if images.device.type == "cuda":
            return images.expand(-1, 3, -1, -1).contiguous()
        count, _, height, width = images.shape
        repeated = torch.empty(
            (count, 3, height, width),
            dtype=images.dtype,
            device=images.device,
            memory_format=torch.channels_last,
        )
        # Half the time that expanding and copying takes on a CPU.
        for channel in range(3):
            repeated[:, channel] = images[:, 0]
        return repeated

    def __call__(self, images: Tensor) -> Tensor:
        """Turn uint8 images ``(B, C, S, S)`` into evaluation input, float32 ``(B, 3, S, S)``."""
        return self.standardise(self.scale(images))
