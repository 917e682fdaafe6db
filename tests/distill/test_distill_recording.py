"""When a step is recorded, and when not: with a stand-in for the GPU, which few machines have.

What a GPU really does is tested in ``test_distill_recorded.py``, on machines with one.
"""

from __future__ import annotations

import random
import warnings
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch import nn

from fersearch.distill import Execution
from fersearch.distill.recorded import WAITED, RecordedStep
from fersearch.errors import FersearchError
from fersearch.models import Batch

CPU = torch.device("cpu")


class Gpu:
    """Stands in for ``torch.cuda``: while it records, nothing is computed."""

    def __init__(self):
        self.recording = False
        self.waits = "default"
        self.fault = ""
        self.work = None

    def replay(self):
        self.work()

    @contextmanager
    def graph(self, graph, *, stream, capture_error_mode):
        self.recording = True
        try:
            yield
        finally:
            self.recording = False
        if self.fault:
            raise RuntimeError(self.fault)

    def wait_stream(self, stream):
        pass

    def current_stream(self, device):
        return self

    def stream(self, stream):
        return nullcontext()

    def get_sync_debug_mode(self):
        return self.waits

    def set_sync_debug_mode(self, mode):
        self.waits = mode


class Run:
    """A layer, its optimiser and its step; ``made`` are the learning rates and the inputs."""

    def __init__(self, gpu, inside=lambda: None):
        self.layer = nn.Linear(1, 1)
        self.optimizer = torch.optim.SGD(self.layer.parameters(), lr=0.5)
        self.gpu, self.inside = gpu, inside
        self.made = []
        self.recorded = RecordedStep(self.optimizer, CPU)

    def step(self, batch):
        rate = self.optimizer.param_groups[0]["lr"]

        def work():
            self.made.append((float(rate), float(batch.inputs)))

        self.inside()
        if self.gpu.recording:
            self.gpu.work = work
        else:
            work()

    def go(self, count, rate=0.5):
        for number in range(count):
            self.optimizer.param_groups[0]["lr"] = rate
            batch = Batch(
                inputs=torch.tensor(float(number)),
                labels=torch.tensor(number),
                indices=torch.tensor(number),
                epoch=0,
                progress=0.0,
            )
            self.recorded(self.step, batch)
            assert self.optimizer.param_groups[0]["lr"] == rate


@pytest.fixture
def gpu(monkeypatch):
    stand_in = Gpu()
    for name in ("current_stream", "get_sync_debug_mode", "graph", "set_sync_debug_mode", "stream"):
        monkeypatch.setattr(torch.cuda, name, getattr(stand_in, name))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: stand_in, raising=False)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stand_in)
    return stand_in


def test_every_step_sees_its_own_batch_and_learning_rate(gpu):
    run = Run(gpu)
    run.go(3)
    assert not run.recorded.is_recorded
    run.go(2, rate=0.25)
    run.go(1, rate=0.125)
    assert run.recorded.is_recorded
    assert run.made == [(0.5, 0), (0.5, 1), (0.5, 2), (0.25, 0), (0.25, 1), (0.125, 0)]


def test_a_step_that_waits_for_the_gpu_is_made_as_it_is(gpu):
    def wait():
        if gpu.waits == "warn":
            warnings.warn(f"{WAITED} (somewhere)", stacklevel=1)

    run = Run(gpu, wait)
    run.go(6)
    assert "the step waits for the GPU (test_distill_recording.py, line" in run.recorded.refusal
    assert not run.recorded.is_recorded
    assert [inputs for _, inputs in run.made] == list(range(6))
    assert gpu.waits == "default"


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(1)])
def test_a_step_that_draws_on_the_host_is_made_as_it_is(gpu, draw):
    run = Run(gpu, draw)
    run.go(5)
    assert run.recorded.refusal == "the step draws random numbers on the host"
    assert len(run.made) == 5


def test_other_warnings_of_a_step_are_seen(gpu):
    run = Run(gpu, lambda: warnings.warn("this network is old", stacklevel=1))
    with pytest.warns(UserWarning, match="this network is old") as caught:
        run.go(5)
    assert run.recorded.is_recorded
    assert len(caught) >= 4


def test_a_recording_that_fails_says_what_to_do(gpu):
    run = Run(gpu)
    gpu.fault = "operation not permitted when stream is capturing\nand more"
    with pytest.raises(FersearchError, match="stream is capturing") as caught:
        run.go(4)
    assert "FERSEARCH_RECORD=0" in caught.value.hint
    assert run.optimizer.param_groups[0]["lr"] == 0.5


def test_the_environment_turns_recording_off(monkeypatch):
    assert Execution().records
    monkeypatch.setenv("FERSEARCH_RECORD", "0")
    assert not Execution().records
