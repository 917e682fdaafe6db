"""Which model a name means, and that an export of an earlier network is never taken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from deploy_samples import save_network

from fersearch.deploy import extra, opening
from fersearch.deploy.export import export_bundle
from fersearch.deploy.opening import find_model, open_model
from fersearch.errors import InputError


@pytest.fixture(scope="module")
def made(tiny_data, tmp_path_factory):
    """A workspace with the exported study ``first`` and the study ``second`` without a file."""
    home = tmp_path_factory.mktemp("workspace")
    first = save_network(home / "studies" / "first" / "model", dataset=tiny_data)
    save_network(home / "studies" / "second" / "model", dataset=tiny_data, seed=1)
    (home / "studies" / "unfinished").mkdir()
    export_bundle(first, int8=True, dataset=tiny_data, title="first")
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    """A copy of it, as the workspace, with another folder as the current one."""
    shutil.copytree(made, tmp_path / "lab")
    monkeypatch.setenv("FERSEARCH_WORKSPACE", str(tmp_path / "lab"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "lab"


def recommend(home: Path, name: str) -> None:
    record = home / "studies" / "first" / "model.export.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "recommended": name}))


def test_a_study_is_opened_by_its_name_as_its_export_recommends(home):
    recommend(home, "model.onnx")
    found = open_model("first")
    assert (found.runtime, found.info.precision, found.info.title) == (
        "onnxruntime", "fp32", "first",
    )  # fmt: skip
    recommend(home, "model.int8.onnx")
    assert open_model("first").info.precision == "int8"
    assert open_model("first", title="Mine").info.title == "Mine"


def test_a_study_without_a_file_is_opened_through_pytorch(home):
    found = open_model("second")
    assert (found.runtime, found.info.title) == ("pytorch", "second")
    shutil.rmtree(home / "studies" / "first" / "model")
    assert open_model("first").runtime == "onnxruntime"
    (home / "studies" / "first" / "model.export.json").unlink()
    assert open_model("first").info.precision == "fp32"


def test_without_onnx_runtime_a_study_is_opened_through_pytorch(home, monkeypatch):
    monkeypatch.setattr(opening, "missing", lambda *packages: ["onnxruntime"])
    assert open_model("first").runtime == "pytorch"


def test_the_export_of_an_earlier_network_is_not_taken(home):
    shutil.rmtree(home / "studies" / "first" / "model")
    shutil.copytree(home / "studies" / "second" / "model", home / "studies" / "first" / "model")
    found = open_model("first")
    assert found.runtime == "pytorch"
    image = np.zeros((1, 16, 16, 1), np.uint8)
    expected = open_model("second").probabilities(image)
    np.testing.assert_array_equal(found.probabilities(image), expected)


def test_paths_name_files_and_folders(home):
    study = home / "studies" / "first"
    assert open_model(study / "model.onnx").info.title == "first"
    assert open_model(str(study / "model.int8.onnx")).info.precision == "int8"
    for path in (study / "model", study / "model" / "model.safetensors"):
        found = open_model(path)
        assert (found.runtime, found.info.title) == ("pytorch", "first")
    (study / "model.onnx").rename(home / "X.ONNX")
    assert open_model(home / "X.ONNX").runtime == "onnxruntime"


def test_a_folder_is_named_by_itself_and_a_studys_model_by_the_study(home, tmp_path):
    other = tmp_path / "student"
    shutil.copytree(home / "studies" / "first" / "model", other)
    assert find_model(other).name == "student"
    assert find_model(other).onnx == tmp_path / "student.onnx"
    study = find_model(home / "studies" / "first" / "model")
    assert study.name == "first"
    assert study.onnx == find_model("first").onnx


def test_what_lies_in_the_current_folder_comes_before_a_study(home):
    shutil.copytree(home / "studies" / "second" / "model", Path("first"))
    assert open_model("first").runtime == "pytorch"
    shutil.rmtree("first")
    Path("first").mkdir()  # some folder of the same name: the study is meant
    assert open_model("first").runtime == "onnxruntime"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("frist", "no file, folder or study frist; did you mean first"),
        ("zzz", "known names: first, second"),
        ("none.onnx", r"no file, folder or study none\.onnx"),
        ("unfinished", "has no model yet; finish it"),
        ("../lab/studies/unfinished", "is not a saved model: it has no config.json"),
        ("../../etc", "no file, folder or study"),
        ("", r"not a saved model|no file"),
        ("notes.txt", r"notes\.txt is not a model"),
        ("../lab/studies/first/model.export.json", "is not a model"),
    ],
)
def test_unknown_models_are_told_with_what_is_there(home, name, words):
    Path("notes.txt").write_text("hello")
    with pytest.raises(InputError, match=words):
        open_model(name)


def test_an_empty_workspace_says_what_can_be_given(home, tmp_path):
    with pytest.raises(InputError, match=r"give an \.onnx file, a saved model's folder"):
        open_model("first", workspace=tmp_path / "nothing")


def test_a_damaged_record_is_told(home):
    (home / "studies" / "first" / "model.export.json").write_text("[]")
    with pytest.raises(InputError, match=r"cannot read .*model\.export\.json"):
        open_model("first")


def test_a_saved_network_needs_pytorch_and_says_so(home, monkeypatch):
    monkeypatch.setattr(extra.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs torch and timm, not installed here"):
        open_model("second")
