"""Latency: several networks in several runtimes, in one fresh process, in turn."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from fersearch.deploy import graph_cache
from fersearch.deploy.latency import Architecture, LatencyReport, measure_latencies
from fersearch.deploy.runtimes import check_installed
from fersearch.environment import installed_version
from fersearch.errors import FersearchError, InputError

ONNX = ("onnxruntime", "onnxruntime-int8")
EAGER = ("eager",)

PLUGIN = '''
"""A network that chatters, some that fail or end their process, and a runtime."""
import ctypes
import os
import sys
import time

import torch
from timm.models import register_model
from torch import nn

from fersearch.deploy.runtimes import RUNTIMES

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


class Branching(Chatty):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


class DeadlyToExport(Chatty):
    def forward(self, x):
        if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export():
            os._exit(3)
        return super().forward(x)


def register(name, kind):
    def make(pretrained=False, **options):
        return kind(options["num_classes"])
    make.__name__ = name
    make.__module__ = __name__
    register_model(make)


for kind in (Chatty, Tired, Deadly, Branching, DeadlyToExport):
    register("latency_" + kind.__name__.lower(), kind)
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
BRANCHING = architecture("latency_branching")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "onnx"


@pytest.fixture(scope="module")
def report(plugin: Path, cache: Path) -> LatencyReport:
    networks = [CHATTY, STUDENT, TIRED, UNKNOWN, STUDENT, BRANCHING]
    return measure_latencies(
        networks, runtimes=(*ONNX, *EAGER), plugins=[plugin], cache=cache, timeout=240
    )


@pytest.mark.slow
def test_networks_of_one_session_are_measured_in_all_runtimes(report: LatencyReport) -> None:
    both = {(item.key, name) for item in (CHATTY, STUDENT) for name in (*ONNX, *EAGER)}
    assert set(report.latencies) >= both
    for (_, name), found in report.latencies.items():
        assert 0 < found.min <= found.p50 <= found.p90 < 1000
        assert (found.runtime, found.threads, found.image_size, found.runs) == (name, 1, 16, 200)
        assert found.unsteady == (found.p50 / found.min > 1.3)
        expected = "torch" if name == "eager" else "onnxruntime"
        assert found.runtime_version == installed_version(expected)
    assert len({(found.session, found.host) for found in report.latencies.values()}) == 1
    eager, fp32 = (report.latencies[STUDENT.key, name].p50 for name in ("eager", "onnxruntime"))
    assert eager > fp32


@pytest.mark.slow
def test_a_network_that_fails_is_left_out_with_its_reason(report: LatencyReport) -> None:
    assert "KeyError: 'tired'" in report.failures[TIRED.key, "eager"]
    for name in (*ONNX, *EAGER):
        assert "unknown model 'shufflenet_v9'" in report.failures[UNKNOWN.key, name]
    # PyTorch runs it, but there is no graph of it.
    assert (BRANCHING.key, "eager") in report.latencies
    for name in ONNX:
        assert "cannot be written as ONNX" in report.failures[BRANCHING.key, name]
    assert not set(report.failures) & set(report.latencies)
    assert report.died == frozenset()


@pytest.mark.slow
def test_exports_are_made_once_and_made_again_where_they_are_gone_or_damaged(
    report: LatencyReport, cache: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.glob("*.onnx")}
    assert len(before) >= 4
    plain = graph_cache.cached_graph(STUDENT, "fp32", cache)
    small = graph_cache.cached_graph(STUDENT, "int8", cache)
    assert {plain, small} <= set(before)
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*.onnx")} == before
    assert small.stat().st_size < 0.6 * plain.stat().st_size
    plain.write_bytes(plain.read_bytes()[:-1000])
    small.unlink()
    assert graph_cache.cached_graph(STUDENT, "int8", cache) == small
    assert graph_cache.is_readable(plain)
    assert graph_cache.is_readable(small)


@pytest.mark.slow
def test_a_network_that_kills_its_exporting_process_costs_the_others_nothing(
    plugin: Path, cache: Path, report: LatencyReport
) -> None:
    deadly = architecture("latency_deadlytoexport")
    found = measure_latencies(
        [deadly, STUDENT], runtimes=("onnxruntime",), plugins=[plugin], cache=cache, timeout=240
    )
    assert set(found.latencies) == {(STUDENT.key, "onnxruntime")}
    reason = found.failures[deadly.key, "onnxruntime"]
    assert reason.startswith("the process that exported it to ONNX died: ")
    assert found.died == {(deadly.key, "onnxruntime")}


def test_a_graph_is_named_by_all_that_shaped_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[tuple[str, str]] = []

    def note(network: torch.nn.Module, target: Path, *, image_size: int) -> None:
        made.append((type(network).__name__, target.name))
        target.touch()

    monkeypatch.setattr(graph_cache, "to_onnx", note)
    first = graph_cache.cached_graph(STUDENT, "fp32", tmp_path)
    assert graph_cache.cached_graph(architecture("shufflenet_v2_x1_0"), "fp32", tmp_path) != first
    monkeypatch.setattr(graph_cache, "installed_version", lambda name: "99.0")
    assert graph_cache.cached_graph(STUDENT, "fp32", tmp_path) != first
    monkeypatch.undo()
    monkeypatch.setattr(graph_cache, "to_onnx", note)
    assert graph_cache.cached_graph(STUDENT, "fp32", tmp_path) == first
    edited = tmp_path / "edited.py"
    edited.write_text("another network")
    monkeypatch.setattr(graph_cache, "source_of", lambda model: str(edited))
    assert graph_cache.cached_graph(STUDENT, "fp32", tmp_path) != first
    assert len(made) == 5  # an empty file is no graph


def test_equal_architectures_have_one_key_and_equal_weights() -> None:
    assert architecture("a", x=1, y=2).key == architecture("a", y=2, x=1).key
    keys = {architecture("a", x=1).key, architecture("a", x=2).key, architecture("b", x=1).key}
    assert len(keys) == 3
    state = torch.get_rng_state()
    first, second = STUDENT.build().state_dict(), STUDENT.build().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_a_plugin_brings_a_runtime(plugin: Path) -> None:
    found = measure_latencies([CHATTY], plugins=[plugin], runtimes=["sleeping"], timeout=120)
    figures = found.latencies[CHATTY.key, "sleeping"]
    assert figures.runtime == "sleeping"
    assert figures.runtime_version == ""
    assert figures.min >= 0.5


def test_a_process_that_dies_is_told(plugin: Path) -> None:
    with pytest.raises(FersearchError, match="died: ") as caught:
        measure_latencies(
            [architecture("latency_deadly")], runtimes=EAGER, plugins=[plugin], timeout=120
        )
    assert not isinstance(caught.value, InputError)


def test_a_measurement_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(FersearchError, match=r"not measured within 0.2 s; allow more time"):
        measure_latencies([STUDENT], runtimes=EAGER, timeout=0.2)


def test_plugins_that_cannot_be_loaded_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the plug-in .*none\.py.*; name a Python"):
        measure_latencies([STUDENT], runtimes=EAGER, plugins=[tmp_path / "none.py"], timeout=120)


def test_no_network_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    assert measure_latencies([]) == LatencyReport(latencies={}, failures={})


@pytest.mark.parametrize(
    "options", [{"rounds": 19}, {"runs_per_round": 9}, {"warmup": 19}, {"rounds": 0}]
)
def test_too_few_runs_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="too few for a latency; use 200"):
        measure_latencies([STUDENT], **options)


@pytest.mark.parametrize(
    ("name", "absent", "words"),
    [
        ("onnxruntime", "onnxruntime", r"onnxruntime is not installed; .*fersearch\[export\]"),
        ("onnxruntime-int8", "onnxscript", r"onnxscript is not installed; .*fersearch\[export\]"),
        ("openvino", "openvino", r"openvino is not installed.*; run pip install openvino"),
    ],
)
def test_a_runtime_that_is_not_installed_is_refused_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, name: str, absent: str, words: str
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == absent else find(name)
    )
    monkeypatch.setattr(subprocess, "run", None)
    with pytest.raises(InputError, match=words):
        measure_latencies([STUDENT], runtimes=[name])


def test_unknown_runtimes_are_refused_with_near_names() -> None:
    with pytest.raises(InputError, match=r"unknown runtime 'onnxruntim'; did you mean onnxruntime"):
        check_installed("onnxruntim")
    check_installed("eager")


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
        measure_latencies([STUDENT], runtimes=EAGER)


def test_a_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(FersearchError, match=r"cannot start a process .* no memory"):
        measure_latencies([STUDENT], runtimes=EAGER)


@pytest.mark.slow
def test_openvino_is_measured_beside_onnx_runtime(report: LatencyReport, cache: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    names = ("onnxruntime", "openvino", "openvino-int8")
    found = measure_latencies([STUDENT], runtimes=names, cache=cache, timeout=240)
    assert set(found.latencies) == {(STUDENT.key, name) for name in names}
