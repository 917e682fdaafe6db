"""Dropout inside :func:`torch.vmap`: one mask for all students, the one that a lone student draws.

``vmap`` with ``randomness="same"`` shares masks too, but draws them with another kernel than
:func:`torch.nn.functional.dropout` on a GPU, and in another memory order on channels-last maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["SharedDropout"]


class _Masked(torch.autograd.Function):
    """Dropout whose mask is drawn outside of ``vmap``, in the shape that one student sees."""

    @staticmethod
    def forward(values: Tensor, rate: float) -> Tensor:
        """Drop without ``vmap``."""
        return F.dropout(values, rate)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: ``vmap`` differentiates what it does below."""

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], values: Tensor, rate: float
    ) -> tuple[Tensor, int | None]:
        """Multiply all students' values with one scaled mask."""
        dim = in_dims[0]
        if dim is None:  # no student's own values: the same for all
            return F.dropout(values, rate), None
        ones = torch.ones_like(values.select(dim, 0), memory_format=torch.contiguous_format)
        if ones.ndim == 4:
            ones = ones.contiguous(memory_format=torch.channels_last)
        return values * F.dropout(ones, rate).unsqueeze(dim), dim


def _dropped(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor:
    dropped: Tensor = _Masked.apply(input, p) if training and p > 0 else input
    return dropped


class SharedDropout(TorchFunctionMode):
    """Replaces :func:`torch.nn.functional.dropout` inside a ``with`` block around ``vmap``."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or what replaces it."""
        return (_dropped if func is F.dropout else func)(*args, **(kwargs or {}))
