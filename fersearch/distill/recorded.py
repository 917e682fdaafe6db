"""A training step on a GPU, recorded once and then started by the host with a single call.

A step of a small network is some 600 kernels of a few microseconds each: a GPU is done with one
before the host has started the next. Recorded as a CUDA graph, they follow each other without the
host.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from fersearch.errors import FersearchError
from fersearch.models import Batch

__all__ = ["RecordedStep"]

# Steps before recording: in the first ones libraries choose their kernels and momenta are made, and
# the last one shows whether the step can be recorded.
WARM_UP = 3
# What PyTorch says when the host waits for the GPU, and when it is asked to say so.
WAITED = "called a synchronizing CUDA operation"
PROTOTYPE = "Synchronization debug mode is a prototype feature"
Step = Callable[[Batch], None]


class RecordedStep:
    """Makes the steps of a run with the same numbers as they are; the first few are not recorded.

    What is recorded is what the GPU does, on the memory that it does it on: weights, statistics
    and momenta must stay where they are. Everything that Python does in a step happens once. A step
    that waits for a number from the GPU, or draws random numbers on the host, cannot be recorded:
    it is made as it is, and ``refusal`` says why. No other thread may wait for the GPU during the
    last step before the recording.

    Args:
        optimizer: Its learning rate, one for all groups, is the only number that changes between
            steps. During a step it is a float32 tensor on the GPU.
        device: The GPU.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device) -> None:
        self._optimizer = optimizer
        self._device = device
        self._rate = torch.zeros((), device=device)
        self._made = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.refusal = ""

    @property
    def is_recorded(self) -> bool:
        """Whether the step has been recorded."""
        return self._graph is not None

    def __call__(self, step: Step, batch: Batch) -> None:
        """Make a step.

        Args:
            step: Forward pass, backward pass and optimiser on a batch; always the same. It is not
                kept, for it usually holds the run, which holds this.
            batch: On the GPU. Batches are of one shape, and of a batch's numbers on the host none
                may count.

        Raises:
            FersearchError: It cannot be recorded, for a reason that no step before showed.
        """
        if self.refusal:
            step(batch)
            return
        if self._graph is None and self._made < WARM_UP:
            self._make(step, batch)
            return
        if self._graph is None:
            self._graph = self._recorded(step, batch)
        self._batch.inputs.copy_(batch.inputs)
        self._batch.labels.copy_(batch.labels)
        self._batch.indices.copy_(batch.indices)
        self._rate.fill_(self._optimizer.param_groups[0]["lr"])
        self._graph.replay()

    @contextmanager
    def _rate_on_gpu(self) -> Iterator[None]:
        """Let the optimiser read its learning rate where a recorded step reads it."""
        groups = self._optimizer.param_groups
        rate = groups[0]["lr"]
        self._rate.fill_(rate)
        for group in groups:
            group["lr"] = self._rate
        try:
            yield
        finally:
            for group in groups:
                group["lr"] = rate

    def _make(self, step: Step, batch: Batch) -> None:
        """Make a step as it is, on the stream that is recorded later."""
        self._made += 1
        current = torch.cuda.current_stream(self._device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream), self._rate_on_gpu():
            if self._made == WARM_UP:
                self._judge(step, batch)
            else:
                step(batch)
        current.wait_stream(self.stream)

    def _judge(self, step: Step, batch: Batch) -> None:
        """Make a step, and refuse to record it if it does what a recording cannot do.

        To find out while recording would be too late: PyTorch's random numbers on the GPU do not
        recover from a recording that was broken off.
        """
        mode, drawn = torch.cuda.get_sync_debug_mode(), _random_states()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                step(batch)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        waits = [item for item in caught if str(item.message).startswith(WAITED)]
        for item in caught:
            if not str(item.message).startswith((WAITED, PROTOTYPE)):
                warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
        if waits:
            where = f"{Path(waits[0].filename).name}, line {waits[0].lineno}"
            self.refusal = f"the step waits for the GPU ({where})"
        elif drawn != _random_states():
            self.refusal = "the step draws random numbers on the host"

    def _recorded(self, step: Step, batch: Batch) -> torch.cuda.CUDAGraph:
        """Record a step; nothing is computed yet."""
        self._batch = replace(
            batch,
            inputs=batch.inputs.clone(),
            labels=batch.labels.clone(),
            indices=batch.indices.clone(),
        )
        graph = torch.cuda.CUDAGraph()
        # So that the gradients of the last step are freed outside of the recording.
        self._optimizer.zero_grad(set_to_none=True)
        try:
            # Other threads may go on using the GPU meanwhile.
            with (
                self._rate_on_gpu(),
                torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
            ):
                step(self._batch)
        except RuntimeError as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise FersearchError(
                f"the GPU could not record the network's training step: {first}",
                "set FERSEARCH_RECORD=0 in the environment: steps are then made as they are",
            ) from error
        return graph


def _random_states() -> tuple[Any, ...]:
    """Return where the host's random numbers are, as something that can be compared."""
    return torch.get_rng_state().tolist(), random.getstate(), repr(np.random.get_state())
