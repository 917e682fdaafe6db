"""Trials that are trained in one program are the trials that they would be on their own."""

from __future__ import annotations

import json
import math
import shutil
from types import SimpleNamespace

import optuna
import pytest
from conftest import TINY_DATA, TINY_STUDY

import fersearch
from fersearch.api.stacking import trials_together
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import (
    Execution,
    LossSettings,
    RunLabel,
    StackTask,
    TrainJob,
    TrainTask,
    make_recipe,
)
from fersearch.errors import FersearchError, InputError
from fersearch.records import RunRecord
from fersearch.search.objectives import RunPlan
from fersearch.search.pool import Failure
from fersearch.search.scheduler import Scheduler
from fersearch.spec import load_study, override

SHORT = {"budget.seeds": 1, "budget.confirm_top": 1, "budget.teacher_epochs": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_cache, tiny_data, tiny_plugin):
    """Run the tiny study in a workspace of its own name; decoded data are shared."""
    tmp_path = tmp_path_factory.mktemp("stacks")
    tiny_study_file = tmp_path / "tiny.toml"
    tiny_study_file.write_text(TINY_STUDY, encoding="utf-8")

    def run_study(name, *, listener=lambda progress: None, settings=None, **options):
        workspace = tmp_path / name
        if not workspace.exists():
            shutil.copytree(tiny_cache / "data", workspace / "cache" / "data")
        return fersearch.run_study(
            tiny_study_file,
            data=TINY_DATA,
            workspace=workspace,
            jobs=options.pop("jobs", 1),
            threads=1,
            track=False,
            export=False,
            settings={**SHORT, **(settings or {})},
            listener=listener,
            **options,
        )

    run_study.path = tmp_path
    return run_study


def trials_of(run, name):
    url = f"sqlite:///{run.path / name}/optuna.db"
    return optuna.load_study(study_name="tiny", storage=url).trials


def records_of(run, name):
    folder = run.path / name / "studies" / "tiny" / "runs"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("trial-*.json"))]


@pytest.fixture(scope="module")
def alone(run):
    """Run the study with each trial on its own."""
    return run("alone")


def assert_same_trials(run, one):
    """Compare with the study whose trials were trained alone."""
    pairs = list(zip(trials_of(run, one), trials_of(run, "alone"), strict=True))
    for left, right in pairs:
        assert (left.params, left.state) == (right.params, right.state)
        # Rounding may turn one answer of 32.
        assert left.intermediate_values == pytest.approx(right.intermediate_values, abs=0.04)
    assert len(pairs) == 6


def test_a_study_has_the_same_trials_in_stacks_of_three(run, alone):
    lines = []
    result = run("stacked", vectorize=3, listener=lambda progress: lines.append(progress))
    assert_same_trials(run, "stacked")
    records = records_of(run, "stacked")
    assert all("trained in a stack of 3" in record["notes"][0] for record in records)
    assert all(0 < record["seconds"] < 60 for record in records)
    assert "up to 3 trials in one program" in [line.message for line in lines]
    # Each epoch of each trial is told of, as when they are trained on their own.
    steps = [line.step.run_id for line in lines if line.step is not None and line.phase == "search"]
    for record in records:
        assert steps.count(record["run_id"]) == len(record["epochs"])
    assert not list((run.path / "stacked" / "studies" / "tiny").rglob("*.pt"))
    # What is confirmed and tested comes from the ordinary trainer.
    folder = run.path / "stacked" / "studies" / "tiny" / "runs"
    for path in [*folder.glob("confirm*.json"), *folder.glob("control*.json")]:
        assert json.loads(path.read_text())["notes"] == []
    assert (
        result.content["protocol"]
        == json.loads((run.path / "alone" / "studies" / "tiny" / "result.json").read_text())[
            "protocol"
        ]
    )


def test_a_killed_stack_goes_on_as_single_trials(run, alone):
    class StopError(Exception):
        pass

    def stop(progress):
        if progress.step is not None and progress.step.run_id == "trial-0001":
            raise StopError

    with pytest.raises(StopError):
        run("killed", vectorize=3, listener=stop)
    assert len(list((run.path / "killed").rglob("*.pt"))) >= 1
    run("killed", vectorize=1)
    assert_same_trials(run, "killed")


@pytest.mark.slow
def test_workers_train_stacks_too(run, alone, tiny_plugin):
    run("workers", vectorize=2, jobs=2, plugins=[tiny_plugin])
    assert_same_trials(run, "workers")
    notes = [record["notes"] for record in records_of(run, "workers")]
    assert any("stack of 2" in own[0] for own in notes if own)


def test_a_network_that_cannot_be_trained_fails_each_trial_on_its_own(run):
    with pytest.raises(FersearchError, match="this network cannot be trained"):
        run("failing", vectorize=3, settings={"training.student": "tiny_failing"})
    reasons = [record["reason"] for record in records_of(run, "failing")]
    assert len(reasons) == 3
    assert all("cannot be trained" in reason for reason in reasons)


def test_numbers_that_a_study_cannot_have_are_refused(run):
    for wrong in (0, 5, "many"):
        with pytest.raises(InputError, match="must be auto or from 1 to 4 but got") as caught:
            run("wrong", vectorize=wrong)
        assert "raise lag" in caught.value.hint
    assert not (run.path / "wrong" / "optuna.db").exists()


