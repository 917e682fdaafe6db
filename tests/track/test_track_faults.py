"""Crashes, lost files, broken stores and several processes at once."""

from __future__ import annotations

import http.server
import multiprocessing
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from fersearch.errors import InputError
from fersearch.records import RunRecord
from fersearch.track import Tracker

Factory = Callable[..., RunRecord]


def open_tracker(workspace: Path, uri: str | None = None) -> Tracker:
    return Tracker.open(workspace=workspace, tracking_uri=uri, experiment="faces")


def trials(workspace: Path) -> dict[str, Run]:
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace}/mlflow.db")
    experiment = client.get_experiment_by_name("faces")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`fersearch.role` = 'trial'")
    found = {run.info.run_name: run for run in runs}
    assert len(found) == len(runs), "a run was written twice"
    return found


def execute(workspace: Path, *statements: str) -> None:
    with closing(sqlite3.connect(workspace / "mlflow.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_a_half_written_run_is_written_anew(workspace: Path, make_record: Factory) -> None:
    with open_tracker(workspace) as tracker:
        tracker.log(make_record(0))
    broken = trials(workspace)["trial-0000"].info.run_id
    execute(
        workspace,
        f"UPDATE runs SET status = 'RUNNING', end_time = NULL WHERE run_uuid = '{broken}'",
        f"DELETE FROM metrics WHERE run_uuid = '{broken}'",
        f"DELETE FROM latest_metrics WHERE run_uuid = '{broken}'",
    )
    with open_tracker(workspace) as tracker:
        tracker.sync([make_record(0)])
    run = trials(workspace)["trial-0000"]
    assert run.info.run_id != broken
    assert run.info.status == "FINISHED"
    assert run.data.metrics["final/val_accuracy"] == 0.7


def test_sync_writes_what_is_missing_only(workspace: Path, make_record: Factory) -> None:
    with open_tracker(workspace) as tracker:
        tracker.log(make_record(0))
    before = trials(workspace)["trial-0000"].info.run_id
    with open_tracker(workspace) as tracker:
        tracker.sync(make_record(number) for number in range(3))
    after = trials(workspace)
    assert sorted(after) == ["trial-0000", "trial-0001", "trial-0002"]
    assert after["trial-0000"].info.run_id == before


def test_a_deleted_database_is_written_again(workspace: Path, make_record: Factory) -> None:
    records = [make_record(number) for number in range(2)]
    with open_tracker(workspace) as tracker:
        tracker.sync(records)
    (workspace / "mlflow.db").unlink()
    with open_tracker(workspace) as tracker:
        tracker.sync(records)
        assert tracker.flush(), tracker.warnings
    assert sorted(trials(workspace)) == ["trial-0000", "trial-0001"]


def test_a_failing_store_is_a_warning_and_tried_again(
    workspace: Path, make_record: Factory
) -> None:
    with open_tracker(workspace) as tracker:
        tracker.log(make_record(0))
        assert tracker.flush()
        execute(workspace, "ALTER TABLE params RENAME TO away")
        for number in (1, 2, 3):
            tracker.log(make_record(number))
        assert not tracker.flush()
        (warning,) = tracker.warnings
        assert "3 entries" in warning
        assert "\n" not in warning
        execute(workspace, "ALTER TABLE away RENAME TO params")
        tracker.log(make_record(4))
        assert tracker.flush()
        assert tracker.warnings == ()
    assert {run.info.status for run in trials(workspace).values()} == {"FINISHED"}
    assert len(trials(workspace)) == 5


def test_a_moved_workspace_takes_its_artifacts_along(
    workspace: Path, make_record: Factory, tmp_path: Path
) -> None:
    note = workspace / "note.txt"
    note.write_text("hello", encoding="utf-8")
    with open_tracker(workspace) as tracker:
        tracker.log(make_record(0), [note])
    moved = tmp_path / "moved % here"
    workspace.rename(moved)
    with open_tracker(moved) as tracker:
        tracker.log(make_record(1), [moved / "note.txt"])
        assert tracker.flush(), tracker.warnings
    client = MlflowClient(tracking_uri=f"sqlite:///{moved}/mlflow.db")
    for run in trials(moved).values():
        path = client.download_artifacts(run.info.run_id, "note.txt")
        assert Path(path).read_text(encoding="utf-8") == "hello"
    assert not workspace.exists()


def test_a_deleted_experiment_is_restored(workspace: Path, make_record: Factory) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{workspace}/mlflow.db")
    experiment = client.get_experiment_by_name("faces")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with open_tracker(workspace) as tracker:
        tracker.log(make_record(0))
    assert list(trials(workspace)) == ["trial-0000"]


def test_a_damaged_database_is_refused_with_what_to_do(workspace: Path) -> None:
    (workspace / "mlflow.db").write_bytes(b"not a database, but long enough to look like one" * 40)
    started = time.monotonic()
    with pytest.raises(InputError, match="delete the file: it is written again"):
        open_tracker(workspace)
    assert time.monotonic() - started < 5


def test_another_version_of_the_tables_names_the_upgrade(workspace: Path) -> None:
    execute(workspace, "UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(InputError, match="mlflow db upgrade sqlite:///"):
        open_tracker(workspace)


def test_a_folder_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot use the tracking store"):
        open_tracker(tmp_path, str(tmp_path / "mlruns"))


def test_a_closed_port_is_refused_at_once(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(InputError, match="cannot be reached"):
        open_tracker(tmp_path, f"http://127.0.0.1:{port}")
    assert time.monotonic() - started < 5


def test_a_server_that_is_no_tracking_server_is_refused(tmp_path: Path) -> None:
    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(404)

        do_GET = do_POST  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match="cannot use the tracking store"):
            open_tracker(tmp_path, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_a_silent_server_is_given_up_in_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        started = time.monotonic()
        with pytest.raises(InputError, match="cannot use the tracking store"):
            open_tracker(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert time.monotonic() - started < 5


def test_flush_and_close_do_not_wait_for_a_stuck_writer(
    workspace: Path, make_record: Factory
) -> None:
    tracker = open_tracker(workspace)
    from fersearch.files import file_lock

    with file_lock(workspace / ".mlflow.db.lock"):  # as a stopped process would hold it
        tracker.log(make_record(0))
        started = time.monotonic()
        assert not tracker.flush(timeout=0.2)
        tracker.close(timeout=0.2)
        assert time.monotonic() - started < 3


def test_finishing_needs_a_study_and_a_known_state(workspace: Path) -> None:
    with open_tracker(workspace) as tracker:
        with pytest.raises(ValueError, match="start_study"):
            tracker.finish_study({})
        tracker.start_study("distill", protocol={})
        with pytest.raises(ValueError, match="'half'"):
            tracker.finish_study({}, state="half")
        tracker.finish_study({}, state="interrupted")


def open_and_log(workspace: Path, start: object, records: list[RunRecord]) -> None:
    start.wait(120)  # type: ignore[attr-defined]
    with open_tracker(workspace) as tracker:
        tracker.start_study("distill", protocol={"epochs": 1})
        tracker.sync(records)
        assert tracker.flush(), tracker.warnings


@pytest.mark.slow
def test_processes_open_a_new_workspace_at_once(tmp_path: Path, make_record: Factory) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    # Both write the first record, as a restarted coordinator and its rival would.
    processes = [
        context.Process(
            target=open_and_log, args=(tmp_path, start, [make_record(0), make_record(number)])
        )
        for number in (1, 2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    found = trials(tmp_path)
    assert sorted(found) == ["trial-0000", "trial-0001", "trial-0002"]
    assert len({run.data.tags["mlflow.parentRunId"] for run in found.values()}) == 1


WRITER = """
import sys, time
from pathlib import Path
from fersearch.records import load_record
from fersearch.track import Tracker
folder = Path(sys.argv[1])
tracker = Tracker.open(workspace=folder, tracking_uri=None, experiment="faces")
records = [load_record(path) for path in sorted(folder.glob("record-*.json"))]
print("ready", flush=True)
tracker.sync(records)
tracker.flush()
time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_that_sync_cannot_mend(
    workspace: Path, make_record: Factory
) -> None:
    from fersearch.records import save_record

    records = [make_record(number) for number in range(40)]
    for number, record in enumerate(records):
        save_record(record, workspace / f"record-{number:02d}.json")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(workspace)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    time.sleep(0.4)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    before = trials(workspace)
    with open_tracker(workspace) as tracker:
        tracker.sync(records)
        assert tracker.flush(), tracker.warnings
    after = trials(workspace)
    assert len(before) < 40
    assert len(after) == 40
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert all(
        len(run.data.metrics) == len(after["trial-0000"].data.metrics) for run in after.values()
    )


@pytest.mark.slow
def test_a_kill_while_the_tables_are_made_leaves_no_database(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".mlflow.db.*.db")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    assert not (tmp_path / "mlflow.db").exists()
    with open_tracker(tmp_path) as tracker:
        assert tracker.flush()
