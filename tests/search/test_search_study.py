"""A whole study of tiny networks: search, confirm, test once, and everything that may go wrong."""

from __future__ import annotations

import json
import shutil

import numpy as np
import optuna
import pytest
from conftest import TINY_DATA
from optuna.trial import TrialState

import fersearch
from fersearch.deploy.onnx_model import OnnxPredictor
from fersearch.errors import FersearchError, InputError
from fersearch.search import StudyFolder


@pytest.fixture(autouse=True)
def _models(tiny_plugin):
    """Register the tiny networks."""


@pytest.fixture
def run(tmp_path, tiny_study_file, tiny_data, tiny_cache):
    """Run the tiny study in a workspace of its own; decoded data are shared."""
    workspace = tmp_path / "workspace"
    shutil.copytree(tiny_cache / "data", workspace / "cache" / "data")

    def run_study(*, workspace=workspace, listener=lambda progress: None, **options):
        settings = options.pop("settings", {})
        return fersearch.run_study(
            tiny_study_file,
            data=options.pop("data", TINY_DATA),
            workspace=workspace,
            jobs=options.pop("jobs", 1),
            threads=1,
            track=options.pop("track", False),
            export=options.pop("export", False),
            settings=settings,
            listener=listener,
            **options,
        )

    run_study.workspace = workspace
    return run_study


def trials_of(workspace, name="tiny"):
    study = optuna.load_study(study_name=name, storage=f"sqlite:///{workspace}/optuna.db")
    return [(trial.params, trial.state.name, trial.intermediate_values) for trial in study.trials]


def test_a_study_searches_confirms_tests_once_and_hands_back_a_model(run):
    result = run()
    content = json.loads((result.folder / "result.json").read_text())
    assert content == result.content
    assert sum(content["trials"].values()) == 6
    assert set(content["best"]["params"]) == {
        "temperature", "alpha", "ffe_splits", "learning_rate",
    }  # fmt: skip
    assert [len(item["val_accuracy"]) for item in content["confirmed"]] == [2, 2]
    assert [item["seeds"] for item in content["confirmed"]] == [[1, 2], [1, 2]]
    assert set(content["test"]) == {"distilled", "student_alone", "teacher"}
    assert [seed["seed"] for seed in content["test"]["distilled"]["seeds"]] == [1, 2]
    low, high = content["test"]["distilled"]["accuracy_ci95"]
    assert low <= content["test"]["distilled"]["accuracy"] <= high
    gain = content["test"]["distilled"]["accuracy"] - content["test"]["student_alone"]["accuracy"]
    assert content["gain"]["accuracy"] == pytest.approx(gain)
    assert content["protocol"]["n_test"] == 40
    assert content["test_reads"] == 1
    report = result.report.read_text()
    for word in ("teacher", "student alone", "distilled", "drawings", "confusion.png"):
        assert word in report
    assert str(result).startswith("row")


def test_the_handed_back_model_gives_the_logits_that_were_tested(run, tiny_data):
    result = run()
    model, config = fersearch.load_network(result.model)
    assert config.classes == tiny_data.info.classes
    with np.load(result.folder / "test_logits.npz") as logits:
        seeds = {name: logits[name] for name in logits.files if name.startswith("distilled")}
        labels = logits["labels"]
    from fersearch.api.networks import _logits

    found = _logits(model, config, tiny_data.test.images)
    assert any(np.allclose(found, values, atol=1e-4) for values in seeds.values())
    accuracies = [np.mean(values.argmax(1) == labels) for values in seeds.values()]
    assert result.content["test"]["distilled"]["accuracy"] == pytest.approx(np.mean(accuracies))


def test_running_a_finished_study_again_changes_nothing_and_tests_nothing(run):
    first = run()
    stamp = (first.folder / "result.json").stat().st_mtime_ns
    again = run()
    assert again.content == first.content
    assert (first.folder / "result.json").stat().st_mtime_ns == stamp
    assert len((first.folder / "test_reads.jsonl").read_text().splitlines()) == 1


def test_a_trial_says_in_the_storage_what_became_of_it(run):
    run(settings={"budget.trials": 1, "budget.epochs": 1, "budget.seeds": 1})
    storage = f"sqlite:///{run.workspace}/optuna.db"
    (trial,) = optuna.load_study(study_name="tiny", storage=storage).trials
    assert trial.user_attrs["run_id"] == "trial-0000"
    assert trial.user_attrs["best_epoch"] == 0
    assert trial.user_attrs["seconds"] > 0
    assert "reason" not in trial.user_attrs


def test_without_time_for_another_trial_nothing_is_tested_again(run):
    first = run(timeout=0.0)
    assert sum(first.content["trials"].values()) < 6
    again = run(timeout=0.0)
    assert again.content == first.content
    assert len((first.folder / "test_reads.jsonl").read_text().splitlines()) == 1
    whole = run()
    assert sum(whole.content["trials"].values()) == 6
    assert whole.content["test_reads"] == 2


