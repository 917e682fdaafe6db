"""A network that makes its images smaller before it looks at them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from fersearch.errors import InputError

__all__ = ["Resized"]

SMALLEST = 16


class Resized(nn.Module):
    """Resizes images to ``input_size`` (bilinear, antialiased) and hands them to ``network``.

    Views and soft labels are made at the data's size whatever the size that a student works at, so
    students of several sizes learn from the same ones; and a file made from the network holds the
    resizing, so that it is fed like any other.

    Args:
        network: Takes float ``(B, C, input_size, input_size)``.
        input_size: Height and width in pixels that it works at; at least 16.

    Raises:
        InputError: The size is no whole number of at least 16.
    """

    def __init__(self, network: nn.Module, input_size: int) -> None:
        super().__init__()
        if isinstance(input_size, bool) or not isinstance(input_size, int) or input_size < SMALLEST:
            raise InputError(
                f"input_size must be a whole number of at least {SMALLEST}, got {input_size!r}"
            )
        self.network = network
        self.input_size = input_size
        self.in_chans = int(getattr(network, "in_chans", 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of float images ``(B, C, S, S)``, whatever their size S."""
        size = (self.input_size, self.input_size)
        if images.shape[-2:] != size:
            images = F.interpolate(
                images, size=size, mode="bilinear", align_corners=False, antialias=True
            )
        logits: Tensor = self.network(images)
        return logits
