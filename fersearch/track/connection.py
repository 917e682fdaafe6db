"""The way to an MLflow store: quiet, without telemetry, migrated once, safe for several processes.

This file and :mod:`fersearch.track.runs` are the only ones that import MLflow, inside functions:
the import takes more than two seconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from fersearch.errors import FersearchError, InputError
from fersearch.files import atomic_path, file_lock
from fersearch.track.location import TrackingLocation, check_reachable, masked_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["connect", "find_experiment", "import_mlflow", "one_line", "opening", "store_errors"]

# Bounded waits: a server that stopped answering costs seconds of a background thread, not minutes.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
CREATE_ATTEMPTS = 5


def import_mlflow() -> None:
    """Import MLflow with telemetry, progress bars and chatter off; settings of the user stand."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    first = "mlflow" not in sys.modules
    import mlflow  # noqa: F401

    if first:  # a notebook that uses MLflow itself keeps its own levels
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def store_errors() -> tuple[type[Exception], ...]:
    """Return what a store may raise: MLflow, its database layer, the network and the disk."""
    from alembic.util.exc import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (
        MlflowException,
        SQLAlchemyError,
        CommandError,
        FersearchError,
        sqlite3.Error,
        ImportError,
        OSError,
    )


def one_line(error: BaseException) -> str:
    """Return the first line of ``error`` without passwords, at most 200 characters."""
    lines = str(error).strip().splitlines()
    return masked_uri(lines[0])[:200] if lines else type(error).__name__


def connect(location: TrackingLocation) -> MlflowClient:
    """Return a client of the store at ``location`` that has answered once.

    A new SQLite store is migrated in a temporary file and renamed, under a lock: a kill leaves no
    half-migrated file, and several processes may open a new workspace at the same time.

    Raises:
        InputError: The store cannot be reached, is damaged, or has another version's tables.
    """
    check_reachable(location.uri, what="tracking URI")
    import_mlflow()
    from mlflow import MlflowClient

    with opening(location):
        if location.database is not None and location.artifacts is not None:
            with file_lock(location.lock):
                prepare_database(location.database, location.artifacts)
        client = MlflowClient(tracking_uri=location.uri, registry_uri=location.uri)
        client.search_experiments(max_results=1)
    return client


@contextlib.contextmanager
def opening(location: TrackingLocation) -> Iterator[None]:
    """Turn whatever the store raises inside the block into one line for the user."""
    try:
        yield
    except InputError:
        raise
    except store_errors() as error:
        if "out-of-date" in str(error):
            hint = f"run `mlflow db upgrade {masked_uri(location.uri)}`"
        elif location.named:
            hint = "name another tracking URI, or leave it out"
        elif "not a database" in str(error) or "malformed" in str(error):
            hint = "delete the file: it is written again from the run records"
        else:
            hint = f"{location.artifacts} and the file beside it must be writable"
        raise InputError(
            f"cannot use the tracking store {masked_uri(location.uri)}: {one_line(error)}", hint
        ) from error


def prepare_database(database: Path, artifacts: Path) -> None:
    """Create and migrate the SQLite file if it is not there; check it if it is."""
    if not database.exists() or database.stat().st_size == 0:
        with atomic_path(database) as temporary:
            open_tables(temporary, artifacts)
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        # Without this, MLflow tries a damaged file ten times over a minute and a half.
        connection.execute("PRAGMA schema_version").fetchone()
        relocate_artifacts(connection, artifacts)
    open_tables(database, artifacts)


def open_tables(database: Path, artifacts: Path) -> None:
    """Open the store, which makes the tables of an empty file, and drop its connections.

    MLflow keeps connections by address: to a file that was deleted or replaced meanwhile, too.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{database}", artifacts.as_uri())  # type: ignore[no-untyped-call]
    store.engine.dispose()


def relocate_artifacts(connection: sqlite3.Connection, artifacts: Path) -> None:
    """Let a workspace that was copied or moved find its artifacts at its new place.

    MLflow stores absolute locations; those that end in the artifact folder's name but lie
    elsewhere are rewritten.
    """
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    if not {"experiments", "runs"} <= tables:
        return
    here = artifacts.as_uri()
    pattern = re.compile(rf"(file://.*/{re.escape(artifacts.name)})(?:/.*)?")
    locations = connection.execute("SELECT artifact_location FROM experiments").fetchall()
    matches = [pattern.fullmatch(location or "") for (location,) in locations]
    for root in {match.group(1) for match in matches if match} - {here}:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (here, len(root) + 1, root, len(root) + 1, f"{root}/"),
            )
    connection.commit()


def find_experiment(client: MlflowClient, name: str, artifacts: Path | None) -> str:
    """Return the id of the experiment ``name``, created or restored if need be."""
    from mlflow.exceptions import MlflowException

    for attempt in range(CREATE_ATTEMPTS):
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            if experiment.lifecycle_stage == "deleted":
                client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        try:
            location = artifacts.as_uri() if artifacts else None
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException as error:
            # Another process was faster, or holds the database.
            if attempt == CREATE_ATTEMPTS - 1 or "already exists" not in str(error).lower():
                raise
            time.sleep(0.1 * (attempt + 1))
    raise AssertionError("unreachable")  # pragma: no cover
