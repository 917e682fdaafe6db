"""``fersearch export`` and ``fersearch predict`` as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_DATA, TINY_PLUGIN
from PIL import Image

from fersearch.cli.main import main
from fersearch.data.preprocessing import Preprocessing
from fersearch.models import BundleConfig, create, save_bundle
from fersearch.records import to_plain

ROOT = Path(__file__).resolve().parents[2]
# All that fersearch needs but for what answers pictures: click, numpy, Pillow, ONNX Runtime.
NOT_NEEDED = (
    "cv2", "fvcore", "jinja2", "matplotlib", "mlflow", "onnx", "onnxscript", "optuna", "pandas",
    "plotly", "rich", "safetensors", "scipy", "sklearn", "sqlalchemy", "timm", "torch",
    "torchvision",
)  # fmt: skip


@pytest.fixture(scope="module")
def lab(tiny_data, tiny_cache, tiny_plugin, tmp_path_factory):
    """A folder with the finished study ``tiny``, its exported files and pictures of faces."""
    home = tmp_path_factory.mktemp("lab")
    study = home / "workspace" / "studies" / "tiny"
    torch.manual_seed(0)
    network = create("tiny_student", num_classes=len(tiny_data.info.classes), image_size=16)
    config = BundleConfig(
        model="tiny_student",
        classes=tiny_data.info.classes,
        image_size=16,
        preprocessing=to_plain(Preprocessing.of_training_images(tiny_data.train.images)),
        metrics={"val_accuracy": 0.25},
    )
    save_bundle(study / "model", network, config)
    protocol = {"data": TINY_DATA, "data_sha256": tiny_data.info.sha256, "image_size": 16}
    (study / "result.json").write_text(json.dumps({"protocol": protocol}))
    shutil.copytree(tiny_cache / "data", home / "workspace" / "cache" / "data")
    (home / "faces").mkdir()
    for number, image in enumerate(tiny_data.val.images[:10]):
        Image.fromarray(image[0]).save(home / "faces" / f"{number}.png")
    here = Path.cwd()
    os.chdir(home)
    try:
        with pytest.raises(SystemExit) as done:
            main(["export", "tiny", "--int8", "--json"])
    finally:
        os.chdir(here)
    assert not done.value.code
    return home


@pytest.fixture
def type_command(lab, capsys, monkeypatch, tmp_path):
    """Run a command in this process, in a copy of the lab; return exit code, stdout and stderr."""
    shutil.copytree(lab, tmp_path / "lab")
    monkeypatch.chdir(tmp_path / "lab")
    monkeypatch.delenv("FERSEARCH_WORKSPACE", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run


STUDY = Path("workspace/studies/tiny")


def test_a_study_is_exported_by_its_name(type_command):
    for path in STUDY.glob("model.*"):
        path.unlink()
    code, out, err = type_command("export", "tiny", "--int8")
    assert code == 0, err
    assert sorted(path.name for path in STUDY.glob("model.*")) == [
        "model.export.json", "model.int8.onnx", "model.onnx",
    ]  # fmt: skip
    assert "workspace/studies/tiny/model.onnx " in out
    assert "(recommended)" in out
    assert "on 32 validation images" in out
    assert "96 training views" in out
    assert "writing the float32 file" in err
    assert "warning" not in err


def test_json_is_the_record_and_nothing_else(type_command):
    code, out, err = type_command("export", "tiny", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((STUDY / "model.export.json").read_text())
    assert not (STUDY / "model.int8.onnx").exists()  # it belonged to the export before


def test_a_folder_is_exported_to_a_named_file_with_named_data(type_command):
    model = str(STUDY / "model")
    code, out, err = type_command("export", model, "--out", "to/x.onnx", "--data", TINY_DATA)
    assert code == 0, err
    assert "to/x.onnx" in out
    assert "32 validation images" in out
    code, out, err = type_command("export", model, "--out", "to/y.onnx")
    assert code == 0
    assert "64 random images" in out
    assert "warning: compared on random images; give --data" in err


def test_other_data_than_the_studys_are_told(type_command):
    code, _, err = type_command("export", "tiny", "--data", f"{TINY_DATA},seed=3")
    assert code == 0
    assert "is not what the network was trained on" in err


def test_a_study_whose_data_are_gone_says_what_to_do(type_command):
    shutil.rmtree("workspace/cache/data")
    content = {"protocol": {"data": "folder:gone", "data_sha256": "ff", "image_size": 16}}
    (STUDY / "result.json").write_text(json.dumps(content))
    code, _, err = type_command("export", "tiny", "--json")
    assert code == 2
    assert "the data of the study tiny are not there any more" in err
    assert "--data DATA" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tinny"], "did you mean tiny?"),
        (["workspace/studies/tiny/model.onnx"], "is an ONNX file already"),
        (["workspace/studies/tiny/model", "--int8"], "no data were given; add --data"),
        (["tiny", "--out", "x.txt"], "end it in .onnx"),
        (["tiny", "--data", "nowhere"], "nowhere"),
    ],
)
def test_wrong_input_to_export_is_one_line(type_command, arguments, words):
    code, out, err = type_command("export", "--json", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_faces_get_an_expression_each(type_command, tiny_data):
    code, out, err = type_command("predict", "tiny", "faces")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["file", "expression", "probability", "then"]
    assert [line.split()[0] for line in lines[1:11]] == [f"faces/{i}.png" for i in range(10)]
    assert all(line.split()[1] in tiny_data.info.classes for line in lines[1:11])
    assert "10 pictures, 10 faces; each picture taken as one face (--align none)" in lines[-1]
    assert "onnxruntime" in lines[-2]


def test_predictions_are_the_networks(type_command, tiny_data):
    pictures = [f"faces/{number}.png" for number in range(10)]
    model = "workspace/studies/tiny/model.onnx"
    code, out, err = type_command("predict", model, "--json", *pictures)
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert set(content) == {
        "model", "network", "precision", "runtime", "classes", "align", "counts", "images",
    }  # fmt: skip
    assert content["counts"] == {"pictures": 10, "faces": 10, "without_face": 0, "unreadable": 0}
    code, out, _ = type_command("predict", "workspace/studies/tiny/model", "--json", *pictures)
    through_torch = json.loads(out)
    assert through_torch["runtime"] == "pytorch"
    for one, other in zip(content["images"], through_torch["images"], strict=True):
        assert one["faces"][0]["label"] == other["faces"][0]["label"]
        for name, share in one["faces"][0]["probabilities"].items():
            assert share == pytest.approx(other["faces"][0]["probabilities"][name], abs=1e-5)
        assert one["error"] is None


def test_bad_pictures_are_named_and_the_others_answered(type_command):
    Path("faces/text.png").write_text("no picture")
    Path("faces/notes.txt").write_text("")
    code, out, err = type_command("predict", "tiny", "faces", "gone.png", "*.jpg")
    assert code == 0
    assert out.count("%") >= 10
    assert "text.png" not in out
    assert "warning: faces/text.png: not an image" in err
    assert "warning: gone.png: missing" in err
    assert "warning: *.jpg: no file matches" in err
    assert "note: 1 file not taken for pictures: faces/notes.txt" in err
    assert "13 pictures, 10 faces, 3 unreadable" in out
    code, out, _ = type_command("predict", "tiny", "faces", "--json")
    told = {image["file"]: image["error"] for image in json.loads(out)["images"]}
    assert told["faces/text.png"] == "not an image"
    assert told["faces/0.png"] is None


def test_pictures_whose_names_are_not_utf_8_are_answered(lab):
    odd = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(np.full((48, 48), 120, np.uint8)).save(lab / odd)
    model = "workspace/studies/tiny/model.onnx"
    code, out, err = run_without(lab, (), "predict", model, odd)
    assert (code, err) == (0, "")
    assert "caf\\udce9.png" in out
    code, out, _ = run_without(lab, (), "predict", model, odd, "--json")
    assert json.loads(out)["images"][0]["file"] == odd


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        (["gone.png"], "error: gone.png: missing"),
        (["empty"], "error: empty: no images"),
        (["*.jpg"], "error: *.jpg: no file matches"),
        (["gone.png", "empty"], "error: none of 2 pictures can be read"),
    ],
)
def test_when_no_picture_can_be_read_nothing_is_printed(type_command, pictures, words):
    Path("empty").mkdir()
    for option in ([], ["--json"]):
        code, out, err = type_command("predict", "tiny", *pictures, *option)
        assert (code, out) == (2, "")
        assert words in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tinny", "faces"], "did you mean tiny?"),
        (["half.onnx", "faces"], "half.onnx is not a whole ONNX file"),
        (["faces/0.png", "faces"], "faces/0.png is not a model"),
        (["tiny"], "Missing argument"),
        (["tiny", "faces", "--align", "zzz"], "known names: none, faces"),
        (["tiny", "faces", "--face-model", "x.onnx"], "add --align faces"),
        (["tiny", "faces", "--align", "faces", "--face-model", "x.onnx"], "x.onnx"),
    ],
)
def test_wrong_input_to_predict_is_one_line(type_command, arguments, words):
    whole = (STUDY / "model.onnx").read_bytes()
    Path("half.onnx").write_bytes(whole[: len(whole) // 2])
    code, out, err = type_command("predict", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_pictures_without_a_face_are_listed_and_counted(type_command):
    data = pytest.importorskip("skimage.data")
    Image.fromarray(data.astronaut()).save("person.png")
    Image.fromarray(np.full((90, 90), 120, np.uint8)).save("wall.png")
    code, out, err = type_command("predict", "tiny", "person.png", "wall.png", "--align", "faces")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[1].split()[:2] == ["person.png", "1"]
    assert "no face found" in lines[2]
    assert lines[-1] == (
        "2 pictures, 1 face, 1 without a face; "
        "faces found in the pictures and aligned (--align faces)"
    )
    code, out, _ = type_command("predict", "tiny", "person.png", "--align", "faces", "--json")
    (face,) = json.loads(out)["images"][0]["faces"]
    assert len(face["box"]) == 4
    code, out, _ = type_command("predict", "tiny", "wall.png", "--align", "faces", "--json")
    assert code == 0
    assert json.loads(out)["counts"]["without_face"] == 1


def run_without(lab: Path, blocked: tuple[str, ...], *arguments: str) -> tuple[int, str, str]:
    """Run a command in a fresh interpreter in which some packages cannot be imported."""
    code = f"""
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
def find_spec(name, package=None):
    return None if name in {blocked!r} else found(name, package)
