"""What the doctor says, on this machine and on worse ones."""

from __future__ import annotations

import math
import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fersearch import doctor
from fersearch.doctor import Check, Diagnosis, diagnose
from fersearch.records import canonical_json


def find(diagnosis: Diagnosis, name: str) -> Check:
    return next(check for check in diagnosis.checks if check.name == name)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(autouse=True)
def no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_machine_that_runs_these_tests_is_ready(tmp_path: Path) -> None:
    workspace = tmp_path / "new" / "workspace"
    diagnosis = diagnose(workspace)
    assert diagnosis.ready
    assert not workspace.parent.exists(), "looking must not write"
    assert find(diagnosis, "torch").status == "ok"
    assert "will be created" in find(diagnosis, "workspace").message
    assert "will be created" in find(diagnosis, "study storage").message
    names = [check.name for check in diagnosis.checks]
    assert len(set(names)) == len(names)
    assert {"device", "cores", "bfloat16", "memory", "disk", "shared memory"} <= set(names)
    assert canonical_json(diagnosis).startswith('{"checks":[')


def test_what_is_missing_says_how_to_get_it() -> None:
    needed = doctor.check_library("no-such-library", "training", essential=True)
    assert needed.status == "missing"
    assert needed.hint == "pip install no-such-library"
    assert not Diagnosis(checks=(needed,)).ready
    extra = doctor.check_library("no-such-library", "figures", essential=False)
    assert "optional" in extra.message
    assert Diagnosis(checks=(extra,)).ready


def test_stores_that_cannot_be_reached(tmp_path: Path) -> None:
    port = closed_port()
    diagnosis = diagnose(
        tmp_path,
        storage=f"postgresql://u:secret@127.0.0.1:{port}/x",
        tracking_uri=f"http://127.0.0.1:{port}",
    )
    assert not diagnosis.ready
    for name in ("study storage", "tracking"):
        assert find(diagnosis, name).status == "missing"
        assert "cannot be reached" in find(diagnosis, name).message
    assert "secret" not in canonical_json(diagnosis)


def test_a_server_that_listens_is_fine(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert find(diagnose(tmp_path, tracking_uri=uri), "tracking").message == uri


def test_database_files(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "optuna.db")) as connection:
        connection.execute("CREATE TABLE trials (id)")
        connection.commit()
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, whatever its name says" * 30)
    diagnosis = diagnose(tmp_path)
    assert find(diagnosis, "study storage").status == "ok"
    assert "1 tables" in find(diagnosis, "study storage").message
    assert find(diagnosis, "tracking").status == "missing"
    named = diagnose(tmp_path, storage=f"sqlite:///{tmp_path}/mlflow.db")
    assert find(named, "study storage").status == "missing"


def test_a_workspace_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    check = doctor.check_workspace(tmp_path / "file" / "workspace")
    assert check.status == "missing"
    assert "--workspace" in check.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_files_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch(mode=0o400)
    assert find(diagnose(tmp_path), "tracking").status == "missing"
    tmp_path.chmod(0o500)
    try:
        assert doctor.check_workspace(tmp_path).status == "missing"
    finally:
        tmp_path.chmod(0o700)


def test_small_machines_are_warned_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory_limit", lambda: (1e9, 2e9))
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1)
    monkeypatch.setattr(doctor, "SCARCE_DISK", math.inf)
    monkeypatch.setattr(doctor, "SCARCE_SHARED_MEMORY", math.inf)
    monkeypatch.setattr(doctor, "SHARED_MEMORY", tmp_path)
    diagnosis = diagnose(tmp_path)
    for name in ("memory", "cores", "disk", "shared memory"):
        assert find(diagnosis, name).status == "warn", name
        assert find(diagnosis, name).hint
    assert diagnosis.ready
    monkeypatch.setattr(doctor, "memory_limit", lambda: (math.nan, math.nan))
    monkeypatch.setattr(doctor, "SHARED_MEMORY", tmp_path / "none")
    assert doctor.check_memory().message == "unknown on this system"
    assert doctor.check_shared_memory().status == "ok"


def test_a_broken_pytorch_is_reported_and_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(choice: str) -> str:
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "resolve_device", broken)
    assert doctor.check_device().status == "missing"
    assert doctor.check_bfloat16().status == "warn"


def test_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "resolve_device", lambda choice: "cuda")
    monkeypatch.setattr(doctor, "device_name", lambda device: "Abacus 3000")
    assert doctor.check_device() == Check(name="device", status="ok", message="cuda (Abacus 3000)")
