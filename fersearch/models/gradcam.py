"""Where a network looks: Grad-CAM of the class that it predicts, for any convolutional network.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017, equations 1 and 2. They take the last convolutional layer; small inputs
leave it 2 x 2 positions, which shows nothing, so the layer is chosen by a rule that is the same for
every network: the smallest map of at least 6 x 6 positions, where a stage ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fersearch.errors import FersearchError, InputError
from fersearch.models.cost import _evaluation

__all__ = ["RULE", "CamResult", "choose_images", "grad_cam"]

RULE = (
    "of every class the test image whose pixels have the smallest SHA-256: a rule that looks at no"
    " network's answer"
)
"""How :func:`choose_images` chooses, for captions."""

LEAST_SIDE = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CamResult:
    """Grad-CAM maps of one network.

    Attributes:
        maps: float32 ``(K, S, S)`` in 0-1, each divided by its maximum; zero everywhere where
            nothing speaks for the class.
        predictions: int64 ``(K,)``, the predicted classes, which the maps are of.
        layer: Name of the module whose output was looked at, with its side: ``layer2 (6 x 6)``.
    """

    maps: NDArray[np.float32]
    predictions: NDArray[np.int64]
    layer: str


def grad_cam(network: nn.Module, inputs: Tensor) -> CamResult:
    """Return where the network looked to predict the class of each image.

    Of the maps that modules give (4-D, square, channels first or last) and the logits depend on,
    the smallest with a side of at least 6 are taken, the largest where all are smaller. Of these it
    is the outermost module's (a whole stage comes before a branch inside the next one), and of
    equals the one computed last. Its channels are weighted with the mean of the logit's gradient
    over the positions, summed, cut off below zero and enlarged bilinearly to the image. A vision
    transformer has no map but that of its patches' embedding.

    The network is left as it was: modes, ``requires_grad`` flags, gradients, hooks. It may be
    frozen, and the caller may be in ``torch.inference_mode``.

    Args:
        network: A network that maps ``(K, channels, S, S)`` to logits ``(K, classes)``.
        inputs: Network input, float ``(K, channels, S, S)``, on the network's device.

    Raises:
        InputError: ``inputs`` is no batch of square images, or the network gives no logits or has
            no map that they depend on.
        FersearchError: The network fails on these images.
    """
    if inputs.ndim != 4 or inputs.shape[0] == 0 or inputs.shape[2] != inputs.shape[3]:
        raise InputError(
            f"Grad-CAM needs square images but got an input of shape {tuple(inputs.shape)}",
            "give images x channels x side x side",
        )
    name = type(network).__name__
    with _evaluation(network), torch.inference_mode(False), torch.enable_grad():
        # The input needs a gradient, so that frozen networks have one too. A copy of it is handed
        # over, for networks that change their input in place.
        images = inputs.detach().clone().requires_grad_(True)
        with _recorded(network) as outputs:
            try:
                logits = network(images.clone())
            except RuntimeError as error:
                raise FersearchError(f"{name} fails on these images: {error}") from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(inputs):
            raise InputError(f"{name} does not give one row of logits an image")
        predictions = logits.argmax(dim=1)
        if not logits.requires_grad:
            raise InputError(f"the logits of {name} have no gradient")
        # Images do not meet in evaluation mode, so the sum's gradient is that of each image.
        score = logits.gather(1, predictions[:, None]).sum()
        layer, activation, gradient = _chosen(outputs, score, name)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    maps = F.relu((weights * activation).sum(dim=1, keepdim=True))
    maps = F.interpolate(maps, size=inputs.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    highest = maps.amax(dim=(1, 2), keepdim=True)
    maps = torch.where(highest > 0, maps / highest.clamp(min=torch.finfo(maps.dtype).tiny), 0.0)
    return CamResult(
        maps=maps.cpu().numpy(),
        predictions=predictions.cpu().numpy(),
        layer=f"{layer} ({activation.shape[2]} x {activation.shape[3]})",
    )


@contextmanager
def _recorded(network: nn.Module) -> Iterator[list[tuple[str, Tensor]]]:
    """Yield a list that grows, while the network runs, by the name and map of each module."""
    outputs: list[tuple[str, Tensor]] = []

    def keep(name: str, module: nn.Module, args: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.is_floating_point():
            outputs.append((name, output))

    hooks = [
        module.register_forward_hook(partial(keep, name))
        for name, module in network.named_modules()
        if name
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _chosen(
    outputs: list[tuple[str, Tensor]], score: Tensor, name: str
) -> tuple[str, Tensor, Tensor]:
    """Return name, activation and gradient, float32 ``(K, channels, h, h)``, of the layer to show.

    Raises:
        InputError: The score depends on no map.
    """
    sides = [_side(output) for _, output in outputs]
    enough = max(1, min(LEAST_SIDE, max(sides, default=0)))
    ranked = sorted(
        (side, layer.count("."), -number)
        for number, ((layer, _), side) in enumerate(zip(outputs, sides, strict=True))
        if side >= enough
    )
    # Past what the logits do not depend on: auxiliary heads, maps that were made without gradient.
    for _, _, place in ranked:
        layer, output = outputs[-place]
        if not output.requires_grad:
            continue
        (gradient,) = torch.autograd.grad(score, output, retain_graph=True, allow_unused=True)
        if gradient is not None:
            maps = (output.detach().float(), gradient.float())
            if output.shape[2] != output.shape[3]:
                maps = (maps[0].permute(0, 3, 1, 2), maps[1].permute(0, 3, 1, 2))
            return layer, *maps
    raise InputError(
        f"{name} has no module whose output is a map that its logits depend on",
        "Grad-CAM needs a network with convolutional layers",
    )


def _side(output: Tensor) -> int:
    """Return the side of a square map, channels first or last; 0 when it is none."""
    _, first, second, third = output.shape
    if second == third:
        return second
    return first if first == second else 0


def choose_images(
    images: NDArray[np.uint8], labels: NDArray[np.int64], *, per_class: int = 1
) -> NDArray[np.int64]:
    """Return the numbers of the images to show; see :data:`RULE`.

    The choice depends on the images as a set, not on their order; of equal images the first is
    meant.

    Args:
        images: uint8 ``(N, channels, S, S)``.
        labels: int, shape ``(N,)``.
        per_class: How many of each class; fewer where it has fewer.

    Returns:
        int64, by class and then by digest.

    >>> pictures = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    >>> choose_images(pictures, np.array([0, 0, 0, 1, 1, 1])).tolist()
    [1, 3]
    """
    if per_class < 1 or labels.shape != images.shape[:1]:
        raise InputError(
            f"cannot choose {per_class} a class of {len(images)} images with {labels.size} labels",
            "give one label an image and choose at least one",
        )
    chosen: list[int] = []
    for label in np.unique(labels):
        members = [int(index) for index in np.flatnonzero(labels == label)]
        chosen += sorted(members, key=lambda index: _digest(images[index]))[:per_class]
    return np.array(chosen, dtype=np.int64)


def _digest(image: NDArray[np.uint8]) -> bytes:
    """Return the SHA-256 of an image's pixels."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
