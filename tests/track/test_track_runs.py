"""What an MLflow user sees of a study."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient, search_runs
from mlflow.entities import Run, ViewType

from fersearch.records import RunRecord
from fersearch.track import Tracker
from fersearch.track.runs import flatten, key_of, milliseconds

Factory = Callable[..., RunRecord]
PROTOCOL = {"data": "synthetic", "epochs": 3, "views": {"flip": True}, "classes": ["a", "b"]}


def read(workspace: Path) -> tuple[MlflowClient, str]:
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace}/mlflow.db")
    experiment = client.get_experiment_by_name("faces")
    assert experiment is not None
    return client, str(experiment.experiment_id)


def runs_of(workspace: Path, role: str = "trial") -> list[Run]:
    client, experiment = read(workspace)
    return list(client.search_runs([experiment], f"tags.`fersearch.role` = '{role}'"))


def open_tracker(workspace: Path) -> Tracker:
    return Tracker.open(workspace=workspace, tracking_uri=None, experiment="faces")


def test_a_study_is_a_parent_with_one_child_per_record(
    workspace: Path, make_record: Factory
) -> None:
    with open_tracker(workspace) as tracker:
        tracker.start_study("distill", protocol=PROTOCOL, tags={"note": "first"})
        tracker.log(make_record(0))
        tracker.log(make_record(1, state="pruned", reason="median"))
        tracker.log(make_record(2, state="failed", reason="out of memory"))
        tracker.finish_study({"test_accuracy": 0.66})
        assert tracker.flush()
        assert tracker.warnings == ()
    (parent,) = runs_of(workspace, "study")
    assert parent.info.run_name == "distill"
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {"final/test_accuracy": 0.66}
    assert parent.data.tags["note"] == "first"
    assert parent.data.params == {
        "data": "synthetic",
        "epochs": "3",
        "views.flip": "True",
        "classes": '["a","b"]',
    }
    children = {run.info.run_name: run for run in runs_of(workspace)}
    assert {name: run.info.status for name, run in children.items()} == {
        "trial-0000": "FINISHED",
        "trial-0001": "KILLED",
        "trial-0002": "FAILED",
    }
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {
        parent.info.run_id
    }
    assert children["trial-0001"].data.tags["mlflow.note.content"] == "median"


def test_a_child_holds_the_whole_record(workspace: Path, make_record: Factory) -> None:
    with open_tracker(workspace) as tracker:
        tracker.start_study("distill", protocol=PROTOCOL)
        tracker.log(make_record(4))
    (run,) = runs_of(workspace)
    client, _ = read(workspace)
    assert run.data.params == {
        "model": "shufflenet_v2_x1_0",
        "seed": "4",
        "temperature": "6.0",
        "alpha": "0.4",
        "ffe_splits": "4",
    }
    series = client.get_metric_history(run.info.run_id, "val_accuracy")
    assert [(point.step, point.value) for point in series] == [
        (0, 0.5),
        (1, pytest.approx(0.6)),
        (2, pytest.approx(0.7)),
    ]
    start = 1767323045000  # 2026-01-02T03:04:05Z
    assert [point.timestamp - start for point in series] == [2000, 4000, 6000]
    assert run.info.start_time == start
    assert run.info.end_time == start + 6000
    assert run.data.metrics["images_per_second"] == 200.0
    assert run.data.metrics["final/val_accuracy"] == 0.7
    assert run.data.metrics["final/best_epoch"] == 2
    assert len(client.get_metric_history(run.info.run_id, "final/val_accuracy")) == 1
    tags = run.data.tags
    assert tags["fersearch.run_id"] == "trial-0004"
    assert tags["fersearch.protocol_hash"] == "abcd"
    assert tags["environment.torch"] == "2.4.0"
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "synthetic"
    assert dataset.dataset.digest == "f" * 36


def test_runs_read_back_as_a_table(
    workspace: Path, make_record: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_tracker(workspace) as tracker:
        for number in range(3):
            tracker.log(make_record(number, metrics={"val_accuracy": 0.5 + 0.1 * number}))
    from mlflow import set_tracking_uri

    # MLflow puts it into the environment, where later tests would find it.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    set_tracking_uri(f"sqlite:///{workspace}/mlflow.db")
    table = search_runs(
        experiment_names=["faces"],
        filter_string="tags.`fersearch.role` = 'trial'",
        order_by=["metrics.`final/val_accuracy` DESC"],
    )
    assert list(table["tags.fersearch.run_id"]) == ["trial-0002", "trial-0001", "trial-0000"]
    assert list(table["metrics.final/val_accuracy"]) == pytest.approx([0.7, 0.6, 0.5])


def test_the_same_record_twice_is_one_run(workspace: Path, make_record: Factory) -> None:
    for _ in range(2):
        with open_tracker(workspace) as tracker:
            tracker.start_study("distill", protocol=PROTOCOL)
            tracker.log(make_record(0))
            tracker.flush()
            tracker.log(make_record(0))
    client, experiment = read(workspace)
    assert len(client.search_runs([experiment], run_view_type=ViewType.ALL)) == 2
    (parent,) = runs_of(workspace, "study")
    assert parent.info.status == "RUNNING"


def test_another_record_of_a_run_replaces_it(workspace: Path, make_record: Factory) -> None:
    with open_tracker(workspace) as tracker:
        tracker.log(make_record(0, epochs=1, state="failed"))
        tracker.flush()
        tracker.log(make_record(0))
    (run,) = runs_of(workspace)
    assert run.info.status == "FINISHED"


def test_studies_with_equal_run_ids_stay_apart(workspace: Path, make_record: Factory) -> None:
    with open_tracker(workspace) as tracker:
        tracker.log(make_record(0, study="a"))
        tracker.log(make_record(0, study="b"))
        tracker.flush()
        tracker.start_study("a", protocol=PROTOCOL, identity="elsewhere")
        tracker.log(make_record(0, study="a"))
    assert len(runs_of(workspace)) == 3
    assert len(runs_of(workspace, "study")) == 3


def test_long_runs_and_unusual_values_fit_the_limits(workspace: Path, make_record: Factory) -> None:
    record = make_record(
        0,
        epochs=310,
        parameters={**{f"p{i}": i for i in range(140)}, "long": "x" * 9000, "empty": "", "n": None},
        metrics={"recall/happiness": 0.9, "odd name (%)": 1.0, "undefined": math.nan},
        environment={f"e{i}": "y" * 9000 for i in range(120)},
        state="unheard of",
        started="",
        data_sha256="",
    )
    with open_tracker(workspace) as tracker:
        tracker.log(record)
        assert tracker.flush(), tracker.warnings
    (run,) = runs_of(workspace)
    client, _ = read(workspace)
    assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 310
    assert len(run.data.params) == 145
    assert len(run.data.params["long"]) == 6000
    assert run.data.metrics["final/recall/happiness"] == 0.9
    assert run.data.metrics["final/odd name ___"] == 1.0
    assert "final/undefined" not in run.data.metrics
    assert run.info.status == "FAILED"


def test_validation_free_runs_leave_its_series_out(workspace: Path, make_record: Factory) -> None:
    whole = make_record(0)
    bare = replace(
        whole,
        best_epoch=-1,
        epochs=tuple(replace(item, val_accuracy=math.nan, seconds=0.0) for item in whole.epochs),
    )
    with open_tracker(workspace) as tracker:
        tracker.log(bare)
    (run,) = runs_of(workspace)
    assert "val_accuracy" not in run.data.metrics
    assert "images_per_second" not in run.data.metrics
    assert "final/best_epoch" not in run.data.metrics
    assert "val_loss" in run.data.metrics


def test_artifacts_are_kept_and_missing_ones_named(workspace: Path, make_record: Factory) -> None:
    table = workspace / "table.md"
    table.write_text("| a |", encoding="utf-8")
    folder = workspace / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    with open_tracker(workspace) as tracker:
        tracker.start_study("distill", protocol=PROTOCOL)
        tracker.log(make_record(0))
        tracker.flush()
        tracker.log(make_record(0), [table, folder, workspace / "gone.txt"])
        tracker.log(make_record(1), [table])
        tracker.finish_study({}, [folder])
        tracker.flush()
        (warning,) = tracker.warnings
        assert "gone.txt" in warning
    client, _ = read(workspace)
    first = next(run for run in runs_of(workspace) if run.info.run_name == "trial-0000")
    assert {item.path for item in client.list_artifacts(first.info.run_id)} == {"table.md", "model"}
    kept = workspace / "mlartifacts" / first.info.run_id / "artifacts" / "table.md"
    assert kept.read_text(encoding="utf-8") == "| a |"
    (parent,) = runs_of(workspace, "study")
    assert [item.path for item in client.list_artifacts(parent.info.run_id)] == ["model"]


def test_keys_times_and_nesting() -> None:
    assert key_of("recall/happiness") == "recall/happiness"
    assert key_of("/50 % (top)") == "50 _ _top_"
    assert flatten({"a": {"b": {"c": None}}}) == {"a.b.c": "None"}
    assert milliseconds("1970-01-01T00:00:01") == 1000
    assert milliseconds("not a time") > 1_700_000_000_000
