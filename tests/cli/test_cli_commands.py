"""The command line as a user types it: results on stdout, one line for an error, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_DATA
from PIL import Image

from fersearch.cli.main import main


@pytest.fixture
def type_command(capsys, monkeypatch, tmp_path):
    """Run a command in this process, in an empty folder; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FERSEARCH_WORKSPACE", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(list(arguments))
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def study_command(type_command, tiny_study_file, tiny_plugin, tiny_data, tiny_cache, tmp_path):
    """Run the tiny study as a user would."""
    shutil.copytree(tiny_cache / "data", tmp_path / "workspace" / "cache" / "data")

    def run(*arguments: str) -> tuple[int, str, str]:
        return type_command(
            "study",
            str(tiny_study_file),
            *("--data", TINY_DATA, "--plugin", str(tiny_plugin)),
            *("--jobs", "1", "--threads", "1", "--no-track", "--no-export"),
            *arguments,
        )

    return run


def test_help_teaches_and_lists_the_commands(type_command):
    code, out, _ = type_command("--help")
    assert code == 0
    for word in ("fersearch study distill --trials 50", "data", "doctor", "study", "workspace"):
        assert word in out


def test_study_help_lists_shipped_studies_and_verbs(type_command):
    code, out, _ = type_command("study", "--help")
    assert code == 0
    for word in ("distill", "list", "show"):
        assert word in out


def test_a_study_prints_its_table_on_stdout_and_progress_on_stderr(study_command):
    code, out, err = study_command()
    assert code == 0, err
    for word in ("teacher", "student alone", "distilled student", "95 % interval", "report"):
        assert word in out
    assert "trial-0000" in err
    assert "trial-" not in out
    assert (Path("workspace") / "studies" / "tiny" / "REPORT.md").exists()


def test_json_is_the_result_and_nothing_else(study_command):
    code, out, err = study_command("--json")
    assert code == 0
    assert err == ""
    content = json.loads(out)
    assert content == json.loads(Path("workspace/studies/tiny/result.json").read_text())


def test_quiet_prints_only_the_result(study_command):
    code, out, err = study_command("--quiet")
    assert code == 0
    assert err == ""
    assert out.startswith("row")


def test_list_and_show_what_was_run(study_command, type_command):
    study_command()
    code, out, _ = type_command("study", "list")
    assert code == 0
    assert "tiny" in out
    assert "finished" in out
    code, out, _ = type_command("study", "list", "--json")
    row = json.loads(out)[0]
    assert row["name"] == "tiny"
    assert sum(row["trials"].values()) == 6
    code, out, _ = type_command("study", "show", "tiny")
    assert "distilled student" in out
    code, out, _ = type_command("study", "show", "tiny", "--json")
    assert json.loads(out)["result"]["name"] == "tiny"
    Path("workspace/studies/tiny/result.json").unlink()
    code, out, _ = type_command("study", "show", "tiny")
    assert "unfinished" in out
    assert "best validation so far" in out
    code, _, err = type_command("study", "show", "tinny")
    assert code == 2
    assert "did you mean tiny?" in err


def test_data_describe_says_what_was_recognised(type_command):
    code, out, err = type_command("data", "describe", TINY_DATA)
    assert code == 0, err
    assert "drawings" in out
    assert "happiness" in out
    code, out, err = type_command("data", "describe", TINY_DATA, "--json")
    content = json.loads(out)
    assert err == ""
    assert content["totals"] == {"train": 96, "val": 32, "test": 40}
    assert set(content) >= {
        "kind", "label_rule", "classes", "counts", "totals", "image_size", "sha256", "skipped",
    }  # fmt: skip


def test_data_describe_of_a_folder_tells_notes_and_broken_images(type_command, tmp_path):
    generator = np.random.default_rng(0)
    for name in ("happy", "sad"):
        folder = tmp_path / "faces" / name
        folder.mkdir(parents=True)
        for number in range(120):
            pixels = generator.integers(0, 256, (48, 48), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "faces" / "sad" / "broken.png").write_bytes(b"")
    code, out, err = type_command("data", "describe", "faces")
    assert code == 0, err
    assert "happiness" in out
    assert "broken.png" in out


