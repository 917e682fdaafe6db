"""Baselines beside a study, a grid, and reports, as a user types them; reports see MLflow alone."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, TINY_DATA, TINY_STUDY

from fersearch.cli.main import main

RIVALS = ROOT / "tests" / "plugins" / "tiny_baselines.py"
GRID = """
name = "grid"
objective = "fersearch.search.objectives:distillation"
[budget]
epochs = 3
batch_size = 16
teacher_epochs = 2
seeds = 2
[search]
sampler = "grid"
[training]
student = "tiny_student"
dropout = 0.2
[teacher]
model = "tiny_teacher"
[space.temperature]
kind = "categorical"
choices = [4.0, 6.0]
[space.alpha]
kind = "categorical"
choices = [0.4, 0.6]
[space.learning_rate]
kind = "categorical"
choices = [0.05]
"""
COMMON = ("--data", TINY_DATA, "--jobs", "1", "--threads", "1", "--quiet")


def typed(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, tiny_plugin, tiny_data, tiny_cache) -> Path:
    """A workspace with a study, its baselines and a grid, all tracked."""
    home = tmp_path_factory.mktemp("tracked")
    work = home / "workspace"
    shutil.copytree(tiny_cache / "data", work / "cache" / "data")
    (home / "tiny.toml").write_text(TINY_STUDY, encoding="utf-8")
    (home / "grid.toml").write_text(GRID, encoding="utf-8")
    where = ("--workspace", str(work), "--plugin", str(tiny_plugin))
    assert typed("study", str(home / "tiny.toml"), "--no-export", *COMMON, *where) == 0
    assert typed("study", str(home / "grid.toml"), "--no-export", *COMMON, *where) == 0
    rivals = ("--plugin", str(RIVALS), "--study", "tiny")
    assert typed("baseline", "run", "tiny_rival", *rivals, *COMMON, *where) == 0
    return work


@pytest.fixture
def workspace(tracked, tmp_path, monkeypatch) -> Path:
    """MLflow's files of that workspace, moved elsewhere, and nothing else."""
    monkeypatch.chdir(tmp_path)
    work = tmp_path / "workspace"
    work.mkdir()
    shutil.copy(tracked / "mlflow.db", work)
    shutil.copytree(tracked / "mlartifacts", work / "mlartifacts")
    return work


def test_a_baseline_run_writes_its_result_and_reads_the_test_split_once(tracked):
    folder = tracked / "baselines" / "tiny-baselines"
    result = json.loads((folder / "result.json").read_text())
    row = result["rows"]["tiny_rival"]
    assert row["title"] == "Rival <i>&</i> =1+1"
    assert row["params"] < row["training_params"]  # the loss trains a layer of its own
    assert "looked at 96 training images" in row["notes"]
    assert [item["seed"] for item in row["test"]["seeds"]] == [1, 2]
    assert result["test_reads"] == 1
    study = json.loads((tracked / "studies" / "tiny" / "result.json").read_text())
    assert result["protocol_hash"] == study["protocol_hash"]
    networks = json.loads((folder / "test_reads.jsonl").read_text())["networks"]
    assert len(networks) == 2


def test_running_baselines_again_trains_and_tests_nothing(tracked, tiny_plugin, capsys):
    folder = tracked / "baselines" / "tiny-baselines"
    before = (folder / "result.json").read_text()
    ran = typed(
        *("baseline", "run", "tiny_rival", "--study", "tiny", "--plugin", str(RIVALS)),
        *("--workspace", str(tracked), "--plugin", str(tiny_plugin), *COMMON, "--json"),
    )
    assert ran == 0
    again, first = json.loads(capsys.readouterr().out), json.loads(before)
    assert again["rows"] == first["rows"]
    assert again["test_reads"] == 1


def test_other_terms_under_the_same_name_are_refused(tracked, tiny_plugin, capsys):
    arguments = ("--study", "tiny", "--plugin", str(tiny_plugin), "--plugin", str(RIVALS))
    where = ("--workspace", str(tracked), *COMMON)
    assert typed("baseline", "run", "tiny_rival", *arguments, *where, "--epochs", "2") == 2
    error = capsys.readouterr().err
    assert "epochs: 3 -> 2" in error
    assert "--name" in error


