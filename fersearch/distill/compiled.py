"""Compiling a network's training step with ``torch.compile``."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from fersearch.distill.job import Execution
from fersearch.errors import FersearchError
from fersearch.models.small_maps import SmallMapConv2d

__all__ = ["compiled"]


class _Compiled(nn.Module):
    """A network whose forward and backward pass are compiled; it shares the network's weights."""

    def __init__(self, network: nn.Module, options: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        # One shape: an epoch has no short last batch.
        self._call = torch.compile(network, dynamic=False, options=options)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the network returns."""
        try:
            answer: Tensor = self._call(inputs)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            first = str(error).strip().splitlines()[0]
            raise FersearchError(
                f"torch.compile cannot compile the network: {first}",
                "leave --compile out, or see that a C++ compiler is installed (on a GPU: triton)",
            ) from error
        return answer


def compiled(network: nn.Module, execution: Execution) -> nn.Module:
    """Return ``network`` compiled for training, or itself where ``execution`` does not ask for it.

    Numbers change by rounding; dropout draws the masks that it draws uncompiled. On a CPU a network
    with dense convolutions that may meet small maps, a ResNet, is returned as it is.

    Args:
        network: On the execution's device. It can still be used as it is, for evaluation.
        execution: Says whether, and where compiled kernels are kept.
    """
    on_gpu = execution.device.startswith("cuda")
    if not execution.compile_cache:
        return network
    if not on_gpu and any(isinstance(item, SmallMapConv2d) for item in network.modules()):
        # Hundreds of products would be compiled one by one, for nothing: they are the step.
        return network
    # Read by PyTorch at every use; the user's own choice stands.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", execution.compile_cache)
    return _Compiled(network, {"fallback_random": True})
