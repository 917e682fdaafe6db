"""Models by name, through timm's registry."""

from __future__ import annotations

from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, is_model
from torch import nn

from fersearch.errors import InputError, suggestion
from fersearch.models.resized import Resized

__all__ = ["OWN_MODELS", "check_name", "create", "list_models"]

OWN_MODELS = (
    "eff_resnet18",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
)
"""The models that this package adds to timm's registry."""


def list_models(pattern: str = "") -> tuple[str, ...]:
    """Return the names that :func:`create` knows, timm's and ours, in natural order.

    Args:
        pattern: A wildcard pattern such as ``shufflenet*``; empty for all.

    >>> list_models("eff_resnet*")
    ('eff_resnet18',)
    """
    return tuple(timm.list_models(pattern))


def create(
    name: str,
    *,
    num_classes: int,
    image_size: int | None = None,
    pretrained: bool = False,
    **options: Any,
) -> nn.Module:
    """Build the network called ``name``, with initial weights from torch's global generator.

    Args:
        name: A name of timm's registry (:func:`list_models`), with or without a weights tag.
        num_classes: Number of logits, at least 0; 0 builds the network without its classifier.
        image_size: Height and width in pixels of the images that it will see. It is handed to
            networks that are built for one size (vision transformers); then one blank image is
            run through the network, so that one that cannot take this size is refused here.
        pretrained: Fetch the weights that timm's registry names. Nothing is fetched without it.
        **options: The network's own options (``drop_rate``, ``ffe_splits``, ``stem``, ...);
            ``input_size`` makes any network work at that size: it is built for it, and resizes its
            images first (:class:`fersearch.models.resized.Resized`).

    Returns:
        The network, in training mode, on the CPU: ``(B, channels, H, W)`` float to
        ``(B, num_classes)`` float logits.

    Raises:
        InputError: The name is unknown, an option or its value is not supported, the weights
            cannot be fetched, or the network cannot take images of ``image_size``.

    >>> network = create("shufflenet_v2_x0_5", num_classes=7)
    >>> sum(parameter.numel() for parameter in network.parameters())
    348967
    """
    check_name(name)
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
        raise InputError(f"num_classes must be a whole number of at least 0, got {num_classes!r}")
    given = dict(options)
    input_size = given.pop("input_size", None)
    if image_size is not None:
        _check_image_size(image_size)
    if (input_size or image_size) is not None and _built_for_one_size(name):
        given.setdefault("img_size", input_size or image_size)
    network = _build(name, num_classes, pretrained, given)
    if input_size is not None:
        network = Resized(network, input_size)
    if image_size is not None:
        _check_forward(network, name, num_classes, image_size)
    return network


def check_name(name: str) -> None:
    """Refuse names outside the registry, with the nearest ones in it.

    Raises:
        InputError: The name is unknown.
    """
    # timm would fetch the configuration of a model named by its address before anything else.
    if ":" in name:
        raise InputError(
            f"unknown model {name!r}: models are named by architecture, not by address",
            "use a name that timm.list_models() shows",
        )
    if not is_model(name):
        hint = suggestion(name, timm.list_models())
        raise InputError(f"unknown model {name!r}", hint or "timm.list_models() shows all names")


def _check_image_size(image_size: int) -> None:
    """Refuse image sizes that are not positive whole numbers."""
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 1:
        raise InputError(f"image_size must be a whole number of at least 1, got {image_size!r}")


def _built_for_one_size(name: str) -> bool:
    """Return whether the network takes its image size as an option (``img_size``)."""
    try:
        config = get_pretrained_cfg(name)
    except RuntimeError as error:
        raise InputError(f"unknown model {name!r}: {error}", "leave the tag out") from error
    return config is not None and bool(config.fixed_input_size)


def _build(name: str, num_classes: int, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Call timm, and turn what it raises into one line."""
    try:
        network = timm.create_model(name, pretrained=pretrained, num_classes=num_classes, **options)
    except InputError:
        raise
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise InputError(
            f"cannot build {name} with {_shown(options)}: {_first_line(error)}",
            "check the names and values of its options",
        ) from error
    except Exception as error:
        # What the hub's client libraries raise has no common ancestor below Exception.
        if pretrained:
            raise InputError(
                f"cannot get the pretrained weights of {name}: {_first_line(error)}",
                "check the network, or give a weights file instead",
            ) from error
        raise InputError(
            f"cannot build {name} with {_shown(options)}: {_first_line(error)}"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{name} is not a torch module but a {type(network).__name__}")
    return network


def _check_forward(network: nn.Module, name: str, num_classes: int, image_size: int) -> None:
    """Run one blank image through the network; refuse it when that fails."""
    channels = int(getattr(network, "in_chans", 3))
    network.eval()
    try:
        with torch.inference_mode():
            logits = network(torch.zeros(1, channels, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError, IndexError, ZeroDivisionError) as error:
        raise InputError(
            f"{name} cannot take images of {image_size} px: {_first_line(error)}",
            "use larger images or another model",
        ) from error
    finally:
        network.train()
    if num_classes and tuple(getattr(logits, "shape", ())) != (1, num_classes):
        found = getattr(logits, "shape", None)
        raise InputError(
            f"{name} was asked for {num_classes} logits an image but gives "
            f"{f'a {type(logits).__name__}' if found is None else tuple(found)[1:]}",
            "use a classification model that takes num_classes",
        )


def _shown(options: dict[str, Any]) -> str:
    """Return the options as a user would write them."""
    return ", ".join(f"{key}={value!r}" for key, value in options.items()) or "no options"


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type when it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
