"""PyTorch's fused SGD, without the copies that it makes of channels-last gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from torch.optim.sgd import sgd

__all__ = ["DenseSGD"]


class DenseSGD(SGD):
    """Fused SGD with the same numbers and the same saved state.

    The fused kernel walks through weights, gradients and momenta in the order of memory, so the
    three must lie in the same order: on others a CPU's is silently wrong and a GPU's refuses. A
    CPU's also copies each gradient whose axes are not in the order of memory, as those of
    channels-last kernels, and reads the original (seen with PyTorch 2.15): a third of its time
    where most weights are such kernels. Here it is given rows of the same memory.

    Args:
        params: Floating-point weights in the memory of a CPU or a GPU, each dense in some order of
            its axes.
        options: Those of :class:`torch.optim.SGD`.
    """

    def __init__(self, params: Any, **options: Any) -> None:
        super().__init__(params, fused=True, **options)
        self.grad_scale: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make a step; gradients are divided by the attribute ``grad_scale``, where there is one.

        Args:
            closure: Computes the loss anew and returns it, as for any optimiser.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights, grads, momenta = self._rows(group)
            sgd(
                weights,
                grads,
                momenta,
                has_sparse_grad=False,
                foreach=False,
                fused=True,
                grad_scale=self.grad_scale,
                weight_decay=group["weight_decay"],
                momentum=group["momentum"],
                lr=group["lr"],
                dampening=group["dampening"],
                nesterov=group["nesterov"],
                maximize=group["maximize"],
            )
        return loss

    def _rows(
        self, group: dict[str, Any]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor | None]]:
        """Return what a step of a group reads and writes: weights, gradients and momenta."""
        weights: list[Tensor] = []
        grads: list[Tensor] = []
        momenta: list[Tensor | None] = []
        for weight in group["params"]:
            if weight.grad is None:
                continue
            found = [weight, weight.grad]
            if group["momentum"]:
                found.append(self._momentum(weight))
            if weight.is_cuda or not weight.is_contiguous():
                found = [_laid_out_as(weight, item) for item in found]
                found = [item.as_strided((item.numel(),), (1,)) for item in found]
            weights.append(found[0])
            grads.append(found[1])
            momenta += found[2:]
        return weights, grads, momenta

    def _momentum(self, weight: Tensor) -> Tensor:
        """Return a weight's momentum; from zero its first step is PyTorch's first step."""
        state = self.state[weight]
        found = state.get("momentum_buffer")
        if found is None:
            found = torch.zeros_like(weight)
        elif weight.is_cuda or not weight.is_contiguous():  # one that was loaded may lie otherwise
            found = _laid_out_as(weight, found)
        state["momentum_buffer"] = found
        momentum: Tensor = found
        return momentum


def _laid_out_as(weight: Tensor, values: Tensor) -> Tensor:
    """Return values in the order of memory of their weight: themselves, where they are."""
    strides = zip(weight.shape, values.stride(), weight.stride(), strict=True)
    # Along an axis of one number, the stride says nothing.
    if all(size == 1 or own == other for size, own, other in strides):
        return values
    return torch.empty_like(weight).copy_(values)