def test_doctor_says_that_training_can_start(type_command):
    code, out, _ = type_command("doctor")
    assert code == 0
    assert "torch" in out
    assert "ready" in out
    code, out, _ = type_command("doctor", "--json")
    assert json.loads(out)["ready"] is True


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "nowhere/at/all"], ["nowhere/at/all"]),
        (["--trials", "0"], ["trials must be at least 1 but got 0"]),
        (["--epochs", "0"], ["epochs must be at least 1 but got 0"]),
        (["--batch-size", "1"], ["batch_size", "at least 2"]),
        (["--student", "shufflenet_v2_x1"], ["unknown model", "shufflenet_v2_x1_0"]),
        (["--teacher", "resnet_18"], ["unknown model", "resnet18"]),
        (["--loss", "kdd"], ["loss", "kdd", "kd"]),
        (["--sampler", "tpee"], ["sampler", "tpee", "tpe"]),
        (["--pruner", "hyper"], ["pruner", "hyper"]),
        (["--objective", "f1"], ["objective", "f1"]),
        (["--device", "gpu"], ["device", "gpu"]),
        (["--jobs", "0"], ["jobs must be at least 1 but got 0"]),
        (["--vectorize", "0"], ["vectorize must be auto or at least 1 but got 0"]),
        (["--vectorize", "all"], ["vectorize must be auto or at least 1 but got all"]),
        (["--vectorize", "9"], ["vectorize must be auto or from 1 to 4 but got 9"]),
        (["--trials", "many"], ["many"]),
        (["--trails", "5"], ["--trails", "--trials"]),
        (["--storage", "postgresql://user@127.0.0.1:1/x"], ["127.0.0.1", "storage"]),
        (["--storage", "nonsense"], ["storage", "nonsense"]),
        (["--teacher-weights", "missing.pth"], ["missing.pth"]),
        (["--teacher-weights", "study.toml"], ["study.toml"]),
        (["--tracking-uri", "http://127.0.0.1:1"], ["127.0.0.1"]),
        (["--plugin", "missing.py"], ["missing.py"]),
        (["--image-size", "4"], ["image_size", "at least 16"]),
    ],
)
def test_wrong_options_exit_with_two_and_one_line(type_command, tmp_path, options, words):
    (tmp_path / "study.toml").write_text("this is no checkpoint")
    if "--data" not in options:
        options = [*options, "--data", TINY_DATA]
    if "--tracking-uri" not in options:
        options = [*options, "--no-track"]
    code, out, err = type_command("study", "distill", *options)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: ")
    assert not [line for line in err.splitlines()[:-1] if not line.startswith("[0:")]
    for word in words:
        assert word in err
    assert not Path("workspace/studies/distill/result.json").exists()


def test_splits_that_do_not_divide_are_refused_with_those_that_do(
    type_command, tmp_path, monkeypatch
):
    study = Path(__file__).resolve().parents[2] / "studies" / "distill.toml"
    text = study.read_text().replace("choices = [2, 4, 8]", "choices = [3, 4]")
    (tmp_path / "mine.toml").write_text(text)
    code, _, err = type_command(
        "study",
        "mine.toml",
        "--data",
        TINY_DATA,
        "--no-track",
        "--no-export",
        "--jobs",
        "1",
        "--threads",
        "1",
    )
    assert code == 2
    assert "3" in err
    assert "divide" in err


def test_a_study_file_with_an_impossible_space_is_refused(type_command, tmp_path):
    study = Path(__file__).resolve().parents[2] / "studies" / "distill.toml"
    for old, new, words in (
        ("low = 1.0\nhigh = 16.0", "low = 0.0\nhigh = 16.0", "above 0"),
        ("low = 0.05\nhigh = 0.95", "low = 0.05\nhigh = 1.5", "alpha"),
        ("epochs = 8", "epohcs = 8", "epochs"),
    ):
        (tmp_path / "mine.toml").write_text(study.read_text().replace(old, new, 1))
        code, _, err = type_command("study", "mine.toml")
        assert code == 2
        assert words in err
        assert "mine.toml" in err


def test_an_unknown_study_or_command_names_the_near_one(type_command):
    code, _, err = type_command("study", "distil")
    assert code == 2
    assert "did you mean distill" in err
    code, _, err = type_command("studdy")
    assert code == 2
    assert "studdy" in err


def test_a_workspace_that_cannot_be_written_is_refused(type_command, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = type_command(
        "study", "distill", "--data", TINY_DATA, "--workspace", str(tmp_path / "file" / "w")
    )
    assert code == 2
    assert "file" in err


def test_list_in_an_empty_workspace_says_what_to_run(type_command):
    code, _, err = type_command("study", "list")
    assert code == 2
    assert "fersearch study distill" in err


def test_debug_shows_the_traceback(type_command):
    code, _, err = type_command("--debug", "study", "distill", "--trials", "0")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: trials must be at least 1")


@pytest.mark.parametrize("arguments", [[], ["study"], ["data"]])
def test_a_command_without_its_verb_shows_the_help(type_command, arguments):
    code, out, err = type_command(*arguments)
    assert code == 0
    assert err == ""
    assert "Usage: fersearch" in out
    assert "Commands:" in out


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/b", ".hidden", "x" * 80])
def test_a_name_that_would_leave_the_workspace_is_refused(study_command, name):
    code, _, err = study_command("--name", name)
    assert code == 2
    assert "the name of a study cannot be" in err


def test_the_report_tells_the_command_that_was_typed(study_command):
    study_command("--trials", "4")
    content = json.loads(Path("workspace/studies/tiny/result.json").read_text())
    assert content["command"].startswith("fersearch study ")
    assert content["command"].endswith("--trials 4")
