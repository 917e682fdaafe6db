"""What a baseline file brings: a network, its own training loss where it has one, and its source.

A baseline is one Python file. It registers its network with timm, and :func:`register_baseline`
tells the rest. The common training loop drives all of them, so recipe, data order, views and
budget are the same for every row of a table.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from fersearch.errors import InputError, suggestion
from fersearch.plugins import list_shipped, load_plugin, shipped

__all__ = [
    "Baseline",
    "Batch",
    "CrossEntropy",
    "TrainingData",
    "TrainingLoss",
    "class_mean_image",
    "get_baseline",
    "list_baselines",
    "load_shipped_baselines",
    "plain_pixels",
    "register_baseline",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one optimiser step sees.

    Attributes:
        inputs: Network input, float32 ``(B, 3, S, S)``: standardised training views.
        labels: Classes, int64 ``(B,)``.
        indices: Numbers of the images in the training split, int64 ``(B,)``, on the device.
        epoch: Number of the epoch, from 0.
        progress: Share of all steps of the run that are done, in [0, 1).
    """

    inputs: Tensor
    labels: Tensor
    indices: Tensor
    epoch: int
    progress: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """What a training loss may know of the training split. Nothing leads to another split.

    Attributes:
        classes: Names of the classes, in the order of the logits.
        labels: Classes of the training images, int64 ``(N,)``, on the device.
        image_size: Height and width of the input in pixels.
        mean: What was subtracted from each channel of the 0-1 pixels, float32 ``(1, 3, 1, 1)``.
        std: What they were divided by, float32 ``(1, 3, 1, 1)``.
        seed: Seed of the run.
        device: Where the run is.
        batches: Call it for the plain training images (no augmentation) as network input, in
            their stored order, in batches: float32 ``(B, 3, S, S)``.
    """

    classes: Sequence[str]
    labels: Tensor
    image_size: int
    mean: Tensor
    std: Tensor
    seed: int
    device: torch.device
    batches: Callable[[], Iterator[Tensor]]


class TrainingLoss(nn.Module):
    """How a network is trained: from a batch to a loss and the network's logits.

    Modules and parameters that a subclass holds (auxiliary heads, decoders) are trained along with
    the network and kept in checkpoints; they are no part of the network that is tested, saved and
    counted at inference.

    The network is handed to every call and must not be stored: it is no part of the loss.
    """

    def __init__(self) -> None:
        super().__init__()
        self.notes: tuple[str, ...] = ()
        """What a result must say about how this loss was made up, one sentence each."""

    def prepare(
        self, network: nn.Module, data: TrainingData, *, companion: nn.Module | None = None
    ) -> None:
        """Look at the data and build what depends on it; called once, before the first step.

        ``network`` has its initial weights, and is in evaluation mode without gradients. The
        global random generator is seeded, so that new modules get the same weights every time.
        A continued run calls it again: the same arguments must give the same result.

        Args:
            network: The network, on its device.
            data: The training split.
            companion: The trained network that the baseline asked for, frozen, in evaluation
                mode; None when it asked for none.
        """

    def forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scalar loss and the logits ``(B, classes)`` of a batch."""
        raise NotImplementedError


class CrossEntropy(TrainingLoss):
    """Plain cross entropy on the hard labels: what a network without a loss of its own gets.

    Args:
        label_smoothing: Label smoothing, in 0-1.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return mean cross entropy and logits."""
        logits = network(batch.inputs).float()
        loss = nn.functional.cross_entropy(
            logits, batch.labels, label_smoothing=self.label_smoothing
        )
        return loss, logits


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What is compared with the distilled student.

    Attributes:
        name: timm name of its network; also the baseline's name on the command line.
        title: Its name in tables.
        source: Where it was published: authors, venue, year.
        loss: Makes its training loss, given the recipe's label smoothing.
        companion: timm name of a network that is trained first, with plain cross entropy on the
            same data and recipe, and handed to the loss; empty for none.
        notes: What a table must say about it: deviations from its source.
        file_sha256: Digest of the user's file that registers it, so that a changed file is
            trained again; empty for those that ship. Filled in by :func:`register_baseline`.
    """

    name: str
    title: str
    source: str
    loss: Callable[[float], TrainingLoss] = CrossEntropy
    companion: str = ""
    notes: tuple[str, ...] = ()
    file_sha256: str = field(default="", init=False)


NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}"

_REGISTRY: dict[str, Baseline] = {}


def register_baseline(baseline: Baseline) -> Baseline:
    """Make a baseline known under its name, and return it.

    Its network must be registered with timm (``timm.models.register_model``) in the same file. A
    file that was changed may register its names again.

    Raises:
        InputError: The name is a shipped baseline's, or not one that a folder may have.
    """
    if not re.fullmatch(NAME, baseline.name):
        raise InputError(
            f"a baseline cannot be called {baseline.name!r}",
            "use letters, digits, dashes and underscores, as in the name of its timm model",
        )
    file = Path(sys._getframe(1).f_globals.get("__file__", ""))
    if file.parent.resolve() != shipped("baselines", "resnet18.py").parent.resolve():
        if baseline.name in list_shipped("baselines", ".py"):
            raise InputError(
                f"{baseline.name} is the name of a baseline that ships with fersearch",
                "give yours another name",
            )
        content = file.read_bytes() if file.is_file() else b""
        object.__setattr__(baseline, "file_sha256", hashlib.sha256(content).hexdigest())
    _REGISTRY[baseline.name] = baseline
    return baseline


def load_shipped_baselines() -> None:
    """Load the baseline files that ship with the package, so that timm knows their networks."""
    for name in list_shipped("baselines", ".py"):
        load_plugin(shipped("baselines", f"{name}.py"))


def list_baselines() -> tuple[Baseline, ...]:
    """Return all registered baselines by name: the shipped ones and those of loaded plug-ins."""
    return tuple(_REGISTRY[name] for name in sorted(_REGISTRY))


def get_baseline(name: str) -> Baseline:
    """Return the baseline called ``name``.

    Raises:
        InputError: There is none; the hint names near ones.
    """
    if name not in _REGISTRY:
        known = ", ".join(sorted(_REGISTRY))
        raise InputError(
            f"unknown baseline {name!r}",
            suggestion(name, _REGISTRY) or f"known: {known}; --plugin FILE brings in your own",
        )
    return _REGISTRY[name]


def plain_pixels(inputs: Tensor, data: TrainingData) -> Tensor:
    """Return network input as pixels in 0-1, float32 ``(B, 3, S, S)``: undo the standardising."""
    return (inputs * data.std + data.mean).clamp(0, 1)


def class_mean_image(data: TrainingData, name: str) -> Tensor | None:
    """Return the mean of the plain training images of a class as pixels in 0-1.

    Args:
        data: The training split.
        name: Name of the class, such as ``neutral``.

    Returns:
        float32 ``(1, 3, S, S)``, or None when there is no such class or it has no image.
    """
    if name not in data.classes:
        return None
    wanted = data.labels == list(data.classes).index(name)
    total: Tensor | None = None
    start = 0
    for images in data.batches():
        chosen = images[wanted[start : start + len(images)]]
        start += len(images)
        part = plain_pixels(chosen, data).sum(dim=0, keepdim=True)
        total = part if total is None else total + part
    count = int(wanted.sum())
    return None if total is None or count == 0 else total / count
