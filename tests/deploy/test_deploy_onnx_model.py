"""Predictors: an ONNX file and a saved network answer alike, and bad files are told in a line."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from deploy_samples import CLASSES, COLOUR, save_network
from hypothesis import given, settings
from hypothesis import strategies as st

from fersearch.deploy.export import export_bundle
from fersearch.deploy.graph import set_metadata, to_onnx
from fersearch.deploy.metadata import METADATA_KEY, from_metadata, measured, to_metadata
from fersearch.deploy.model_info import ModelInfo
from fersearch.deploy.onnx_model import OnnxPredictor, softmax
from fersearch.deploy.torch_model import TorchPredictor
from fersearch.errors import FersearchError, InputError
from fersearch.models import load_bundle

INFO = ModelInfo(
    model="tiny_student",
    title="Schüler 1",
    classes=CLASSES,
    image_size=16,
    mean=(0.5053,),
    std=(0.2545,),
    protocol_hash="0123456789abcdef",
    licence="ask first",
    metrics={"val_accuracy": 0.25},
)


@pytest.fixture(scope="module", params=["grey", "colour"])
def pair(request, tmp_path_factory):
    """A saved network and the ONNX file of it, for grey and for colour images."""
    folder = tmp_path_factory.mktemp("pair")
    options = {"preprocessing": COLOUR} if request.param == "colour" else {}
    bundle = save_network(folder / "net", **options)
    export_bundle(bundle)
    return TorchPredictor(bundle), OnnxPredictor(folder / "net.onnx")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    export_bundle(save_network(folder / "net"))
    return folder / "net.onnx"


@pytest.fixture
def changed(good, tmp_path):
    """Write a good file with something changed, and return its path."""

    def change(alter) -> object:
        model = onnx.load(good)
        alter(model)
        onnx.save(model, tmp_path / "changed.onnx")
        return tmp_path / "changed.onnx"

    return change


def images_of(info: ModelInfo, count: int) -> np.ndarray:
    shape = (count, info.image_size, info.image_size, info.channels)
    return np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("count", [0, 1, 3, 130])
def test_both_runtimes_give_the_same_probabilities(pair, count):
    network, file = pair
    images = images_of(file.info, count)
    found = file.probabilities(images)
    assert found.shape == (count, len(CLASSES))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found, network.probabilities(images), atol=1e-5)
    assert (network.runtime, file.runtime) == ("pytorch", "onnxruntime")
    assert network.info == file.info


def test_each_image_is_answered_for_itself(pair):
    _, file = pair
    images = images_of(file.info, 70)
    alone = np.concatenate([file.probabilities(image[None]) for image in images])
    np.testing.assert_allclose(file.probabilities(images), alone, atol=1e-6)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 16, 16, 2), np.uint8),
        np.zeros((1, 1, 16, 16), np.uint8),
        np.zeros((1, 8, 8, 1), np.uint8),
        np.zeros((16, 16, 1), np.uint8),
        np.zeros((1, 16, 16, 1), np.float32),
    ],
)
def test_other_shapes_are_refused_with_the_right_one(pair, images):
    for predictor in pair:
        with pytest.raises(InputError, match=r"takes uint8 images of shape \(N, 16, 16, [13]\)"):
            predictor.probabilities(images)


def test_a_saved_network_shows_where_it_looks_for_the_class_that_is_asked_for(pair):
    network, file = pair
    image = images_of(network.info, 1)[0]
    maps = [network.grad_cam(image, target) for target in range(len(CLASSES))]
    for found in maps:
        assert found.shape == (16, 16)
        assert found.dtype == np.float32
        assert 0 <= found.min() <= found.max() <= 1
    assert len({found.tobytes() for found in maps}) > 1
    before = network.probabilities(image[None])
    network.grad_cam(image, 0)
    assert np.array_equal(network.probabilities(image[None]), before)
    assert file.grad_cam(image, 0) is None
    with pytest.raises(InputError, match="no class 7"):
        network.grad_cam(image, 7)


def test_the_map_is_that_of_the_class_also_when_it_is_not_the_predicted_one(tmp_path):
    from fersearch.models import grad_cam

    bundle = save_network(tmp_path / "net")
    predictor = TorchPredictor(bundle)
    image = images_of(predictor.info, 1)[0]
    network, _ = load_bundle(bundle)
    inputs = torch.from_numpy(predictor.info.network_input(image[None]))
    seen = grad_cam(network, inputs)
    found = predictor.grad_cam(image, int(seen.predictions[0]))
    np.testing.assert_allclose(found, seen.maps[0], atol=1e-6)


def test_a_network_without_maps_has_nothing_to_show(tmp_path):
    predictor = TorchPredictor(save_network(tmp_path / "net", model="awkward_flat"))
    assert predictor.grad_cam(images_of(predictor.info, 1)[0], 0) is None


def test_metadata_come_back_as_they_were():
    properties = to_metadata(INFO, weights_sha256="ff")
    assert from_metadata(properties, name="it") == INFO
    assert properties["weights_sha256"] == "ff"
    assert all(isinstance(value, str) for value in properties.values())


@settings(max_examples=40)
@given(
    title=st.text(),
    classes=st.lists(st.text(min_size=1), min_size=2, max_size=9, unique=True),
    mean=st.floats(0, 1),
    metrics=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_any_names_and_numbers_come_back_exactly(title, classes, mean, metrics):
    info = replace(INFO, title=title, classes=tuple(classes), mean=(mean,), metrics=metrics)
    assert from_metadata(to_metadata(info), name="it") == info


def test_metadata_say_the_same_in_plain_words():
    plain = to_metadata(INFO)
    assert json.loads(plain["classes"]) == list(CLASSES)
    assert json.loads(plain["mean"]) == [0.5053] * 3
    assert (plain["image_size"], plain["layout"], plain["precision"]) == ("16", "NCHW", "fp32")
    assert plain["input"].startswith("images: float32 (batch, 3, 16, 16)")
    assert plain["colour_order"] == "grey, the same in all three channels"
    colour = replace(INFO, mean=COLOUR.mean, std=COLOUR.std)
    assert to_metadata(colour)["colour_order"] == "RGB"
    assert json.loads(to_metadata(colour)["std"]) == list(COLOUR.std)


def test_only_finite_numbers_are_metrics():
    assert measured({"a": 1, "b": None, "c": float("nan"), "d": "x"}) == {"a": 1.0}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", ["one"]),
        ("classes", None),
        ("image_size", 0),
        ("image_size", "many"),
        ("mean", [0.5, 0.5]),
        ("std", [0.0]),
        ("std", []),
        ("precision", "int4"),
        ("metrics", None),
    ],
)
def test_damaged_metadata_are_refused(field, value):
    properties = to_metadata(INFO)
    content = json.loads(properties[METADATA_KEY])
    text = json.dumps({**content, field: value})
    with pytest.raises(InputError, match=r"the metadata of it are damaged.*export the model again"):
        from_metadata({METADATA_KEY: text}, name="it")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "damaged"),
        ("[]", "version None"),
        ('{"format_version": 99}', "version 99, this program reads 1"),
        ('{"format_version": 1}', "damaged"),
    ],
)
def test_metadata_of_another_version_are_refused(text, words):
    with pytest.raises(InputError, match=words):
        from_metadata({METADATA_KEY: text}, name="it")


def test_a_file_without_our_metadata_says_how_to_get_one(tmp_path):
    network, _ = load_bundle(save_network(tmp_path / "net"))
    to_onnx(network, tmp_path / "foreign.onnx", image_size=16, metadata={"author": "somebody"})
    with pytest.raises(InputError, match=r"foreign\.onnx does not say .* fersearch export"):
        OnnxPredictor(tmp_path / "foreign.onnx")


@pytest.mark.parametrize("content", [b"", b"hello world", "half"])
def test_damaged_files_are_refused_in_one_line(good, tmp_path, content):
    path = tmp_path / "damaged.onnx"
    whole = good.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(InputError, match=r"damaged\.onnx is not a whole ONNX file: \S+") as refused:
        OnnxPredictor(path)
    assert "ONNXRuntimeError" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*none\.onnx"):
        OnnxPredictor(tmp_path / "none.onnx")
    with pytest.raises(InputError, match="there is no file"):
        OnnxPredictor(tmp_path)


def set_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def set_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def set_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Tomorrow"


@pytest.mark.parametrize(
    ("alter", "words"),
    [(set_ir, "IR version: 99"), (set_opset, "Opset 99"), (set_operator, "Tomorrow")],
)
def test_files_from_the_future_say_that_onnxruntime_is_too_old(changed, alter, words):
    with pytest.raises(InputError) as refused:
        OnnxPredictor(changed(alter))
    text = str(refused.value)
    assert "is too new for the installed onnxruntime" in text
    assert words in text
    assert "pip install -U onnxruntime" in text


def test_a_graph_that_is_not_what_its_metadata_say_is_refused(good, tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(good.read_bytes())
    set_metadata(path, to_metadata(replace(INFO, image_size=24)))
    with pytest.raises(InputError, match=r"images \(any, 3, 16, 16\).*instead of.*24, 24"):
        OnnxPredictor(path)
    set_metadata(path, to_metadata(replace(INFO, classes=CLASSES[:3])))
    with pytest.raises(InputError, match=r"logits \(any, 7\).*instead of.*logits \(any, 3\)"):
        OnnxPredictor(path)


def test_other_names_are_refused(changed):
    def rename(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.input[:] = ["x" if name == "images" else name for name in node.input]
        model.graph.input[0].name = "x"

    with pytest.raises(InputError, match=r"x \(any, 3, 16, 16\), logits .* instead of images"):
        OnnxPredictor(changed(rename))


def test_the_title_is_the_given_one_else_the_files(good, changed):
    assert OnnxPredictor(good).info.title == "net"
    assert OnnxPredictor(good, title="Mine").info.title == "Mine"

    def untitled(model: onnx.ModelProto) -> None:
        properties = {item.key: item.value for item in model.metadata_props}
        info = from_metadata(properties, name="it")
        onnx.helper.set_model_props(model, to_metadata(replace(info, title="")))

    assert OnnxPredictor(changed(untitled)).info.title == "changed"


def test_threads_are_at_least_one(good):
    images = images_of(INFO, 3)
    one, two = OnnxPredictor(good), OnnxPredictor(good, threads=2)
    np.testing.assert_allclose(one.probabilities(images), two.probabilities(images), atol=1e-6)
    with pytest.raises(InputError, match="threads must be at least 1"):
        OnnxPredictor(good, threads=0)


def test_softmax_does_not_overflow():
    found = softmax(np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], np.float32))
    np.testing.assert_allclose(found, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])


@pytest.mark.parametrize(
    "broken",
    [
        {"mean": (float("nan"),)},
        {"std": (float("inf"),)},
        {"std": (1e-300,)},
        {"classes": ("one",) * len(CLASSES)},
        {"classes": ("",) * len(CLASSES)},
    ],
)
def test_a_description_that_can_be_no_models_is_refused(broken):
    with pytest.raises(InputError):
        from_metadata(to_metadata(replace(INFO, **broken)), name="a.onnx")


def test_weights_that_are_no_numbers_give_no_label(changed):
    def spoil(model):
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                values = np.full(tuple(tensor.dims), np.nan, dtype=np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    predictor = OnnxPredictor(changed(spoil))
    with pytest.raises(FersearchError, match="NaN or infinity: the file is damaged"):
        predictor.probabilities(images_of(predictor.info, 2))
