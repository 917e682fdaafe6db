"""A saved network that classifies images through PyTorch, and shows where it looks."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fersearch.data.preprocessing import Preprocessing
from fersearch.deploy.metadata import LICENCE, measured
from fersearch.deploy.model_info import ModelInfo
from fersearch.deploy.onnx_model import BATCH, check_images
from fersearch.errors import InputError
from fersearch.models import BundleConfig, grad_cam, load_bundle

__all__ = ["TorchPredictor", "bundle_info"]


class TorchPredictor:
    """A bundle, run by PyTorch on the CPU with as many threads as PyTorch takes.

    It is a :class:`~fersearch.deploy.model_info.Predictor`; several threads may call it, which then
    wait for one another.

    Args:
        folder: Folder of the bundle.
        title: What to call the model; the folder's name when empty.

    Raises:
        InputError: The folder is no bundle, or a damaged one.
    """

    def __init__(self, folder: Path, *, title: str = "") -> None:
        self._network, config = load_bundle(folder)
        self._info = bundle_info(config, title=title or folder.resolve().name)
        self._lock = threading.Lock()

    @property
    def info(self) -> ModelInfo:
        """What it is and how to feed it."""
        return self._info

    @property
    def runtime(self) -> str:
        """``pytorch``."""
        return "pytorch"

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return class probabilities ``(N, classes)``, computed in batches of at most 64.

        Args:
            images: uint8 ``(N, image_size, image_size, channels)``, RGB where there are three.

        Raises:
            InputError: The images have another shape or type.
        """
        check_images(images, self._info)
        parts = [np.zeros((0, len(self._info.classes)), dtype=np.float32)]
        with self._lock, torch.inference_mode():
            for start in range(0, len(images), BATCH):
                logits = self._network(self._input(images[start : start + BATCH]))
                parts.append(logits.float().softmax(dim=1).numpy())
        return np.concatenate(parts)

    def grad_cam(self, image: NDArray[np.uint8], target: int) -> NDArray[np.float32] | None:
        """Return where one image speaks for class ``target``: float32 in 0-1, image-sized.

        None for networks without feature maps.

        Args:
            image: uint8 ``(image_size, image_size, channels)``.
            target: Number of the class.

        Raises:
            InputError: The image has another shape, or there is no such class.
        """
        check_images(image[None], self._info)
        if not 0 <= target < len(self._info.classes):
            raise InputError(f"there is no class {target}: {len(self._info.classes)} in all")
        with self._lock:
            try:
                seen = grad_cam(OneClass(self._network, target).eval(), self._input(image[None]))
            except InputError:  # a network without feature maps
                return None
        answer: NDArray[np.float32] = seen.maps[0]
        return answer

    def _input(self, images: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(self._info.network_input(images))


class OneClass(nn.Module):
    """A network of which only the logit of one class is given, so that its map is that class's."""

    def __init__(self, network: nn.Module, target: int) -> None:
        super().__init__()
        self.network = network
        self.target = target

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits ``(B, 1)`` of the class."""
        logits: Tensor = self.network(images)
        return logits[:, self.target : self.target + 1]


def bundle_info(config: BundleConfig, *, title: str) -> ModelInfo:
    """Describe a saved model.

    Raises:
        InputError: Its pre-processing cannot be read, or is that of another image size.
    """
    preprocessing = Preprocessing.from_plain(config.preprocessing)
    if preprocessing.image_size != config.image_size:
        raise InputError(
            f"the model takes images of {config.image_size} px, its pre-processing gives "
            f"{preprocessing.image_size} px",
            "save the model again",
        )
    return ModelInfo(
        model=config.model,
        title=title,
        classes=tuple(config.classes),
        image_size=config.image_size,
        mean=preprocessing.mean,
        std=preprocessing.std,
        protocol_hash=config.protocol_hash,
        licence=LICENCE,
        metrics=measured(config.metrics),
    )
