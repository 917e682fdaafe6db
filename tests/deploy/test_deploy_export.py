"""Export: what is written was compared with the network, and an 8-bit file is measured again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import TINY_DATA
from deploy_samples import COLOUR, save_network

from fersearch.data import Dataset, load_data
from fersearch.data.preprocessing import Preprocessing
from fersearch.deploy import export as module
from fersearch.deploy.export import export_bundle, export_winner
from fersearch.deploy.exported import ExportedFile, better_file
from fersearch.deploy.metadata import LICENCE
from fersearch.deploy.onnx_model import OnnxPredictor
from fersearch.errors import FersearchError, InputError
from fersearch.models import load_bundle


@pytest.fixture(scope="module")
def bundle(tiny_data, tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("bundle") / "net", dataset=tiny_data)


@pytest.fixture(scope="module")
def exported(bundle, tiny_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "student.onnx"
    return export_bundle(bundle, out=out, int8=True, dataset=tiny_data, title="Tiny")


def copy_of(dataset: Dataset, folder: Path, **splits: np.ndarray) -> Dataset:
    """Copy a decoded data set without its test split, with other validation labels if given."""
    shutil.copytree(dataset.path, folder, ignore=shutil.ignore_patterns("test.*"))
    for name, labels in splits.items():
        np.save(folder / f"{name}.labels.npy", labels)
    return Dataset.open(folder)


def torch_logits(bundle: Path, images: np.ndarray) -> np.ndarray:
    network, config = load_bundle(bundle)
    preprocessing = Preprocessing.from_plain(config.preprocessing)
    with torch.no_grad():
        return network(preprocessing(torch.from_numpy(np.array(images)))).numpy()


def file_logits(path: Path, images: np.ndarray) -> np.ndarray:
    """Run a file by hand, with nothing of this package: the pre-processing as documented."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    plain = session.get_modelmeta().custom_metadata_map
    mean, std = (np.array(json.loads(plain[key]), np.float32) for key in ("mean", "std"))
    pixels = np.repeat(images, 3 // images.shape[1], axis=1).astype(np.float32) / 255
    inputs = (pixels - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
    return session.run(["logits"], {"images": inputs})[0]


def test_the_float32_file_does_what_the_network_does(exported, bundle, tiny_data):
    images = tiny_data.val.images
    expected = torch_logits(bundle, images)
    assert np.abs(file_logits(exported.files[0].path, images) - expected).max() < 1e-5
    assert exported.max_difference < 1e-5
    assert (exported.images, exported.compared_on) == (32, "validation images")
    accuracy = float((expected.argmax(axis=1) == tiny_data.val.labels).mean())
    assert exported.torch_val_accuracy == accuracy
    assert exported.files[0].val_accuracy == accuracy


def test_the_int8_accuracy_is_that_of_the_file_that_is_there(exported, tiny_data):
    small = exported.int8
    logits = file_logits(small.path, tiny_data.val.images)
    assert np.abs(logits - file_logits(exported.files[0].path, tiny_data.val.images)).max() > 0
    accuracy = float((logits.argmax(axis=1) == tiny_data.val.labels).mean())
    assert small.val_accuracy == accuracy
    info = OnnxPredictor(small.path).info
    assert info.precision == "int8"
    assert info.metrics == {"val_accuracy": accuracy}
    assert exported.calibration_images == 96


def test_files_and_their_record_lie_together(exported):
    folder = exported.files[0].path.parent
    names = ["student.export.json", "student.int8.onnx", "student.onnx"]
    assert sorted(item.name for item in folder.iterdir()) == names
    record = json.loads((folder / "student.export.json").read_text())
    assert record == exported.plain()
    assert [file["path"] for file in record["files"]] == ["student.onnx", "student.int8.onnx"]
    for file in exported.files:
        assert file.megabytes * 1e6 == file.path.stat().st_size
    assert record["recommended"] == exported.recommended.name


def test_the_file_knows_the_model(exported, bundle, tiny_data):
    predictor = OnnxPredictor(exported.files[0].path)
    info = predictor.info
    assert (info.model, info.title, info.precision) == ("tiny_student", "Tiny", "fp32")
    assert info.classes == tiny_data.info.classes
    assert (info.image_size, info.mean, info.std) == (16, (0.5053,), (0.2545,))
    assert info.protocol_hash == "0123456789abcdef"
    assert info.licence == LICENCE
    assert info.metrics == {"val_accuracy": 0.5}  # what was not measured is left out
    config = json.loads((bundle / "config.json").read_text())
    assert predictor.properties["weights_sha256"] == config["weights_sha256"]


def test_the_test_split_is_not_needed(bundle, tiny_data, tmp_path):
    dataset = copy_of(tiny_data, tmp_path / "data")
    with pytest.raises(FersearchError):
        dataset.split("test")
    report = export_bundle(bundle, out=tmp_path / "net.onnx", int8=True, dataset=dataset)
    assert report.images == 32


def test_an_int8_file_that_loses_more_than_two_points_is_not_recommended(tiny_data, tmp_path):
    bundle = save_network(tmp_path / "net", model="awkward_uneven", dataset=tiny_data)
    # Labels that the network gets right: what the 8-bit file loses is then plain to see.
    answers = torch_logits(bundle, tiny_data.val.images).argmax(axis=1)
    dataset = copy_of(tiny_data, tmp_path / "data", val=answers)
    report = export_bundle(bundle, int8=True, dataset=dataset)
    assert report.files[0].val_accuracy == 1.0
    assert report.int8.val_accuracy < 0.98
    assert report.recommended == tmp_path / "net.onnx"
    assert any("8-BIT FILE LOSES" in warning for warning in report.warnings)


@pytest.mark.parametrize(("accuracy", "int8"), [(0.53, True), (0.52, True), (0.519, False)])
def test_two_points_may_be_lost(accuracy, int8):
    files = [
        ExportedFile(path=Path(name), precision=name, megabytes=1.0, val_accuracy=value)
        for name, value in (("fp32", 0.54), ("int8", accuracy))
    ]
    recommended, warning = better_file(files)
    assert recommended is files[int8]
    assert (warning == "") is int8


def test_a_file_that_gives_other_logits_is_refused_and_nothing_is_left(tiny_data, tmp_path):
    bundle = save_network(tmp_path / "net", model="awkward_dicing", dataset=tiny_data)
    (tmp_path / "net.onnx").write_bytes(b"earlier")
    with pytest.raises(FersearchError, match="gives other logits than the network") as refused:
        export_bundle(bundle, dataset=tiny_data)
    assert not isinstance(refused.value, InputError)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["net", "net.onnx"]
    assert (tmp_path / "net.onnx").read_bytes() == b"earlier"


def test_without_data_random_images_are_compared_on_and_that_is_said(tmp_path):
    bundle = save_network(tmp_path / "net", preprocessing=COLOUR)
    report = export_bundle(bundle)
    assert report.compared_on == "random images"
    assert report.max_difference < 1e-4
    assert report.files[0].val_accuracy is None
    assert "give --data" in report.warnings[0]
    assert report.files[0].path == tmp_path / "net.onnx"
    images = np.random.default_rng(1).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    expected = torch_logits(bundle, images)
    assert np.abs(file_logits(tmp_path / "net.onnx", images) - expected).max() < 1e-5


def test_int8_without_data_is_refused(tmp_path):
    bundle = save_network(tmp_path / "net")
    with pytest.raises(InputError, match="--data"):
        export_bundle(bundle, int8=True)
    assert [item.name for item in tmp_path.iterdir()] == ["net"]


def test_data_of_another_kind_are_refused_and_other_data_are_told(bundle, tiny_data, tmp_path):
    other = load_data(f"{TINY_DATA},seed=5", cache=tmp_path)
    report = export_bundle(
        bundle, out=tmp_path / "a.onnx", dataset=other, trained_on=tiny_data.info.sha256
    )
    assert "is not what the network was trained on" in report.warnings[0]
    smaller = load_data(TINY_DATA.replace("size=16", "size=24"), cache=tmp_path)
    with pytest.raises(InputError, match=r"image size of .*: 24 px; of the network: 16 px"):
        export_bundle(bundle, out=tmp_path / "b.onnx", dataset=smaller)
    colour = save_network(tmp_path / "colour", preprocessing=COLOUR, dataset=tiny_data)
    with pytest.raises(InputError, match=r"channels of .*: 1; of the network: 3"):
        export_bundle(colour, dataset=tiny_data)


def test_a_new_export_replaces_all_files_of_the_last(bundle, tiny_data, tmp_path):
    out = tmp_path / "net.onnx"
    export_bundle(bundle, out=out, int8=True, dataset=tiny_data)
    (tmp_path / "mine.onnx").write_bytes(b"not of the export")
    export_bundle(bundle, out=out, dataset=tiny_data)
    names = {item.name for item in tmp_path.iterdir()}
    assert names == {"mine.onnx", "net.onnx", "net.export.json"}
    (tmp_path / "net.export.json").write_text("damaged")
    export_bundle(bundle, out=out, dataset=tiny_data)
    assert json.loads((tmp_path / "net.export.json").read_text())["recommended"] == "net.onnx"


@pytest.mark.parametrize("name", ["net.txt", "net", "folder.onnx"])
def test_a_name_that_is_none_of_an_onnx_file_is_refused(bundle, tmp_path, name):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(InputError, match="ONNX file"):
        export_bundle(bundle, out=tmp_path / name)


def test_a_studys_winner_is_exported_where_the_packages_are(
    bundle, tiny_data, tmp_path, monkeypatch
):
    out = tmp_path / "model.onnx"
    report = export_winner(bundle, dataset=tiny_data, out=out, title="study")
    assert report.recommended == out
    assert report.warnings == ()
    assert OnnxPredictor(out).info.title == "study"
    monkeypatch.setattr(module, "missing", lambda: ["onnx"])
    assert export_winner(bundle, dataset=tiny_data, out=tmp_path / "no.onnx") is None
    assert not (tmp_path / "no.onnx").exists()
