"""Real processes, really killed: nothing is lost, counted twice or left waiting for ever."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, TINY_DATA
from optuna.trial import TrialState

from fersearch.search.storage import default_storage_url, load_study, open_storage, study_names

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(tmp_path, tiny_data, tiny_cache):
    folder = tmp_path / "workspace"
    shutil.copytree(tiny_cache / "data", folder / "cache" / "data")
    return folder


@pytest.fixture
def start(tmp_path, workspace, tiny_study_file, tiny_plugin):
    """Start the tiny study as a process of its own; ``slow`` gives a test time to interrupt."""
    processes = []

    def run(*arguments, slow=False, student="tiny_student"):
        student = ["--student", "tiny_slow" if slow else student]
        command = [
            *(sys.executable, "-m", "fersearch", "study", str(tiny_study_file)),
            *("--data", TINY_DATA, "--plugin", str(tiny_plugin), "--no-track"),
            *("--no-export", "--workspace", str(workspace), "--pruner", "none"),
            *(*student, *arguments),
        ]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            # A test run in the background of a shell ignores Ctrl-C, and its children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def wait_until(condition, process=None, *, seconds=300.0):
    """Wait for a condition; a process that ends first fails the test with what it said."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None and not condition():
            pytest.fail(f"it ended with {process.returncode}: {process.communicate()[1]}")
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)


def trials(workspace, name="tiny"):
    """Return the trials that the storage holds.

    The storage is opened under its lock: two processes that make its tables at once break it.
    """
    if not (workspace / "optuna.db").exists():
        return []
    storage = open_storage(default_storage_url(workspace), lock=workspace / "optuna.lock")
    try:
        names = study_names(storage)
        return load_study(storage, name).trials if name in names else []
    finally:
        storage.remove_session()
        storage.engine.dispose()


def reports(workspace):
    """Return the intermediate values that the storage holds, by trial."""
    return [trial.intermediate_values for trial in trials(workspace)]


def in_the_middle(workspace, number):
    """Tell whether a trial of at least this number has reported and is not finished."""
    return any(
        trial.number >= number and trial.state == TrialState.RUNNING and trial.intermediate_values
        for trial in trials(workspace)
    )


def finish(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out, err


def half_written(workspace):
    return [
        path
        for path in (workspace / "studies").rglob(".*")
        if path.is_file() and path.parent.name in {"runs", "tiny"}
    ]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_killed_study_continues_with_the_exact_number_of_trials(start, workspace, jobs):
    killed = start("--jobs", jobs, "--threads", "1", slow=True)
    wait_until(lambda: in_the_middle(workspace, 2), killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = reports(workspace)
    finish(start("--jobs", jobs, "--threads", "1", slow=True))
    after = trials(workspace)
    assert [trial.state for trial in after] == [TrialState.COMPLETE] * 6
    for values, trial in zip(before, after, strict=False):
        # What was reported before the kill was not trained again with another outcome.
        assert values.items() <= trial.intermediate_values.items()
    result = json.loads((workspace / "studies" / "tiny" / "result.json").read_text())
    assert result["trials"] == {"complete": 6, "pruned": 0, "failed": 0}
    assert result["test_reads"] == 1
    assert not half_written(workspace)


def test_killed_workers_of_a_killed_study_do_not_live_on(start, workspace):
    process = start("--jobs", "2", "--threads", "1", slow=True)
    wait_until(lambda: any(reports(workspace)), process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(_alive(child) for child in children), seconds=20)


def _alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


FATAL = ROOT / "tests" / "plugins" / "fatal_models.py"


@pytest.fixture
def deaths(tmp_path, monkeypatch):
    """Say how many times the fatal networks kill the process that trains them."""

    def set_number(number):
        folder = tmp_path / "lives"
        folder.mkdir()
        for life in range(number):
            (folder / str(life)).touch()
        monkeypatch.setenv("FATAL_LIVES", str(folder))

    return set_number


def result_of(workspace, kind="studies", name="tiny"):
    return json.loads((workspace / kind / name / "result.json").read_text())


def test_a_killed_worker_costs_one_failed_trial_and_not_the_study(start, workspace, deaths):
    deaths(1)
    _, err = finish(
        start("--jobs", "2", "--threads", "1", "--plugin", str(FATAL), student="fatal_student")
    )
    assert result_of(workspace)["trials"] == {"complete": 5, "pruned": 0, "failed": 1}
    assert "signal 9" in err


def test_a_teacher_whose_worker_was_killed_is_made_again(start, workspace, tiny_study_file, deaths):
    deaths(1)
    text = tiny_study_file.read_text()
    tiny_study_file.write_text(text.replace("tiny_teacher", "fatal_teacher"))
    _, err = finish(start("--jobs", "2", "--threads", "1", "--plugin", str(FATAL)))
    assert result_of(workspace)["trials"] == {"complete": 6, "pruned": 0, "failed": 0}
    assert "is done again: its process ended with signal 9" in err


def test_a_teacher_that_kills_every_worker_ends_the_study(
    start, workspace, tiny_study_file, deaths
):
    deaths(20)
    text = tiny_study_file.read_text()
    tiny_study_file.write_text(text.replace("tiny_teacher", "fatal_teacher"))
    process = start("--jobs", "2", "--threads", "1", "--plugin", str(FATAL))
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "a worker failed: its process ended with signal 9" in err.splitlines()[-1]


def test_a_full_run_whose_worker_was_killed_is_done_again(tmp_path, workspace, tiny_plugin, deaths):
    deaths(1)
    command = [
        *(sys.executable, "-m", "fersearch", "baseline", "run", "fatal_student", "--data"),
        *(TINY_DATA, "--plugin", str(tiny_plugin), "--plugin", str(FATAL), "--no-track"),
        *("--workspace", str(workspace), "--epochs", "2", "--seeds", "2", "--jobs", "2"),
        *("--threads", "1", "--batch-size", "16"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "is done again: its process ended with signal 9" in ended.stderr
    row = result_of(workspace, "baselines", "baselines")["rows"]["fatal_student"]
    assert len(row["test"]["seeds"]) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_exits_with_130_and_the_command_that_continues(start, workspace, number):
    process = start("--jobs", "1", slow=True)
    wait_until(lambda: any(reports(workspace)), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    last = err.splitlines()[-1]
    assert last.startswith("fersearch study ")
    assert "--plugin" in last
    assert "Traceback" not in err


def test_two_processes_on_one_workspace_do_not_harm_each_other(start, workspace):
    first = start("--name", "first", "--trials", "3")
    second = start("--name", "second", "--trials", "3")
    finish(first)
    finish(second)
    results = [
        json.loads((workspace / "studies" / name / "result.json").read_text())
        for name in ("first", "second")
    ]
    assert results[0]["trials"] == results[1]["trials"]
    assert results[0]["test"] == results[1]["test"]


def test_a_study_that_runs_already_is_refused(start, workspace):
    first = start("--jobs", "1", slow=True)
    wait_until(lambda: any(reports(workspace)), first)
    first.send_signal(signal.SIGSTOP)  # so that it still runs, however slow this machine is
    second = start("--jobs", "1", slow=True)
    _, err = second.communicate(timeout=120)
    assert second.returncode == 1
    assert "is being run by another process" in err.splitlines()[-1]
    assert str(first.pid) in err.splitlines()[-1]