def test_a_grid_tests_every_cell_once_beside_the_student_alone(tracked):
    folder = tracked / "studies" / "grid"
    result = json.loads((folder / "result.json").read_text())
    assert [cell["key"] for cell in result["cells"]] == [
        "temperature=4 alpha=0.4",
        "temperature=4 alpha=0.6",
        "temperature=6 alpha=0.4",
        "temperature=6 alpha=0.6",
    ]
    assert all("gain" in cell for cell in result["cells"])
    assert {"student_alone", "teacher"} <= set(result)
    assert result["test_reads"] == 1
    assert (folder / "figures" / "grid.png").stat().st_size > 5000
    assert "Claimed" in (folder / "REPORT.md").read_text()


def test_the_leaderboard_needs_nothing_but_mlflow(workspace, tiny_plugin, capsys):
    command = ("report", "leaderboard", "--no-latency", "--plugin", str(tiny_plugin), "--quiet")
    assert typed(*command) == 0
    shown = capsys.readouterr().out
    assert "tiny_student, distilled" in shown
    folder = workspace / "reports" / "leaderboard"
    content = json.loads((folder / "leaderboard.json").read_text())
    assert [len(table["rows"]) for table in content["tables"]] == [4, 6]
    roles = {row["role"] for row in content["rows"]}
    assert roles == {"teacher", "student", "distilled", "baseline"}
    first, *others = content["rows"]
    assert first["p_value_vs_first"] is None
    assert all(0 <= row["p_value_vs_first"] <= 1 for row in others)
    assert all(len(row["run_ids"]) == len(row["seeds"]) for row in content["rows"])
    accuracies = [row["accuracy"] for row in content["rows"]]
    assert accuracies == sorted(accuracies, reverse=True)
    page = (folder / "leaderboard.html").read_text()
    assert "Rival &lt;i&gt;" in page
    assert "Rival <i>" not in page
    rows = list(csv.DictReader((folder / "leaderboard.csv").read_text().splitlines()))
    assert len(rows) == 10
    assert "\\&" in (folder / "leaderboard.tex").read_text()


