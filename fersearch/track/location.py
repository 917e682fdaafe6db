"""Where the tracking store lives, and whether anything answers there; nothing heavy is imported."""

from __future__ import annotations

import os
import re
import socket
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fersearch.errors import InputError

__all__ = ["TrackingLocation", "check_reachable", "masked_uri", "resolve_tracking"]

DATABASE_NAME = "mlflow.db"
ARTIFACTS_NAME = "mlartifacts"
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingLocation:
    """Where the runs of a workspace are written.

    Attributes:
        uri: MLflow tracking URI.
        named: Whether the user named it (option or environment), rather than the default.
        database: File of the SQLite store; ``None`` for servers and other databases.
        artifacts: Folder of the artifacts, beside the SQLite file; ``None`` where the server
            decides.
        lock: Lock file that the store's writers on this machine hold in turn.
    """

    uri: str
    named: bool
    database: Path | None
    artifacts: Path | None
    lock: Path


def masked_uri(uri: str) -> str:
    """Return ``uri`` without its password, for messages.

    >>> masked_uri("postgresql://ada:secret@db/runs")
    'postgresql://ada:***@db/runs'
    """
    return re.sub(r"(://[^/@:]*):[^/]*@", r"\1:***@", uri)


def resolve_tracking(workspace: Path, tracking_uri: str | None = None) -> TrackingLocation:
    """Find the tracking store: the argument, else ``$MLFLOW_TRACKING_URI``, else the workspace's.

    Args:
        workspace: Folder of everything that runs write.
        tracking_uri: What the user named; ``None`` when nothing.
    """
    workspace = workspace.expanduser().resolve()
    named = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    uri = named or f"sqlite:///{workspace / DATABASE_NAME}"
    database = None
    if uri.startswith("sqlite:///") and "?" not in uri:
        database = Path(uri.removeprefix("sqlite:///")).expanduser().resolve()
        uri = f"sqlite:///{database}"
    server_decides = uri.startswith(("http://", "https://", "databricks"))
    folder = database.parent if database else workspace
    return TrackingLocation(
        uri=uri,
        named=bool(named),
        database=database,
        artifacts=None if server_decides else folder / ARTIFACTS_NAME,
        lock=folder / f".{database.name if database else 'mlflow'}.lock",
    )


def check_reachable(uri: str, *, what: str, timeout: float = 3.0) -> None:
    """Refuse a server's address at which nothing listens; other addresses pass.

    Args:
        uri: URL of a tracking server or a database (``postgresql+psycopg://host:5432/name``).
        what: What the address is for, in messages: ``tracking URI``.
        timeout: Seconds to wait for an answer.

    Raises:
        InputError: The host is unknown, refuses the connection or does not answer in time.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"the {what} {masked_uri(uri)} is not an address: {error}") from error
    kind = parts.scheme.split("+")[0]
    if host is None or kind not in PORTS:
        return
    if kind in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return  # only the proxy can tell
    try:
        socket.create_connection((host, port or PORTS[kind]), timeout=timeout).close()
    except OSError as error:
        raise InputError(
            f"the {what} {masked_uri(uri)} cannot be reached: {error.strerror or error}",
            "start the server, or leave the option (and its environment variable) out",
        ) from error