def test_more_trials_continue_the_study_and_equal_one_straight_through(run, tmp_path):
    run(settings={"budget.trials": 4})
    run(settings={"budget.trials": 8})
    straight = tmp_path / "straight"
    shutil.copytree(run.workspace / "cache" / "data", straight / "cache" / "data")
    run(workspace=straight, settings={"budget.trials": 8})
    assert trials_of(run.workspace) == trials_of(straight)
    assert len(trials_of(straight)) == 8


def test_an_interrupted_study_continues_and_gives_the_same_numbers(run, tmp_path):
    class StopError(Exception):
        pass

    def stop_at(event):
        count = 0

        def listener(progress):
            nonlocal count
            if progress.step is not None:
                count += 1
                if count == event:
                    raise StopError

        return listener

    for event in (3, 9, 14, 25):
        try:
            run(listener=stop_at(event))
        except StopError:
            continue
    interrupted = run()
    straight = tmp_path / "straight"
    shutil.copytree(run.workspace / "cache" / "data", straight / "cache" / "data")
    whole = run(workspace=straight)
    assert trials_of(run.workspace) == trials_of(straight)
    assert interrupted.content["test"] == whole.content["test"]
    assert interrupted.content["gain"] == whole.content["gain"]
    assert interrupted.content["test_reads"] == 1


def test_the_search_and_the_confirmation_never_open_the_test_split(run):
    data = fersearch.load_data(TINY_DATA, workspace=run.workspace)
    kept = {path: path.read_bytes() for path in data.path.glob("test.*")}

    def hide_until_the_test(progress):
        for path, content in kept.items():
            if progress.phase == "test":
                path.write_bytes(content)
            else:
                path.unlink(missing_ok=True)

    result = run(listener=hide_until_the_test)
    assert result.content["test_reads"] == 1


def test_a_changed_protocol_under_the_same_name_is_refused_with_what_differs(run):
    run()
    with pytest.raises(InputError) as caught:
        run(settings={"budget.epochs": 4, "training.loss": "dkd"})
    assert "exists with another protocol" in caught.value.message
    assert "epochs: 3 -> 4" in caught.value.message
    assert "loss: kd -> dkd" in caught.value.message
    assert "--name" in caught.value.hint
    run(settings={"budget.epochs": 4, "training.loss": "dkd"}, name="other")
    assert StudyFolder(run.workspace, "other").result.exists()


def test_teachers_are_trained_once_and_shared_by_studies_of_one_protocol(run):
    run()
    folder = run.workspace / "cache" / "teachers"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert 1 <= len(before) <= 3
    run(settings={"search.seed": 1}, name="second")
    for path, stamp in before.items():
        assert path.stat().st_mtime_ns == stamp


def test_a_deleted_cache_is_made_again(run):
    first = run(settings={"budget.trials": 4})
    shutil.rmtree(run.workspace / "cache")
    second = run(settings={"budget.trials": 5})
    assert sum(second.content["trials"].values()) == 5
    assert second.content["protocol_hash"] == first.content["protocol_hash"]


def test_diverging_trials_are_pruned_with_their_reason(run):
    settings = {
        "space.learning_rate.low": 1e29,
        "space.learning_rate.high": 1e30,
        "enqueue": [],
        "budget.trials": 3,
    }
    with pytest.raises(FersearchError, match="none of 3 trials was completed: diverged"):
        run(settings=settings)
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{run.workspace}/optuna.db")
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED] * 3
    assert all(trial.user_attrs["reason"].startswith("diverged") for trial in study.trials)


def test_a_network_that_cannot_be_trained_ends_the_study_with_its_reason(run):
    with pytest.raises(FersearchError, match="this network cannot be trained"):
        run(settings={"training.student": "tiny_failing"})
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{run.workspace}/optuna.db")
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.FAIL) == 3
    # Nothing is left half done: what was started and not finished is finished by the next run.
    record = json.loads(
        (run.workspace / "studies" / "tiny" / "runs" / "trial-0000.json").read_text()
    )
    assert record["state"] == "failed"
    assert "cannot be trained" in record["reason"]


def test_a_timeout_stops_starting_trials_and_still_gives_a_result(run):
    result = run(timeout=0.0, settings={"budget.trials": 6, "search.pruner": "none"})
    assert 1 <= sum(result.content["trials"].values()) < 6


def test_macro_f1_can_be_the_objective(run):
    result = run(settings={"search.metric": "macro_f1", "search.pruner": "none"})
    trial = result.content["best"]["best_single_trial"]
    record = json.loads((result.folder / "runs" / f"trial-{trial['trial']:04d}.json").read_text())
    assert trial["value"] == record["metrics"]["val_macro_f1"]