def test_figures_of_the_report_are_those_of_the_study(workspace, tracked, capsys):
    assert typed("report", "leaderboard", "tiny", "--no-latency", "--format", "json", "--json") == 0
    rows = {row["role"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    result = json.loads((tracked / "studies" / "tiny" / "result.json").read_text())
    for role, key in {"distilled": "distilled", "student": "student_alone"}.items():
        for name in ("accuracy", "accuracy_ci95", "macro_f1", "balanced_accuracy", "auc", "ece"):
            assert rows[role][name] == pytest.approx(result["test"][key][name])
    assert rows["distilled"]["params"] == result["cost"]["params"]


@pytest.fixture
def figures(tiny_plugin, capsys):
    """Write the leaderboard of the tiny study; return its rows' latencies and the warnings."""

    def write(*options: str, plugins: tuple[str, ...] = (str(tiny_plugin),)):
        given = [item for plugin in plugins for item in ("--plugin", plugin)]
        command = ("report", "leaderboard", "tiny", "--format", "json", "--json", *given, *options)
        assert typed(*command) == 0
        captured = capsys.readouterr()
        return json.loads(captured.out)["rows"], captured.err

    return write


@pytest.mark.slow
def test_latency_is_measured_once_in_the_deployed_runtime_for_all_rows_together(workspace, figures):
    rows, _ = figures()
    for row in rows:
        assert set(row["latencies_ms"]) == {"onnxruntime", "onnxruntime-int8"}
        assert row["latency_ms"] == row["latencies_ms"]["onnxruntime"]
        for found in row["latencies_ms"].values():
            assert found["p50"] >= found["min"] > 0
            assert (found["threads"], found["runs"], found["image_size"]) == (1, 200, 16)
    blocks = [block for row in rows for block in row["latencies_ms"].values()]
    assert len({(block["session"], block["host"]) for block in blocks}) == 1
    graphs = {path: path.stat().st_mtime_ns for path in (workspace / "cache/onnx").iterdir()}
    assert len(graphs) == 4  # two networks, in float32 and in 8 bits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fersearch.deploy.latency.subprocess", None)  # nothing is measured again
        assert figures()[0] == rows
        only, _ = figures("--runtime", "onnxruntime-int8")
    assert [row["latency_ms"] for row in only] == [
        row["latencies_ms"]["onnxruntime-int8"] for row in rows
    ]
    both, _ = figures("--runtime", "eager", "--runtime", "onnxruntime")
    assert all(row["latency_ms"]["runtime"] == "eager" for row in both)
    assert all(list(row["latencies_ms"]) == ["eager", "onnxruntime"] for row in both)
    # Another session: figures of the two are not mixed, and nothing is exported again.
    assert {row["latencies_ms"]["onnxruntime"]["session"] for row in both} == {
        row["latency_ms"]["session"] for row in both
    }
    assert both[0]["latency_ms"]["session"] != rows[0]["latency_ms"]["session"]
    assert {
        path: path.stat().st_mtime_ns for path in (workspace / "cache/onnx").iterdir()
    } == graphs


def test_without_the_export_packages_eager_latencies_are_shown_and_the_others_explained(
    workspace, figures, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "onnx" else find(name, *rest),
    )
    rows, warnings = figures()
    assert all(list(row["latencies_ms"]) == ["eager"] for row in rows)
    assert all(row["latency_ms"]["runtime"] == "eager" for row in rows)
    assert "latencies are those of PyTorch in eager mode" in warnings
    assert 'onnx is not installed; run pip install "fersearch[export]"' in warnings
    assert not (workspace / "cache" / "onnx").exists()


def test_runtimes_that_cannot_be_used_are_refused_before_anything_is_read(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert typed("report", "leaderboard", "--runtime", "onnxrutime") == 2
    assert "unknown runtime 'onnxrutime'; did you mean onnxruntime" in capsys.readouterr().err
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "onnxscript" else find(name, *rest),
    )
    assert typed("report", "leaderboard", "--runtime", "onnxruntime") == 2
    assert "onnxscript is not installed" in capsys.readouterr().err


def test_networks_without_their_plug_in_have_no_latency_until_it_is_given(
    workspace, figures, tiny_plugin
):
    rows, warnings = figures("--runtime", "eager", plugins=())
    assert all(row["latency_ms"] is None and row["latencies_ms"] == {} for row in rows)
    assert "no latency of tiny_student in eager: unknown model 'tiny_student'" in warnings
    rows, warnings = figures("--runtime", "eager")
    assert all(row["latency_ms"]["runtime"] == "eager" for row in rows)
    assert "no latency" not in warnings


def test_the_paper_report_judges_nothing_that_was_measured_elsewhere(workspace, capsys):
    assert typed("report", "paper", "--quiet") == 0
    shown = capsys.readouterr().out
    assert "cannot be checked" in shown
    folder = workspace / "reports" / "paper"
    for name in ("html", "md", "csv", "json", "tex"):
        assert (folder / f"paper.{name}").stat().st_size > 1000
    assert (folder / "figures" / "grad_cam.png").stat().st_size > 5000
    assert "not reproduced" not in {
        cell.get("verdict")
        for table in json.loads((folder / "paper.json").read_text())["tables"]
        for row in table["rows"]
        for cell in row["cells"]
    }


def test_other_protocols_stand_in_other_tables(
    workspace, tiny_plugin, tiny_cache, tmp_path, capsys
):
    shutil.copytree(tiny_cache / "data", workspace / "cache" / "data")
    (tmp_path / "tiny.toml").write_text(TINY_STUDY, encoding="utf-8")
    other = ("--epochs", "2", "--trials", "4", "--name", "shorter")
    study = ("study", str(tmp_path / "tiny.toml"), "--plugin", str(tiny_plugin), *COMMON, *other)
    assert typed(*study) == 0
    capsys.readouterr()
    assert typed("report", "leaderboard", "--no-latency", "--format", "json", "--json") == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert len({table["protocol_hash"] for table in tables[:2]}) == 2
    assert [len(table["rows"]) for table in tables] == [4, 3, 6]


def test_an_empty_workspace_is_said_to_be_empty(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("leaderboard", "paper"):
        assert typed("report", name) == 2
        assert "there are no tracked runs" in capsys.readouterr().err
    assert not (tmp_path / "workspace").exists()


def test_a_study_without_artifacts_is_left_out_and_named(workspace, capsys):
    for path in list((workspace / "mlartifacts").rglob("logits.npz")):
        if "tiny_rival" in (path.parent / "evaluation.json").read_text():
            shutil.rmtree(path.parent)
    assert typed("report", "leaderboard", "--no-latency", "--format", "json", "--json") == 0
    captured = capsys.readouterr()
    assert "warning: tiny-baselines: " in captured.err
    assert "gone" in captured.err
    content = json.loads(captured.out)
    assert {row["role"] for row in content["rows"]} == {"teacher", "student", "distilled"}
    assert any("baselines" in line for line in content["left_out"])


def test_damaged_artifacts_are_left_out_and_named(workspace, capsys):
    for path in (workspace / "mlartifacts").rglob("logits.npz"):
        path.write_bytes(b"no zip")
    assert typed("report", "leaderboard", "--no-latency") == 2
    assert "holds no readable evaluation" in capsys.readouterr().err


def test_an_interrupted_study_is_left_out_and_named(workspace, capsys):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("fersearch").experiment_id
    tags = {"fersearch.role": "study", "fersearch.study": "broken"}
    run = client.create_run(experiment, run_name="broken", tags=tags)
    client.set_terminated(run.info.run_id, "KILLED")
    assert typed("report", "leaderboard", "--no-latency", "--format", "json") == 0
    assert "warning: broken: it has no test figures" in capsys.readouterr().err


def test_unknown_studies_and_formats_are_refused(workspace, capsys):
    assert typed("report", "leaderboard", "tinny", "--no-latency") == 2
    assert "did you mean tiny?" in capsys.readouterr().err
    assert typed("report", "leaderboard", "--no-latency", "--format", "pdf") == 2
    assert "pdf" in capsys.readouterr().err


def test_grad_cam_maps_are_of_the_tested_networks(tracked):
    from fersearch.evaluations import load_grad_cams

    cams = load_grad_cams(tracked / "studies" / "tiny" / "evaluation" / "gradcam.npz")
    assert set(cams.maps) == {"distilled", "student_alone", "teacher"}
    assert cams.images.shape[1:] == (1, 16, 16)
    for maps in cams.maps.values():
        assert maps.shape == (len(cams.labels), 16, 16)
        assert np.isfinite(maps).all()
        assert maps.min() >= 0
        assert maps.max() <= 1
    assert len(set(cams.labels.tolist())) == len(cams.labels)


def test_a_name_that_a_study_has_is_refused_for_baselines(tracked, tiny_plugin, capsys):
    ran = typed(
        *("baseline", "run", "tiny_rival", "--study", "tiny", "--name", "tiny"),
        *("--workspace", str(tracked), "--plugin", str(tiny_plugin), "--plugin", str(RIVALS)),
        *COMMON,
    )
    assert ran == 2
    assert "is the name of a study" in capsys.readouterr().err


def test_reports_stay_in_their_folder(workspace, capsys):
    assert typed("report", "leaderboard", "--name", "../x", "--no-latency") == 2
    assert "the name of a report cannot be" in capsys.readouterr().err
    assert typed("report", "paper", "--format", ",") == 2
    assert "no report format" in capsys.readouterr().err


def test_help_texts_keep_their_examples_apart(capsys):
    for group in ((), ("baseline",), ("report",), ("study",)):
        typed(*group, "--help")
        shown = capsys.readouterr().out
        assert "\\b" not in shown
        assert "\n      fersearch " in shown or "\n        fersearch " in shown
