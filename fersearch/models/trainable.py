"""Whether a network can be trained as this suite trains: found out by one step, before any data.

timm's models differ in what they take. Some are built for one image size, some shrink a small
image to nothing, some ignore ``num_classes``, and a plug-in may do anything. Each of these would
end a study at its first trial; one training step on two random images tells them all beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn
from torch.nn import functional as F

from fersearch.errors import InputError
from fersearch.models.factory import create

__all__ = ["check_trainable", "drops_out", "training_step"]

BATCH = 2  # the smallest that batch normalisation can be trained on
CHANNELS = 3
NO_DROPOUT = "let its function take drop_rate (or **options), as timm's models do"


def check_trainable(
    name: str,
    *,
    classes: int,
    image_size: int,
    dropout: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Fail when a network cannot be trained, at next to no cost.

    The step is made on torch's meta device, which knows shapes, but neither numbers nor how they
    lie in memory: what only those upset is found by :func:`training_step` on the CPU alone. Only a
    network that fails there, as one does that looks at its images, is built and trained for real.

    Args:
        name: timm name.
        classes: Number of logits, at least 2.
        image_size: Height and width of the images in pixels.
        dropout: Dropout rate before the classifier, in [0, 1).
        options: The network's own options.

    Raises:
        InputError: As :func:`training_step`.
    """
    given: dict[str, Any] = {"classes": classes, "image_size": image_size, "dropout": dropout}
    try:
        training_step(name, options=options, device="meta", **given)
    except InputError:
        training_step(name, options=options, device="cpu", **given)


def training_step(
    name: str,
    *,
    classes: int,
    image_size: int,
    dropout: float = 0.0,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> nn.Module:
    """Build a network as training does, and run it forward and backward on two random images.

    The caller's random numbers are left as they were. A network that ends the process, rather than
    raising, ends it here too.

    Args:
        name: timm name.
        classes: Number of logits, at least 2.
        image_size: Height and width of the images in pixels.
        dropout: Dropout rate before the classifier, in [0, 1).
        options: The network's own options.
        device: ``cpu``, or ``meta`` to follow shapes alone.

    Returns:
        The network, in training mode, with its gradients.

    Raises:
        InputError: It cannot be built or does not take ``drop_rate``, images of this size or of
            three channels; its patches do not divide the image; it gives something else than one
            finite logit a class; or it has nothing to train.
    """
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        network = _built(name, classes, image_size, {"drop_rate": dropout, **(options or {})})
        # Like the trainer's: a network that views its maps by their strides fails in one format.
        network = network.to(memory_format=torch.channels_last).train()
        images = torch.randn(BATCH, CHANNELS, image_size, image_size)
        images = images.to(memory_format=torch.channels_last)
        labels = torch.arange(BATCH) % classes
        where = f"{name} cannot be trained on images of {image_size} px"
        try:
            logits = network(images)
        except Exception as error:
            raise InputError(f"{where}: {_reason(error)}", "take another model") from error
        _check_logits(logits, name, classes)
        try:
            torch.autograd.backward(F.cross_entropy(logits.float(), labels))
        except RuntimeError as error:
            raise InputError(f"{where}: {_reason(error)}", "take another model") from error
        if device != "meta" and not torch.isfinite(logits).all():
            raise InputError(
                f"{name} gives logits that are not finite numbers on its first step",
                "take another model",
            )
    return network


def drops_out(network: nn.Module, image_size: int) -> bool:
    """Tell whether a network that has made a training step drops anything at random in training.

    Some take ``drop_rate`` and leave it alone. The network is changed: it takes a step along its
    gradients, without which a classifier that begins at zero would answer the same to anything.

    Args:
        network: What :func:`training_step` returned, built with a dropout rate above 0.
        image_size: Height and width of its images in pixels.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=0.01)
        torch.manual_seed(0)
        images = torch.randn(BATCH, CHANNELS, image_size, image_size)
        answers = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            answers.append(network(images))
    return not torch.equal(*answers)


def _built(name: str, classes: int, image_size: int, options: dict[str, Any]) -> nn.Module:
    """Return the network; say so where it is the dropout rate or the channels that it refuses."""
    try:
        network = create(name, num_classes=classes, image_size=image_size, **options)
    except InputError as error:
        if "drop_rate" in error.message and "unexpected keyword" in error.message:
            raise InputError(f"{name} takes no drop_rate, the dropout rate", NO_DROPOUT) from error
        raise
    except (TypeError, AttributeError, KeyError, NotImplementedError) as error:
        # What a blank image can set off in a network besides errors of shape.
        raise InputError(
            f"{name} cannot take images of {image_size} px: {_reason(error)}", "take another model"
        ) from error
    channels = int(getattr(network, "in_chans", CHANNELS))
    if channels != CHANNELS:
        raise InputError(
            f"{name} takes images of {channels} channels, and all images here have {CHANNELS}",
            "give it the option in_chans = 3, if it has one",
        )
    for module in network.modules():
        if isinstance(module, PatchEmbed):
            _check_patches(module, name)
    return network


def _check_patches(embedding: PatchEmbed, name: str) -> None:
    """Refuse patches that do not fill the image: timm would not look at its border."""
    if embedding.img_size is None or embedding.dynamic_img_pad:
        return
    size, patch = embedding.img_size[0], embedding.patch_size[0]
    if size % patch:
        raise InputError(
            f"{name} cuts its images into patches of {patch} px and would leave out the last "
            f"{size % patch} of {size} px",
            f"use images of a multiple of {patch} px, or another model",
        )


def _check_logits(logits: object, name: str, classes: int) -> None:
    """Refuse what is not one tensor of logits."""
    if not isinstance(logits, Tensor):
        what = type(logits).__name__
        many = f" of {len(logits)}" if isinstance(logits, tuple | list | dict) else ""
        raise InputError(
            f"{name} gives a {what}{many} in training, not one tensor of logits",
            "models with several heads cannot be students",
        )
    if tuple(logits.shape) != (BATCH, classes):
        raise InputError(
            f"{name} was asked for {classes} logits an image but gives {tuple(logits.shape)[1:]} "
            "in training",
            "use a classification model that takes num_classes",
        )


def _reason(error: BaseException) -> str:
    """Return the first line of an error's text after its kind."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
