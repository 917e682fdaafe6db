"""A training step on a GPU, recorded once and then started by the host with a single call.

A step of a small network is some 600 kernels of a few microseconds each: a GPU is done with one
before the host has started the next. Recorded as a CUDA graph, they follow each other without it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.optim import Optimizer

from fersearch.errors import FersearchError
from fersearch.models import Batch

__all__ = ["RecordedStep"]

# Steps before recording: in the first ones libraries choose their kernels and momenta are made, and
# the last one shows whether the step waits for the GPU.
WARM_UP = 3
# How PyTorch begins to say so.
WAITED = "called a synchronizing CUDA operation"
Step = Callable[[Batch], None]


class RecordedStep:
    """Makes the steps that ``step`` makes, with the same numbers; the first few are its own.

    What is recorded is what the GPU does, on the memory that it does it on: weights, statistics
    and momenta must stay where they are. A step that waits for a number from the GPU cannot be
    recorded: it is made as it is, and ``refusal`` says why.

    Args:
        step: Forward pass, backward pass and optimiser on a batch on the GPU. Batches are of one
            shape, and of a batch's numbers on the host none may count.
        optimizer: Its learning rate, one for all groups, is the only number that changes.
        device: The GPU.
    """

    def __init__(self, step: Step, optimizer: Optimizer, device: torch.device) -> None:
        self._step = step
        self._optimizer = optimizer
        self._device = device
        self.stream = torch.cuda.Stream(device)
        self._made = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self.refusal = ""

    @property
    def records(self) -> bool:
        """Whether the step has been recorded."""
        return self._graph is not None

    def __call__(self, batch: Batch) -> None:
        """Make a step.

        Raises:
            FersearchError: It cannot be recorded, though it does not wait for the GPU.
        """
        if self._graph is None and not self.refusal and self._made >= WARM_UP:
            self._record(batch)
        if self._graph is None:
            self._make(batch)
            return
        self._batch.inputs.copy_(batch.inputs)
        self._batch.labels.copy_(batch.labels)
        self._batch.indices.copy_(batch.indices)
        self._rate.fill_(self._optimizer.param_groups[0]["lr"])
        self._graph.replay()

    def _make(self, batch: Batch) -> None:
        """Make a step as it is, on the stream that is recorded later."""
        self._made += 1
        current = torch.cuda.current_stream(self._device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            if self._made == WARM_UP:
                self._look_for_waits(batch)
            else:
                self._step(batch)
        current.wait_stream(self.stream)

    def _look_for_waits(self, batch: Batch) -> None:
        """Make a step, and refuse to record it if it waits for the GPU.

        To find out while recording would be too late: PyTorch's random numbers on the GPU do not
        recover from a recording that was broken off.
        """
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                self._step(batch)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        waits = [item for item in caught if str(item.message).startswith(WAITED)]
        for item in caught:
            if item not in waits and "prototype" not in str(item.message):
                warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
        if waits:
            self.refusal = f"it waits for the GPU at {waits[0].filename}:{waits[0].lineno}"

    def _record(self, batch: Batch) -> None:
        """Record a step; nothing is computed yet."""
        self._batch = replace(
            batch,
            inputs=batch.inputs.clone(),
            labels=batch.labels.clone(),
            indices=batch.indices.clone(),
        )
        groups = self._optimizer.param_groups
        rate = groups[0]["lr"]
        self._rate = torch.full((), rate, device=self._device)
        graph = torch.cuda.CUDAGraph()
        self._optimizer.zero_grad(set_to_none=True)
        for group in groups:
            group["lr"] = self._rate
        try:
            # Other threads may go on using the GPU meanwhile.
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self._step(self._batch)
        except RuntimeError as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise FersearchError(
                f"the GPU could not record the network's training step: {first}",
                "set FERSEARCH_RECORD=0 in the environment: steps are then made as they are",
            ) from error
        finally:
            for group in groups:
                group["lr"] = rate
        self._graph = graph