def test_auto_stacks_small_students_on_a_gpu_only():
    info = SimpleNamespace(classes=tuple("abcdefgh"), image_size=48)
    spec = load_study("distill")
    assert trials_together("auto", spec, info, device="cuda")[0] == 4
    assert trials_together("auto", override(spec, {"search.lag": 20}), info, device="cuda")[0] == 8
    together, line = trials_together("auto", spec, info, device="cpu")
    assert together == 1
    assert "on a CPU that is faster" in line
    assert trials_together(3, spec, info, device="cpu") == (3, "up to 3 trials in one program")
    assert trials_together(1, spec, info, device="cuda") == (1, "")
    together, line = trials_together("auto", spec, info, device="cuda", records=False)
    assert together == 1
    assert "FERSEARCH_RECORD" in line
    big = override(spec, {"training.student": "eff_resnet18"})
    together, line = trials_together("auto", big, info, device="cuda")
    assert together == 1
    assert "eff_resnet18 fills a GPU" in line
    assert trials_together("auto", load_study("ablation"), info, device="cuda") == (1, "")


class FakePool:
    """Takes tasks, and ends them in the order they came, with what ``outcome`` says."""

    def __init__(self, workers, outcome):
        self.workers, self.outcome, self.tasks, self.seen = workers, outcome, [], []

    @property
    def free(self):
        return self.workers - len(self.tasks)

    @property
    def busy(self):
        return len(self.tasks)

    def submit(self, name, task):
        self.tasks.append((name, task))
        parts = task.tasks if isinstance(task, StackTask) else (task,)
        self.seen.append([part.label.run_id for part in parts])

    def wait(self, handler):
        name, task = self.tasks.pop(0)
        return name, self.outcome(task)


def record_of(task):
    return RunRecord(
        run_id=task.label.run_id, study="s", role="trial", state="complete", model="m", seed=0,
        protocol_hash="p", data_sha256="d",
    )  # fmt: skip


def succeed(task):
    if isinstance(task, StackTask):
        return tuple(map(record_of, task.tasks))
    return record_of(task) if isinstance(task, TrainTask) else None


def scheduled(tmp_path, labels, *, workers=1, together=3, outcome=succeed):
    """Run labels of (name, role, model) through a scheduler; return submissions, results, lost."""
    pool, results, lost = FakePool(workers, outcome), [], []
    scheduler = Scheduler(
        pool,
        dataset=tmp_path,
        cache=tmp_path,
        execution=Execution(),
        study="s",
        protocol_hash="p",
        together=together,
        on_progress=lambda progress: True,
        on_teacher=lambda record: None,
        on_lost=lambda name, failure: lost.append(name),
    )
    for number, (name, role, model) in enumerate(labels):
        job = TrainJob(
            data_sha256="d",
            model=model,
            recipe=make_recipe("default", epochs=1, batch_size=4, learning_rate=0.1 / (number + 1)),
            policy=ViewPolicy(),
            preprocessing=Preprocessing(image_size=16, mean=(0.5,), std=(0.5,)),
            seed=0,
            loss=LossSettings(temperature=1.0 + number, alpha=0.5),
        )
        label = RunLabel(run_id=name, study="s", role=role, protocol_hash="p")
        scheduler.add(label, RunPlan(job=job, teacher=None), checkpoint=tmp_path / name)
    scheduler.run(
        refill=lambda: None, on_result=lambda name, result: results.append((name, result))
    )
    return pool.seen, results, lost


def labels(names, model="m", role="trial"):
    return [(name, role, model) for name in names]


def test_trials_that_can_share_a_program_do(tmp_path):
    waiting = [*labels("ab"), *labels("c", model="other"), *labels("de")]
    seen, results, _ = scheduled(tmp_path, waiting)
    assert seen == [["a", "b", "d"], ["c"], ["e"]]
    assert sorted(name for name, _ in results) == list("abcde")
    assert all(name == record.run_id for name, record in results)


@pytest.mark.parametrize(("workers", "count"), [(2, 4), (3, 4), (2, 3)])
def test_no_worker_idles_because_another_took_all(tmp_path, workers, count):
    seen, _, _ = scheduled(tmp_path, labels("abcd"[:count]), workers=workers, together=4)
    assert len(seen) == workers
    assert max(map(len, seen)) == math.ceil(count / workers)


def test_runs_other_than_trials_are_trained_on_their_own(tmp_path):
    seen, _, _ = scheduled(tmp_path, labels("ab", role="distilled"))
    assert seen == [["a"], ["b"]]
    seen, _, _ = scheduled(tmp_path, labels("ab"), together=1)
    assert seen == [["a"], ["b"]]


@pytest.mark.parametrize("died", [True, False])
def test_after_a_failed_stack_each_trial_is_trained_on_its_own(tmp_path, died):
    def outcome(task):
        if isinstance(task, StackTask):
            return Failure(message="out of memory", died=died)
        return Failure(message="bad") if task.label.run_id == "b" else record_of(task)

    waiting = labels("abcdefgh")
    seen, results, lost = scheduled(tmp_path, waiting, together=5, outcome=outcome)
    # Five failed together, so the next are two.
    assert seen == [list("abcde"), *[[name] for name in "abcde"], ["f", "g"], ["f"], ["g"], ["h"]]
    assert lost == list("abcdefg")
    assert [name for name, result in results if isinstance(result, Failure)] == ["b"]
    assert len(results) == 8
