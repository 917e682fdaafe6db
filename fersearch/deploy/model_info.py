"""What a deployed model is and how to feed it; needs neither PyTorch nor ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["ModelInfo", "Predictor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model, its classes and its pre-processing.

    Attributes:
        model: timm name of the network.
        title: What to call it on a page: a study's name, or the file's.
        classes: Names of the classes, in the order of the probabilities.
        image_size: Height and width in pixels of the images that it takes.
        mean: Per-channel mean, in 0-1; one value for grey, three for RGB.
        std: Per-channel standard deviation, in 0-1; as many.
        protocol_hash: Digest of the protocol that it was trained under; may be empty.
        precision: ``fp32`` or ``int8``.
        licence: What is to be known before it is passed on.
        metrics: Measured figures by name, such as ``val_accuracy`` in 0-1.
    """

    model: str
    title: str
    classes: tuple[str, ...]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    protocol_hash: str = ""
    precision: str = "fp32"
    licence: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Channels of the images: 1 (grey) or 3 (RGB)."""
        return len(self.mean)

    def network_input(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Scale to 0-1, standardise, repeat grey to three channels.

        Args:
            images: uint8 ``(N, image_size, image_size, channels)``, RGB where there are three.

        Returns:
            float32 ``(N, 3, image_size, image_size)``, contiguous.
        """
        mean = np.asarray(self.mean, dtype=np.float32)
        std = np.asarray(self.std, dtype=np.float32)
        scaled = (images.astype(np.float32) / np.float32(255.0) - mean) / std
        moved = np.moveaxis(scaled, 3, 1)
        if self.channels == 1:
            moved = np.broadcast_to(moved, (len(moved), 3, *moved.shape[2:]))
        return np.ascontiguousarray(moved)


class Predictor(Protocol):
    """Something that classifies images: a PyTorch network or an ONNX file."""

    @property
    def info(self) -> ModelInfo:
        """What it is and how to feed it."""
        ...

    @property
    def runtime(self) -> str:
        """``onnxruntime`` or ``pytorch``."""
        ...

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return class probabilities ``(N, classes)``.

        Args:
            images: uint8 ``(N, image_size, image_size, channels)``, RGB where there are three.
        """
        ...

    def grad_cam(self, image: NDArray[np.uint8], target: int) -> NDArray[np.float32] | None:
        """Return where one image speaks for class ``target``: float32 in 0-1, image-sized.

        None where the runtime has no gradients (ONNX files).

        Args:
            image: uint8 ``(image_size, image_size, channels)``.
            target: Number of the class.
        """
        ...
