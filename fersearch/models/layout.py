"""The memory format in which a network is fast on its device."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["place"]


def place(network: nn.Module, device: str) -> nn.Module:
    """Move a network to ``device`` in the memory format that is fast there, and return it.

    Channels-last, except on a GPU for networks with depthwise convolutions: PyTorch gives those in
    channels-last to cuDNN, which takes many times as long as PyTorch's own kernel for the other
    format. Maps follow the weights: images need not be laid out alike.

    Args:
        network: Any network; its weights are laid out anew in place.
        device: ``cpu`` or a CUDA device.
    """
    depthwise = any(
        isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
        for module in network.modules()
    )
    plain = depthwise and device.startswith("cuda")
    last = torch.contiguous_format if plain else torch.channels_last
    return network.to(device).to(memory_format=last)
