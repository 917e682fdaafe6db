"""Networks as ONNX graphs: the same logits for any batch, and an 8-bit copy that is one."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from deploy_samples import AWKWARD_PLUGIN
from onnx import numpy_helper

from fersearch.deploy import graph
from fersearch.deploy.extra import missing, require
from fersearch.deploy.graph import multiplies_without_saturation, set_metadata, to_int8, to_onnx
from fersearch.errors import InputError
from fersearch.models import create
from fersearch.plugins import load_plugin


def network_of(model: str, *, image_size: int) -> torch.nn.Module:
    torch.manual_seed(0)
    network = create(model, num_classes=8, image_size=image_size)
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # running statistics of these very images, as after training
    with torch.no_grad():
        network(torch.randn(32, 3, image_size, image_size))
    return network.eval()


def run(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images})[0]


def differences(network: torch.nn.Module, path: Path, *, image_size: int) -> list[float]:
    found = []
    for batch in (1, 2, 7):
        images = torch.randn(batch, 3, image_size, image_size)
        with torch.no_grad():
            expected = network(images).numpy()
        answer = run(path, images.numpy())
        assert answer.shape == (batch, 8)
        found.append(float(np.abs(answer - expected).max()))
    return found


def lost(path: Path, small: Path, images: np.ndarray) -> float:
    """Return the typical error of the 8-bit file, as a share of how far logits spread."""
    exact, rounded = run(path, images), run(small, images)
    return float(np.abs(rounded - exact).mean() / np.abs(exact - exact.mean(axis=0)).mean())


@pytest.fixture(scope="module")
def tiny(tiny_plugin, tmp_path_factory):
    network = network_of("tiny_student", image_size=16)
    path = tmp_path_factory.mktemp("graph") / "tiny.onnx"
    to_onnx(network, path, image_size=16, metadata={"key": "value"})
    return network, path


def test_an_onnx_file_gives_the_networks_logits_for_any_batch(tiny):
    network, path = tiny
    assert max(differences(network, path, image_size=16)) < 1e-5
    assert [item.name for item in path.parent.iterdir()] == ["tiny.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["shufflenet_v2_x0_5", "eff_resnet18", "rcl_net"])
def test_real_networks_keep_their_logits_and_run_in_eight_bits(model, tmp_path):
    network = network_of(model, image_size=48)
    path, small = tmp_path / "real.onnx", tmp_path / "small.onnx"
    to_onnx(network, path, image_size=48)
    assert max(differences(network, path, image_size=48)) < 1e-4
    images = torch.randn(64, 3, 48, 48).numpy()
    to_int8(path, small, calibration=images)
    assert lost(path, small, images) < 1  # random weights: trained ones are measured by export
    assert small.stat().st_size < 0.4 * path.stat().st_size


def test_the_file_says_what_it_was_told_and_nothing_of_this_machine(tiny):
    _, path = tiny
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {item.key: item.value for item in model.metadata_props} == {"key": "value"}
    assert [item.version for item in model.opset_import] == [graph.OPSET]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()
    shapes = [
        [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["batch", 3, 16, 16], ["batch", 8]]


def test_the_same_network_gives_the_same_bytes_and_is_left_as_it_was(tiny, tmp_path, capfd):
    network, path = tiny
    handlers = list(logging.getLogger().handlers)
    network.train()
    network.dropout.eval()
    to_onnx(network, tmp_path / "again.onnx", image_size=16, metadata={"key": "value"})
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
    assert network.training
    assert not network.dropout.training
    network.eval()
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().manager.disable == logging.NOTSET


def test_a_network_that_looks_at_its_input_is_refused_in_one_line(tmp_path, capfd):
    load_plugin(AWKWARD_PLUGIN)
    network = create("awkward_branching", num_classes=8, image_size=16)
    with pytest.raises(InputError) as refused:
        to_onnx(network, tmp_path / "awkward.onnx", image_size=16)
    text = str(refused.value)
    assert text.startswith("Branching cannot be written as ONNX: GuardOnDataDependentSymNode")
    assert "\x1b" not in text
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_the_eight_bit_copy_is_one_and_keeps_the_metadata(tiny, tmp_path, capfd):
    _, path = tiny
    images = torch.randn(100, 3, 16, 16).numpy()
    small = tmp_path / "small.onnx"
    to_int8(path, small, calibration=images)
    assert capfd.readouterr() == ("", "")
    model = onnx.load(small)
    onnx.checker.check_model(model, full_check=True)
    assert {item.key: item.value for item in model.metadata_props} == {"key": "value"}
    assert {node.domain for node in model.graph.node} == {""}
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}
    weights = [item for item in model.graph.initializer if item.data_type == onnx.TensorProto.INT8]
    assert any(numpy_helper.to_array(item).ndim == 4 for item in weights)
    assert 0 < lost(path, small, images) < 0.05
    assert [item.name for item in tmp_path.iterdir()] == ["small.onnx"]


def test_one_odd_image_does_not_spoil_the_ranges(tiny, tmp_path):
    _, path = tiny
    images = torch.randn(512, 3, 16, 16).numpy()
    odd = images.copy()
    odd[100] *= 200
    to_int8(path, tmp_path / "small.onnx", calibration=odd)
    assert lost(path, tmp_path / "small.onnx", images) < 0.5


def test_weights_keep_seven_bits_where_eight_would_overflow(tiny, tmp_path, monkeypatch):
    _, path = tiny
    images = torch.randn(50, 3, 16, 16).numpy()
    largest = {}
    for safe in (True, False):
        monkeypatch.setattr(graph, "multiplies_without_saturation", lambda safe=safe: safe)
        to_int8(path, tmp_path / "small.onnx", calibration=images)
        largest[safe] = max(
            int(np.abs(numpy_helper.to_array(item).astype(int)).max())
            for item in onnx.load(tmp_path / "small.onnx").graph.initializer
            if item.data_type == onnx.TensorProto.INT8 and len(item.dims) == 4
        )
    assert largest[True] == 127
    assert largest[False] in {63, 64}


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("processor: 0\nflags\t\t: sse2 avx2 avx512f avx512_vnni\n", True),
        ("flags : avx2 avx_vnni", True),
        ("flags : avx2 avx512f amx_int8", True),
        ("flags : sse2 avx2 avx512f avx512_bf16", False),
        ("", False),
    ],
)
def test_processors_with_a_32_bit_sum_are_known_by_their_flags(text, safe, tmp_path, monkeypatch):
    monkeypatch.setattr(graph.platform, "machine", lambda: "x86_64")
    (tmp_path / "cpuinfo").write_text(text)
    assert multiplies_without_saturation(tmp_path / "cpuinfo") is safe
    assert multiplies_without_saturation(tmp_path / "nothing") is False
    monkeypatch.setattr(graph.platform, "machine", lambda: "aarch64")
    assert multiplies_without_saturation(tmp_path / "nothing") is True


def test_what_is_no_graph_cannot_be_quantized(tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(InputError, match=r"text\.onnx cannot be quantized"):
        to_int8(tmp_path / "text.onnx", tmp_path / "small.onnx", calibration=np.zeros((1, 3, 4, 4)))
    assert not (tmp_path / "small.onnx").exists()


def test_metadata_can_be_replaced_without_touching_the_graph(tiny, tmp_path):
    _, path = tiny
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(path.read_bytes())
    set_metadata(copy, {"other": "ä"})
    before, after = onnx.load(path), onnx.load(copy)
    assert before.graph == after.graph
    assert {item.key: item.value for item in after.metadata_props} == {"other": "ä"}


def test_a_missing_package_is_named_with_the_way_to_get_it():
    assert missing() == []
    assert missing("onnx", "no_such_package") == ["no_such_package"]
    with pytest.raises(InputError, match=r'pip install "fersearch\[export\]"'):
        require("onnx", "no_such_package")
