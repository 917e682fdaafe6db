"""Latency: several networks in one fresh process, in turn."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fersearch.deploy import latency
from fersearch.deploy.latency import Architecture, LatencyReport, measure_latencies
from fersearch.errors import FersearchError, InputError

PLUGIN = '''
"""A network that chatters, one that fails, one that ends its process, and a runtime."""
import ctypes
import os
import time

import torch
from timm.models import register_model
from torch import nn

from fersearch.deploy.latency import RUNTIMES

print("imported")
RUNTIMES["sleeping"] = lambda network, image: lambda: time.sleep(0.0005)
RUNTIMES["broken"] = lambda network, image: image.nothing


class Chatty(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.fc = nn.Linear(3, classes)

    def forward(self, x):
        print("forward")
        return self.fc(x.mean(dim=(2, 3)))


class Tired(Chatty):
    calls = 0

    def forward(self, x):
        Tired.calls += 1
        if Tired.calls > 60:
            raise KeyError("tired")
        return super().forward(x)


class Deadly(Chatty):
    def forward(self, x):
        os._exit(3)


@register_model
def latency_chatty(pretrained=False, **options):
    return Chatty(options["num_classes"])


@register_model
def latency_tired(pretrained=False, **options):
    return Tired(options["num_classes"])


@register_model
def latency_deadly(pretrained=False, **options):
    return Deadly(options["num_classes"])
'''


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugins") / "odd.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return path


def architecture(model: str, **options: Any) -> Architecture:
    return Architecture(model=model, options=options, num_classes=7, image_size=16)


CHATTY, TIRED = architecture("latency_chatty"), architecture("latency_tired")
STUDENT, UNKNOWN = architecture("shufflenet_v2_x0_5"), architecture("shufflenet_v9")


@pytest.fixture(scope="module")
def report(plugin: Path) -> LatencyReport:
    networks = [CHATTY, STUDENT, TIRED, UNKNOWN, STUDENT]
    return measure_latencies(networks, plugins=[plugin], timeout=120)


def test_networks_of_one_session_are_measured(report: LatencyReport) -> None:
    assert set(report.latencies) == {CHATTY.key, STUDENT.key}
    for found in report.latencies.values():
        assert 0 < found.min <= found.p50 <= found.p90 < 1000
        assert (found.runtime, found.threads, found.image_size, found.runs) == ("eager", 1, 16, 200)
        assert found.unsteady == (found.p50 / found.min > 1.3)
        assert f"PyTorch {torch.__version__.split('+')[0]}" in found.host
    assert len({found.session for found in report.latencies.values()}) == 1
    assert report.latencies[STUDENT.key].p50 > report.latencies[CHATTY.key].p50


def test_a_network_that_fails_is_left_out_with_its_reason(report: LatencyReport) -> None:
    assert set(report.failures) == {TIRED.key, UNKNOWN.key}
    assert "KeyError: 'tired'" in report.failures[TIRED.key]
    assert "unknown model 'shufflenet_v9'" in report.failures[UNKNOWN.key]


def test_equal_architectures_have_one_key() -> None:
    assert architecture("a", x=1, y=2).key == architecture("a", y=2, x=1).key
    keys = {architecture("a", x=1).key, architecture("a", x=2).key, architecture("b", x=1).key}
    assert len(keys) == 3


def test_a_plugin_brings_a_runtime(plugin: Path) -> None:
    found = measure_latencies([CHATTY], plugins=[plugin], runtime="sleeping", timeout=120)
    assert found.latencies[CHATTY.key].runtime == "sleeping"
    assert found.latencies[CHATTY.key].min >= 0.5


def test_a_process_that_dies_is_told(plugin: Path) -> None:
    with pytest.raises(FersearchError, match="died: ") as caught:
        measure_latencies([architecture("latency_deadly")], plugins=[plugin], timeout=120)
    assert not isinstance(caught.value, InputError)


def test_a_measurement_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(FersearchError, match=r"not measured within 0.2 s; allow more time"):
        measure_latencies([STUDENT], timeout=0.2)


def test_plugins_that_cannot_be_loaded_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the plug-in .*none\.py.*; name a Python"):
        measure_latencies([STUDENT], plugins=[tmp_path / "none.py"], timeout=120)


def test_no_network_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    assert measure_latencies([]) == LatencyReport(latencies={}, failures={})


@pytest.mark.parametrize(
    "options", [{"rounds": 19}, {"runs_per_round": 9}, {"warmup": 19}, {"rounds": 0}]
)
def test_too_few_runs_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="too few for a latency; use 200"):
        measure_latencies([STUDENT], **options)


def finished(code: int, stdout: str = "", stderr: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, stdout, stderr)


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (finished(-9), "died: killed by SIGKILL"),
        (finished(1, stderr="Traceback\nMemoryError: all\n"), "died: MemoryError: all"),
        (finished(3), "died: exit code 3, without a word"),
        (finished(0, stdout="hello"), "gave no answer: 'hello'"),
    ],
)
def test_every_end_of_the_process_is_told(
    monkeypatch: pytest.MonkeyPatch, done: subprocess.CompletedProcess[str], words: str
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(FersearchError, match=words):
        measure_latencies([STUDENT])


def test_a_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(FersearchError, match=r"cannot start a process .* no memory"):
        measure_latencies([STUDENT])


def request_for(*wanted: Architecture, runtime: str = "eager") -> dict[str, Any]:
    return {
        "architectures": {
            item.key: {
                "model": item.model,
                "options": item.options,
                "num_classes": item.num_classes,
                "image_size": item.image_size,
            }
            for item in wanted
        },
        "plugins": [],
        "runtime": runtime,
        "rounds": 3,
        "runs_per_round": 2,
        "warmup": 4,
    }


def test_rounds_begin_with_another_network_each(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def noted(name: str) -> Any:
        return lambda: turns.append(name)

    monkeypatch.setattr(latency, "prepared", lambda runtime, wanted, warmup: noted(wanted["model"]))
    reply = latency.answer(request_for(architecture("a"), architecture("b"), architecture("c")))
    # Three runs a turn, the first of them not timed.
    assert turns[::3] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert {len(times) for times in reply["nanoseconds"].values()} == {6}


def test_networks_are_run_in_evaluation_mode_without_gradients_channels_last() -> None:
    seen: list[tuple[bool, bool, bool, bool]] = []

    def looking(network: torch.nn.Module, image: torch.Tensor) -> Any:
        weight = network.conv1[0].weight

        def call() -> None:
            seen.append(
                (
                    network.training,
                    torch.is_inference_mode_enabled(),
                    image.is_contiguous(memory_format=torch.channels_last),
                    weight.is_contiguous(memory_format=torch.channels_last),
                )
            )

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(latency.RUNTIMES, "looking", looking)
        latency.answer(request_for(STUDENT, runtime="looking"))
    assert set(seen) == {(False, True, True, True)}


def test_unknown_runtimes_and_broken_ones() -> None:
    reply = latency.answer(request_for(STUDENT, runtime="eagre"))
    assert reply == {"error": "unknown runtime 'eagre'", "hint": "did you mean eager?"}

    def broken(network: torch.nn.Module, image: torch.Tensor) -> Any:
        raise AttributeError("nothing")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(latency.RUNTIMES, "broken", broken)
        reply = latency.answer(request_for(STUDENT, runtime="broken"))
    assert "cannot be prepared: AttributeError: nothing" in reply["failures"][STUDENT.key]


def test_the_answer_is_one_line_of_json_and_the_only_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(torch, "set_num_interop_threads", lambda _: None)
    monkeypatch.setattr(latency.gc, "disable", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request_for(STUDENT))))
    monkeypatch.setattr(latency, "load_installed_plugins", lambda: print("chatter"))
    latency.main()
    captured = capsys.readouterr()
    reply = json.loads(captured.out.strip())
    assert np.array(reply["nanoseconds"][STUDENT.key]).shape == (6,)
    assert captured.err == "chatter\n"
