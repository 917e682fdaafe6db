"""Where tracking goes, and what is said when nothing is there."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fersearch.errors import InputError
from fersearch.track import check_reachable, masked_uri, resolve_tracking


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_importing_the_room_does_not_import_mlflow() -> None:
    code = (
        "import sys, fersearch.track; "
        "sys.exit(bool({'mlflow', 'torch', 'sqlalchemy', 'alembic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_default_is_a_file_in_the_workspace(tmp_path: Path) -> None:
    location = resolve_tracking(tmp_path)
    assert location.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert location.database == tmp_path / "mlflow.db"
    assert location.artifacts == tmp_path / "mlartifacts"
    assert not location.named


def test_argument_comes_before_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other:5000")
    assert resolve_tracking(tmp_path).uri == "http://other:5000"
    assert resolve_tracking(tmp_path).artifacts is None
    named = resolve_tracking(tmp_path, f"sqlite:///{tmp_path}/there/runs.db")
    assert named.uri == f"sqlite:///{tmp_path}/there/runs.db"
    assert named.artifacts == tmp_path / "there" / "mlartifacts"
    assert named.named


def test_databases_keep_artifacts_in_the_workspace(tmp_path: Path) -> None:
    location = resolve_tracking(tmp_path, "postgresql://ada:secret@db/runs")
    assert location.database is None
    assert location.artifacts == tmp_path / "mlartifacts"


def test_passwords_are_masked() -> None:
    assert masked_uri("mysql+pymysql://u:p:q@h/x") == "mysql+pymysql://u:***@h/x"
    assert masked_uri("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_listening_server_passes_and_a_closed_port_is_refused() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        check_reachable(f"http://127.0.0.1:{listener.getsockname()[1]}", what="tracking URI")
    with pytest.raises(InputError, match=r"study storage postgresql.*u:\*\*\*@127.* be reached"):
        check_reachable(f"postgresql+psycopg://u:p@127.0.0.1:{free_port()}/x", what="study storage")


def test_files_need_no_server() -> None:
    check_reachable("sqlite:////nowhere/x.db", what="tracking URI")


def test_a_port_that_is_no_number_is_named() -> None:
    with pytest.raises(InputError, match="not an address"):
        check_reachable("http://localhost:port", what="tracking URI")


def test_a_proxy_is_left_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    check_reachable(f"http://127.0.0.1:{free_port()}", what="tracking URI")
