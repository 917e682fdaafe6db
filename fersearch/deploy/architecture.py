"""A network without its weights: all that its latency depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from fersearch.models.factory import create
from fersearch.records import digest

__all__ = ["Architecture"]

WEIGHTS_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network without its weights.

    Attributes:
        model: timm name.
        options: Options that it is built with.
        num_classes: Number of logits.
        image_size: Height and width of the image in pixels.
    """

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int
    image_size: int

    @property
    def key(self) -> str:
        """Digest of the four: equal for equal architectures."""
        return digest(self)

    def build(self) -> nn.Module:
        """Return the network with initial weights, in evaluation mode.

        The weights are the same each time; the global random state is left as it was.

        Raises:
            InputError: The name or an option is unknown, or the images are too small for it.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(WEIGHTS_SEED)
            network = create(
                self.model,
                num_classes=self.num_classes,
                image_size=self.image_size,
                **self.options,
            )
        return network.eval()
