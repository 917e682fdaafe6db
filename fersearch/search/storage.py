"""Opening a study's storage: SQLite with a write-ahead log by default, any Optuna URL otherwise."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.study import Study, StudyDirection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from fersearch.errors import InputError, suggestion
from fersearch.files import ensure_folder, file_lock
from fersearch.track import check_reachable

__all__ = [
    "check_storage",
    "default_storage_url",
    "load_study",
    "open_storage",
    "open_study",
    "study_names",
]

SQLITE_BUSY_SECONDS = 60
ONE_OBJECTIVE = (StudyDirection.MAXIMIZE,)
OPENING_ERRORS = (
    SQLAlchemyError,
    sqlite3.Error,
    ValueError,
    optuna.exceptions.StorageInternalError,
)


def default_storage_url(workspace: Path) -> str:
    """Return the URL of the workspace's own study storage."""
    return f"sqlite:///{workspace.resolve() / 'optuna.db'}"


def _write_ahead(database: str) -> None:
    """Let readers and a writer of a SQLite file work at once; the file keeps it.

    The change needs the file for itself and does not wait for it, so it is made with the tables,
    under the lock, and not by every connection.
    """
    with closing(sqlite3.connect(database, timeout=SQLITE_BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _set_pragmas(connection: Any, record: object) -> None:
    """Let a commit survive a killed process, without waiting for the disk each time."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def open_storage(url: str, *, lock: Path) -> RDBStorage:
    """Open a storage; its tables are made under a lock, so that two processes may start at once.

    Args:
        url: SQLAlchemy URL: ``sqlite:///FILE``, ``postgresql://...``.
        lock: File to lock while the tables are made.

    Raises:
        InputError: The URL is wrong, its driver is missing or its server cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shown = url.split("@")[-1]
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            if parsed.database:
                ensure_folder(Path(parsed.database).resolve().parent)
            engine_kwargs: dict[str, Any] = {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}}
        else:
            check_reachable(url, what="study storage")
            engine_kwargs = {"pool_pre_ping": True}
        with file_lock(lock):
            if parsed.get_backend_name() == "sqlite" and parsed.database:
                _write_ahead(parsed.database)
            storage = RDBStorage(url, engine_kwargs=engine_kwargs)
    except ImportError as error:
        raise InputError(
            f"the driver of the study storage {shown} is not installed: {error}",
            "install it with pip, for PostgreSQL: pip install psycopg2-binary",
        ) from error
    except OPENING_ERRORS as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the study storage {shown} cannot be opened: {reason}",
            "give --storage a URL like sqlite:///study.db or postgresql://user:password@host/name",
        ) from error
    if parsed.get_backend_name() == "sqlite":
        sqlalchemy.event.listen(storage.engine, "connect", _set_pragmas)
        storage.engine.dispose()
    return storage


def check_storage(url: str, workspace: Path) -> None:
    """Open and close a storage, so that one that cannot be opened is told at once.

    Args:
        url: As for :func:`open_storage`; empty for the workspace's own.
        workspace: The workspace's folder.

    Raises:
        InputError: As :func:`open_storage`.
    """
    lock = ensure_folder(workspace) / "optuna.lock"
    open_storage(url or default_storage_url(workspace), lock=lock).engine.dispose()


def open_study(
    storage: RDBStorage, name: str, directions: Sequence[StudyDirection] = ONE_OBJECTIVE
) -> Study:
    """Create the study or open it; its sampler and pruner are idle: the engine has its own.

    Args:
        storage: Where studies are kept.
        name: Its name.
        directions: Of its objectives; a study that exists keeps the ones it was made with.
    """
    return optuna.create_study(
        storage=storage,
        study_name=name,
        directions=directions,
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )


def study_names(storage: RDBStorage) -> list[str]:
    """Return the names of all studies of a storage."""
    return sorted(optuna.get_all_study_names(storage))


def load_study(storage: RDBStorage, name: str) -> Study:
    """Open an existing study.

    Raises:
        InputError: There is none of that name.
    """
    names = study_names(storage)
    if name not in names:
        raise InputError(
            f"there is no study {name!r} in this workspace",
            suggestion(name, names) if names else "run: fersearch study distill",
        )
    return open_study(storage, name)
