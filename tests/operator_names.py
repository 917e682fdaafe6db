"""Which of PyTorch's operators a piece of code runs."""

from __future__ import annotations

import torch


class Names(torch.utils._python_dispatch.TorchDispatchMode):
    """Collects the names of what PyTorch is asked to compute."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.seen.add(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))
