"""Saved models."""

from __future__ import annotations

import json
import stat
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from fersearch.errors import InputError
from fersearch.models import BundleConfig, create, load_bundle, save_bundle

CLASSES = ("neutral", "happiness", "surprise")


@pytest.fixture
def config() -> BundleConfig:
    return BundleConfig(
        model="shufflenet_v2_x0_5",
        model_options={"stem": "no_pool", "drop_rate": 0.2},
        classes=CLASSES,
        image_size=48,
        preprocessing={"mean": [0.5], "std": [0.25], "crop": 0.9},
        protocol_hash="abc123",
        metrics={"val_accuracy": 0.75, "auc": None},
    )


def student(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return create("shufflenet_v2_x0_5", num_classes=3, stem="no_pool", drop_rate=0.2)


@pytest.fixture
def bundle(tmp_path: Path, config: BundleConfig) -> Path:
    save_bundle(tmp_path / "model", student(), config)
    return tmp_path / "model"


def edit(bundle: Path, **changes: Any) -> None:
    path = bundle / "config.json"
    content = json.loads(path.read_text())
    for name, value in changes.items():
        if value is None:
            del content[name]
        else:
            content[name] = value
    path.write_text(json.dumps(content))


def test_what_was_saved_comes_back(bundle: Path, config: BundleConfig) -> None:
    model, loaded = load_bundle(bundle)
    assert loaded == config
    assert not model.training
    assert model.drop_rate == 0.2
    assert model.stem == "no_pool"
    x = torch.randn(2, 3, 48, 48)
    assert torch.equal(model(x), student().eval()(x))


def test_the_folder_holds_two_readable_files(bundle: Path) -> None:
    assert sorted(item.name for item in bundle.iterdir()) == ["config.json", "model.safetensors"]
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o755
    content = json.loads((bundle / "config.json").read_text())
    assert content["format_version"] == 1
    assert content["classes"] == list(CLASSES)
    assert content["versions"]["torch"] == version("torch")
    assert content["metrics"] == {"val_accuracy": 0.75, "auc": None}


def test_channels_last_models_are_saved_with_their_values(
    tmp_path: Path, config: BundleConfig
) -> None:
    save_bundle(tmp_path / "m", student().to(memory_format=torch.channels_last), config)
    assert torch.equal(load_bundle(tmp_path / "m")[0].conv1[0].weight, student().conv1[0].weight)


def test_an_earlier_bundle_is_replaced_whole(bundle: Path, config: BundleConfig) -> None:
    (bundle / "model.onnx").write_bytes(b"export of the earlier model")
    save_bundle(bundle, student(seed=1), config)
    assert torch.equal(load_bundle(bundle)[0].conv1[0].weight, student(seed=1).conv1[0].weight)
    assert not (bundle / "model.onnx").exists()
    assert [item.name for item in bundle.parent.iterdir()] == ["model"]


def test_an_empty_folder_is_taken(tmp_path: Path, config: BundleConfig) -> None:
    save_bundle(tmp_path, student(), config)
    load_bundle(tmp_path)


def test_other_peoples_folders_and_files_are_left_alone(
    tmp_path: Path, config: BundleConfig
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InputError, match="exists and is not a saved model"):
            save_bundle(target, student(), config)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failed_save_leaves_the_earlier_bundle(bundle: Path, config: BundleConfig) -> None:
    broken = BundleConfig(
        model=config.model, classes=CLASSES, image_size=48, preprocessing={"bad": object()}
    )
    with pytest.raises(TypeError):
        save_bundle(bundle, student(seed=1), broken)
    with pytest.raises(TypeError):
        save_bundle(bundle.parent / "new", student(seed=1), broken)
    assert [item.name for item in bundle.parent.iterdir()] == ["model"]
    assert load_bundle(bundle)[1] == config


def test_folders_that_are_no_bundles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a saved model: it has no config\.json"):
        load_bundle(tmp_path)
    with pytest.raises(InputError, match="is not a saved model"):
        load_bundle(tmp_path / "missing")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format_version": 99}, "format version 99, this program reads 1"),
        ({"format_version": None}, "format version None"),
        ({"classes": None}, "damaged: classes missing"),
        ({"image_size": "48", "metrics": []}, "damaged: image_size, metrics missing"),
        (
            {"model": "shufflenet_v2_x9"},
            "unknown model .*; a model of your own comes in with --plu",
        ),
        ({"model_options": {"stem": "wide"}}, "unknown stem"),
        ({"classes": ["one", "two"]}, "do not fit shufflenet_v2_x0_5"),
        ({"weights_sha256": "0"}, "is not the file that config.json describes"),
    ],
)
def test_damaged_configs_are_told(bundle: Path, changes: dict[str, Any], text: str) -> None:
    edit(bundle, **changes)
    with pytest.raises(InputError, match=text):
        load_bundle(bundle)


def test_a_saved_model_never_fetches_weights(bundle: Path, config: BundleConfig) -> None:
    options = {**config.model_options, "pretrained": True, "checkpoint_path": "none.pth"}
    edit(bundle, model_options=options)
    x = torch.randn(2, 3, 48, 48)
    assert torch.equal(load_bundle(bundle)[0](x), student().eval()(x))


def test_unknown_fields_of_a_later_writer_are_ignored(bundle: Path, config: BundleConfig) -> None:
    edit(bundle, colour="blue")
    assert load_bundle(bundle)[1] == config


def test_damaged_files_are_told(bundle: Path) -> None:
    weights = bundle / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="is not the file"):
        load_bundle(bundle)
    weights.unlink()
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        load_bundle(bundle)
    (bundle / "config.json").write_text("{")
    with pytest.raises(InputError, match="cannot read"):
        load_bundle(bundle)
    (bundle / "config.json").write_text("[1]")
    with pytest.raises(InputError, match="format version None"):
        load_bundle(bundle)
