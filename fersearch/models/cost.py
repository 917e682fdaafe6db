"""What a model costs: parameters, multiply-accumulates, bytes on disk."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import nn

from fersearch.errors import FersearchError

__all__ = ["Macs", "file_bytes", "macs", "parameter_count"]


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-accumulates of one image's forward pass.

    Attributes:
        total: Their number, over convolutions, linear layers, matrix products, normalisations
            and adaptive pooling, as fvcore counts them. FLOPs are about twice as many.
        unsupported: Operators that were met and are not counted, sorted (element-wise sums,
            max-pooling; for an unusual model perhaps something that matters).
    """

    total: int
    unsupported: tuple[str, ...]


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable and frozen parameters; shared ones count once.

    >>> parameter_count(nn.Linear(4, 3))
    15
    """
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: nn.Module, image_size: int, *, channels: int | None = None) -> Macs:
    """Count the multiply-accumulates of ``model`` for one square image, in eval mode.

    The model is left in the mode that it was in.

    Args:
        model: A network that takes ``(1, channels, image_size, image_size)`` floats.
        image_size: Height and width of the image in pixels.
        channels: Channels of the image; the model's ``in_chans``, else 3, by default.

    Raises:
        FersearchError: The model cannot be traced.
    """
    depth = int(getattr(model, "in_chans", 3)) if channels is None else channels
    like = next(model.parameters(), torch.zeros(()))
    image = torch.zeros(1, depth, image_size, image_size, device=like.device, dtype=like.dtype)
    with _evaluation(model), _silence(), torch.no_grad():
        from fvcore.nn.flop_count import FlopCountAnalysis  # slow to import, only needed here

        analysis = FlopCountAnalysis(model, image)
        analysis.unsupported_ops_warnings(False)
        analysis.uncalled_modules_warnings(False)
        analysis.tracer_warnings("none")
        try:
            return Macs(int(analysis.total()), tuple(sorted(analysis.unsupported_ops())))
        except RuntimeError as error:
            raise FersearchError(
                f"cannot count the operations of {type(model).__name__} at {image_size} px: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error


def file_bytes(model: nn.Module) -> int:
    """Return the size in bytes of the model's weights as a safetensors file."""
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    return len(safetensors.torch.save(tensors, metadata={"format": "pt"}))


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Put every module in eval mode for the block, then each back in its own mode."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the tracer's warnings and fvcore's log lines off the screen for the block."""
    logger = logging.getLogger("fvcore")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