importlib.util.find_spec = find_spec
from fersearch.cli.main import main
main({list(arguments)!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=lab,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("model", ["workspace/studies/tiny/model.onnx", "tiny"])
def test_predicting_with_an_onnx_file_needs_no_pytorch(lab, model):
    code, out, err = run_without(lab, NOT_NEEDED, "predict", model, "faces", "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    assert content["counts"]["faces"] == 10
    assert content["runtime"] == "onnxruntime"


def test_what_needs_more_says_so_in_one_line(lab):
    for arguments, words in [
        (("predict", "workspace/studies/tiny/model", "faces"), "needs torch and timm"),
        (("export", "tiny"), "fersearch export needs torch and timm"),
        (("predict", "tiny", "faces", "--align", "faces"), 'pip install "fersearch[align]"'),
    ]:
        code, out, err = run_without(lab, NOT_NEEDED, *arguments)
        assert (code, out) == (2, "")
        assert words in err
        assert len(err.splitlines()) == 1
    code, _, err = run_without(lab, ("onnx", "onnxscript"), "export", "tiny", "--json")
    assert code == 2
    assert 'onnx and onnxscript are not installed; run pip install "fersearch[export]"' in err
    model = "workspace/studies/tiny/model.onnx"
    code, _, err = run_without(lab, ("onnxruntime",), "predict", model, "faces")
    assert code == 2
    assert "onnxruntime is not installed" in err


def test_the_documented_way_without_fersearch_gives_the_same_answer(type_command):
    model = "workspace/studies/tiny/model.onnx"
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).save("noise.png")
    example = ROOT / "docs" / "examples" / "plain_onnx.py"
    done = subprocess.run(
        [sys.executable, str(example), model, "noise.png"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    shares = dict(line.split() for line in done.stdout.splitlines())
    _, out, _ = type_command("predict", model, "noise.png", "--json")
    (face,) = json.loads(out)["images"][0]["faces"]
    expected = {
        name: pytest.approx(share, abs=1e-4) for name, share in face["probabilities"].items()
    }
    assert {name: float(share) for name, share in shares.items()} == expected
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    block = page.split("```python\n")[-1].split("```")[0]
    assert block in example.read_text(encoding="utf-8")


@pytest.mark.slow
def test_users_models_come_with_a_plugin(lab):
    code, out, err = run_without(
        lab, (), "predict", "workspace/studies/tiny/model", "faces/0.png",
        "--plugin", str(TINY_PLUGIN),
    )  # fmt: skip
    assert code == 0, err
    assert "pytorch" in out


def test_the_library_opens_and_asks_without_pytorch(lab):
    code = """
import sys
import fersearch
model = fersearch.open_model("workspace/studies/tiny/model.onnx")
(answer,) = fersearch.predict(model, ["faces/0.png"])
assert answer.faces[0].label in model.info.classes
assert not {"torch", "timm", "pandas", "onnx"} & set(sys.modules)
"""
    subprocess.run(
        [sys.executable, "-c", code], cwd=lab, env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True, timeout=120,
    )  # fmt: skip
