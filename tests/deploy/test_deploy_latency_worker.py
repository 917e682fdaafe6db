"""The process that measures latencies: order of its rounds, its answers, its runtimes."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fersearch.deploy import latency_worker, runtimes
from fersearch.deploy.latency import Architecture
from fersearch.deploy.runtimes import RUNTIMES, FileRuntime, runtime_version

ONNX = ("onnxruntime", "onnxruntime-int8")
EAGER = ("eager",)


def architecture(model: str) -> Architecture:
    return Architecture(model=model, options={}, num_classes=7, image_size=16)


STUDENT = architecture("shufflenet_v2_x0_5")


def request_for(
    *wanted: Architecture, runtimes: tuple[str, ...] = EAGER, **more: Any
) -> dict[str, Any]:
    return {
        "task": "measure",
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
        "runtimes": list(runtimes),
        "files": {},
        "unexported": {},
        "rounds": 3,
        "runs_per_round": 2,
        "warmup": 4,
        **more,
    }


def times_of(reply: dict[str, Any]) -> dict[tuple[str, str], list[int]]:
    return {(key, name): times for key, name, times in reply["nanoseconds"]}


def test_rounds_visit_every_network_in_every_runtime_and_begin_with_another_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    turns: list[str] = []

    def start(path: Path, image: np.ndarray) -> Any:
        return lambda: turns.append(f"{path.stem} file")

    def prepare(network: torch.nn.Module, image: torch.Tensor) -> Any:
        return lambda: turns.append(f"{type(network).__name__} network")

    monkeypatch.setitem(
        RUNTIMES, "file", FileRuntime(package="numpy", precision="fp32", start=start)
    )
    monkeypatch.setitem(RUNTIMES, "network", prepare)
    monkeypatch.setattr(
        Architecture, "build", lambda self: type(self.model, (torch.nn.Module,), {})()
    )
    wanted = (architecture("a"), architecture("b"))
    files = {item.key: {"fp32": str(tmp_path / f"{item.model}.onnx")} for item in wanted}
    reply = latency_worker.answer(request_for(*wanted, runtimes=("file", "network"), files=files))
    every = ["a file", "a network", "b file", "b network"]
    assert turns[:20] == [name for name in every for _ in range(5)]  # 4 to warm up, after one more
    # Three runs a turn, the first of them not timed.
    rounds = [turns[20:][place : place + 12 : 3] for place in (0, 12, 24)]
    assert rounds == [every, every[1:] + every[:1], every[2:] + every[:2]]
    assert {len(times) for times in times_of(reply).values()} == {6}
    assert reply["versions"] == {"file": np.__version__, "network": ""}


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
        patch.setitem(RUNTIMES, "looking", looking)
        latency_worker.answer(request_for(STUDENT, runtimes=("looking",)))
    assert set(seen) == {(False, True, True, True)}


def test_unknown_runtimes_and_broken_ones() -> None:
    reply = latency_worker.answer(request_for(STUDENT, runtimes=("eagre",)))
    assert reply == {"error": "unknown runtime 'eagre'", "hint": "did you mean eager?"}

    def broken(network: torch.nn.Module, image: torch.Tensor) -> Any:
        raise AttributeError("nothing")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RUNTIMES, "broken", broken)
        reply = latency_worker.answer(request_for(STUDENT, runtimes=("broken", "eager")))
    assert [[*key, why] for *key, why in reply["failures"]] == [
        [STUDENT.key, "broken", "it cannot be prepared: AttributeError: nothing"]
    ]
    assert set(times_of(reply)) == {(STUDENT.key, "eager")}


def test_files_that_were_not_made_or_are_damaged_fail_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    reply = latency_worker.answer(
        request_for(
            STUDENT,
            runtimes=(*ONNX, "eager"),
            files={STUDENT.key: {"fp32": str(tmp_path / "bad.onnx")}},
            unexported={STUDENT.key: {"int8": "it was too odd"}},
        )
    )
    reasons = {name: why for _, name, why in reply["failures"]}
    assert "it cannot be prepared: " in reasons["onnxruntime"]
    assert reasons["onnxruntime-int8"] == "it was too odd"
    assert set(times_of(reply)) == {(STUDENT.key, "eager")}


def test_the_answer_is_one_line_of_json_and_the_only_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(torch, "set_num_interop_threads", lambda _: None)
    monkeypatch.setattr(latency_worker.gc, "disable", lambda: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request_for(STUDENT))))
    monkeypatch.setattr(latency_worker, "load_installed_plugins", lambda: print("chatter"))
    latency_worker.main()
    captured = capsys.readouterr()
    reply = json.loads(captured.out.strip())
    assert np.array(times_of(reply)[STUDENT.key, "eager"]).shape == (6,)
    assert captured.err == "chatter\n"


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph that doubles its input, under the names that exported networks have."""
    onnx = pytest.importorskip("onnx")
    shape = ["batch", 3, 16, 16]
    images, logits = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name in ("images", "logits")
    )
    node = onnx.helper.make_node("Add", ["images", "images"], ["logits"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "doubles", [images], [logits]),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=10,
    )
    path = tmp_path_factory.mktemp("graph") / "doubles.onnx"
    onnx.save(model, path)
    return path


def test_onnx_runtime_runs_on_one_thread_of_the_processor(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    sessions: list[Any] = []
    make = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *a, **k: sessions.append(make(*a, **k)) or sessions[0],
    )
    call = runtimes.onnx_runtime(graph, np.ones((1, 3, 16, 16), np.float32))
    call()
    options = sessions[0].get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert sessions[0].get_providers() == ["CPUExecutionProvider"]
    assert runtime_version("onnxruntime-int8") == onnxruntime.__version__


def test_openvino_runs_the_same_files_in_float32_on_one_thread(graph: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    image = np.linspace(0, 1, 3 * 16 * 16, dtype=np.float32).reshape(1, 3, 16, 16)
    call = runtimes.open_vino(graph, image)
    (result,) = call().values()
    np.testing.assert_array_equal(result, 2 * image)
    assert openvino.__version__.startswith(runtime_version("openvino"))