@pytest.mark.parametrize("loss", ["dkd", "logit_std", "dist"])
def test_every_loss_runs_a_study(run, loss):
    result = run(settings={"training.loss": loss, "budget.trials": 2, "search.pruner": "none"})
    assert result.content["protocol"]["loss"] == loss


def test_two_workers_give_the_numbers_of_one(run, tmp_path, tiny_plugin):
    parallel = run(jobs=2, plugins=[tiny_plugin])
    alone = tmp_path / "alone"
    shutil.copytree(run.workspace / "cache" / "data", alone / "cache" / "data")
    whole = run(workspace=alone)
    assert trials_of(run.workspace) == trials_of(alone)
    assert parallel.content["test"] == whole.content["test"]


def test_too_many_jobs_are_refused(run):
    with pytest.raises(InputError, match="jobs must be from 1 to 4 but got 5"):
        run(jobs=5)


def test_a_study_with_another_teacher_does_without_splits(run):
    result = run(
        settings={"teacher.model": "tiny_student", "budget.trials": 2, "search.pruner": "none"}
    )
    assert "ffe_splits" not in result.content["best"]["params"]
    assert result.content["protocol"]["teacher"] == "tiny_student"


def test_the_control_may_choose_a_lower_learning_rate_than_the_search_found(run):
    result = run()
    rates = [item["params"]["learning_rate"] for item in result.content["control"]["confirmed"]]
    found = [item["params"]["learning_rate"] for item in result.content["confirmed"]]
    assert rates == [*dict.fromkeys([*found, found[0] / 2])]
    assert result.content["control"]["params"]["learning_rate"] in rates


def test_records_of_another_protocol_are_not_taken_for_this_one(run):
    run(settings={"budget.trials": 3})
    for path in run.workspace.glob("optuna.db*"):
        path.unlink()
    # The storage is new, but the folder remembers what its records were made under.
    with pytest.raises(InputError, match="epochs: 3 -> 2"):
        run(settings={"budget.trials": 3, "budget.epochs": 2})


def test_a_teacher_of_other_data_is_refused(run, tiny_data):
    options = {"epochs": 1, "workspace": run.workspace}
    teacher = fersearch.train_teacher(tiny_data, model="tiny_teacher", **options)
    other = fersearch.load_data(f"{TINY_DATA},seed=9", workspace=run.workspace)
    with pytest.raises(InputError, match="trained on other data"):
        fersearch.distil(other, teacher, model="tiny_student", **options)


def test_the_paper_rows_are_the_paper_settings_and_say_how_they_ended(run):
    result = run()
    row = result.content["paper_settings"][0]
    assert (row["trial"], row["params"]["temperature"]) == (0, 8.0)
    assert row["state"] in {"complete", "pruned"}
    report = result.report.read_text()
    assert "paper (trial 0)" in report
    assert "| alone |" in report


def test_the_student_is_exported_and_its_8_bit_file_is_tested_in_the_same_opening(run, tiny_data):
    result = run(export=True)
    content = json.loads((result.folder / "result.json").read_text())
    exported = json.loads((result.folder / "model.export.json").read_text())
    deployed = content["deployed"]
    assert content["test_reads"] == 1
    assert {"model.onnx", "model.int8.onnx"} <= {path.name for path in result.folder.iterdir()}
    assert deployed["recommended"] == exported["recommended"]
    assert deployed["max_difference"] < 1e-4
    images = np.moveaxis(np.asarray(tiny_data.test.images), 1, 3)
    labels = np.asarray(tiny_data.test.labels)
    for key, name in (("int8_accuracy", "model.int8.onnx"), ("fp32_accuracy", "model.onnx")):
        predictor = OnnxPredictor(result.folder / name)
        right = predictor.probabilities(images).argmax(axis=1) == labels
        assert deployed[key] == pytest.approx(right.mean())
    _, config = fersearch.load_network(result.model)
    assert predictor.info.classes == config.classes
    assert "test_accuracy" in config.metrics


def test_a_student_that_cannot_be_exported_is_still_a_result(run):
    result = run(export=True, settings={"training.student": "tiny_unexportable"})
    assert result.content["deployed"] is None
    assert any("no ONNX file was written" in note for note in result.content["notes"])
    assert result.content["test"]["distilled"]["accuracy"] > 0


def test_files_of_an_earlier_network_do_not_stay_beside_a_new_one(run):
    result = run(export=True)
    record = result.folder / "model.export.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "weights_sha256": "of another network"}))
    again = run(export=False, settings={"budget.trials": 7})
    assert again.content["deployed"] is None
    assert not list(result.folder.glob("model*.onnx"))
    assert not record.exists()
