"""What is installed, on which device, what would be slow, what is missing."""

from __future__ import annotations

import math
import os
import platform
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fersearch.environment import (
    device_name,
    installed_version,
    memory_limit,
    native_bfloat16,
    physical_cores,
    processor_name,
    resolve_device,
    usable_cores,
)
from fersearch.errors import InputError
from fersearch.track import check_reachable, masked_uri, resolve_tracking

__all__ = ["Check", "Diagnosis", "diagnose"]

Status = Literal["ok", "warn", "missing"]

# What brings the optional packages; the others are installed by their own names.
EXTRAS = {
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "opencv-python-headless": "align",
}
# Distribution and what it is for. Those of the first table are needed, the others are not.
REQUIRED = {
    "torch": "training",
    "torchvision": "the ShuffleNetV2 student",
    "timm": "models",
    "optuna": "search",
    "mlflow": "tracking",
    "scikit-learn": "metrics",
    "pandas": "tables",
    "numpy": "arrays",
    "fvcore": "counting multiply-adds",
    "safetensors": "saved models",
    "matplotlib": "figures",
    "plotly": "interactive figures",
}
OPTIONAL = {
    "onnx": "export to ONNX",
    "onnxscript": "export to ONNX",
    "onnxruntime": "8-bit files, their latency, prediction from ONNX files",
    "opencv-python-headless": "finding and aligning faces",
    "psycopg": "studies and tracking in PostgreSQL",
}
GIGABYTE = 1e9
SCARCE_MEMORY = 3 * GIGABYTE
SCARCE_DISK = 2 * GIGABYTE
SCARCE_SHARED_MEMORY = 0.25 * GIGABYTE
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What was looked at: a library, ``device``, ``memory``, ...
        status: ``ok``; ``warn`` where something would be slow or may fail; ``missing``.
        message: What was found.
        hint: What to do about it; empty when nothing needs doing.
        essential: Whether training cannot start when this is missing.
    """

    name: str
    status: Status
    message: str
    hint: str = ""
    essential: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What :func:`diagnose` found.

    Attributes:
        checks: Everything that was looked at, in reading order.
    """

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing that training needs is missing."""
        return not any(check.essential and check.status == "missing" for check in self.checks)


def diagnose(
    workspace: Path, *, storage: str | None = None, tracking_uri: str | None = None
) -> Diagnosis:
    """Look at the libraries, the machine and the workspace; nothing is written or measured.

    Args:
        workspace: Folder that runs would write to; it need not exist.
        storage: URL of the study storage; ``None`` for the workspace's own.
        tracking_uri: MLflow tracking URI; ``None`` for ``$MLFLOW_TRACKING_URI`` or the workspace's
            own.
    """
    workspace = workspace.expanduser().resolve()
    checks = [
        Check(name="python", status="ok", message=platform.python_version()),
        *(check_library(name, purpose, essential=True) for name, purpose in REQUIRED.items()),
        *(check_library(name, purpose, essential=False) for name, purpose in OPTIONAL.items()),
    ]
    machine: tuple[Callable[[], Check], ...] = (
        check_device,
        check_cores,
        check_bfloat16,
        check_memory,
        check_shared_memory,
    )
    checks += [check() for check in machine]
    location = resolve_tracking(workspace, tracking_uri)
    study_file = None if storage else workspace / "optuna.db"
    if storage and storage.startswith("sqlite:///"):
        study_file = Path(storage.removeprefix("sqlite:///")).expanduser().resolve()
    checks += [
        check_workspace(workspace),
        check_disk(workspace),
        check_store("study storage", storage or "", study_file),
        check_store("tracking", location.uri, location.database),
    ]
    return Diagnosis(checks=tuple(checks))


def check_library(name: str, purpose: str, *, essential: bool) -> Check:
    """Look for an installed library without importing it."""
    version = installed_version(name)
    wanted = f'"fersearch[{EXTRAS[name]}]"' if name in EXTRAS else name
    if version is not None:
        return Check(name=name, status="ok", message=version, essential=essential)
    return Check(
        name=name,
        status="missing",
        message=f"not installed; {'' if essential else 'optional, '}for {purpose}",
        hint=f"pip install {wanted}",
        essential=essential,
    )


def check_device() -> Check:
    """Look for a GPU that PyTorch can use."""
    try:
        device = resolve_device("auto")
        name = device_name(device)
    except (ImportError, OSError, RuntimeError) as error:  # a broken installation or driver
        return Check(
            name="device",
            status="missing",
            message=f"PyTorch cannot be used: {error}",
            hint="reinstall torch",
            essential=True,
        )
    if device == "cpu":
        return Check(
            name="device",
            status="warn",
            message=f"cpu ({name}); no GPU found, so keep images small (48 px) and epochs few",
            hint="the defaults are made for this; large images or long training want a GPU",
        )
    return Check(name="device", status="ok", message=f"{device} ({name})")


def check_cores() -> Check:
    """Count the cores this process may use."""
    usable, physical, present = usable_cores(), physical_cores(), os.cpu_count() or 1
    message = f"{usable} usable ({physical} physical) of {present}, {processor_name()}"
    if usable == 1:
        return Check(
            name="cores",
            status="warn",
            message=message,
            hint="trials run one after the other and take about twice as long as on two cores",
        )
    return Check(name="cores", status="ok", message=message)


def check_bfloat16() -> Check:
    """Ask whether reduced precision is native, which decides whether it is used."""
    try:
        native = native_bfloat16(resolve_device("auto"))
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return Check(name="bfloat16", status="warn", message=f"unknown: {error}")
    message = "native" if native else "emulated, so training stays in float32"
    return Check(name="bfloat16", status="ok", message=message)


def check_memory() -> Check:
    """Read how much memory is free, container limits included."""
    free, total = memory_limit()
    if math.isnan(free):
        return Check(name="memory", status="warn", message="unknown on this system")
    message = f"{free / GIGABYTE:.1f} GB free of {total / GIGABYTE:.1f} GB"
    if free < SCARCE_MEMORY:
        return Check(
            name="memory",
            status="warn",
            message=message,
            hint="use --jobs 1, or close other programs; two processes need about 3 GB",
        )
    return Check(name="memory", status="ok", message=message)


def check_shared_memory() -> Check:
    """Read how much shared memory is free; containers often have 64 MB."""
    if not SHARED_MEMORY.is_dir():
        return Check(name="shared memory", status="ok", message="not used on this system")
    free = shutil.disk_usage(SHARED_MEMORY).free
    message = f"{free / GIGABYTE:.1f} GB free in {SHARED_MEMORY}"
    if free < SCARCE_SHARED_MEMORY:
        return Check(
            name="shared memory",
            status="warn",
            message=message,
            hint="start the container with --shm-size=1g if worker processes fail",
        )
    return Check(name="shared memory", status="ok", message=message)


def nearest_folder(path: Path) -> Path:
    """Return ``path``, or the nearest existing one above it."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_workspace(workspace: Path) -> Check:
    """Ask whether the workspace, or the place where it would be created, can be written to."""
    standing = nearest_folder(workspace)
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        return Check(
            name="workspace",
            status="missing",
            message=f"cannot write to {standing}",
            hint="name another folder with --workspace",
            essential=True,
        )
    state = "exists" if standing == workspace else "will be created"
    return Check(name="workspace", status="ok", message=f"{workspace} ({state})")


def check_disk(workspace: Path) -> Check:
    """Read how much space is free where the workspace lies."""
    free = shutil.disk_usage(nearest_folder(workspace)).free
    message = f"{free / GIGABYTE:.1f} GB free"
    if free < SCARCE_DISK:
        return Check(
            name="disk",
            status="warn",
            message=message,
            hint="the cache in the workspace may be deleted at any time, or name another folder",
        )
    return Check(name="disk", status="ok", message=message)


def check_store(name: str, uri: str, database: Path | None) -> Check:
    """Ask whether a database file can be read, or whether something answers at an address."""
    if database is None:
        try:
            check_reachable(uri, what=name)
        except InputError as error:
            return Check(
                name=name, status="missing", message=error.message, hint=error.hint, essential=True
            )
        return Check(name=name, status="ok", message=masked_uri(uri))
    if not database.exists():
        return Check(name=name, status="ok", message=f"{database} will be created")
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.Error as error:
        return Check(
            name=name,
            status="missing",
            message=f"{database} cannot be read: {error}",
            hint="put a copy of it back, or move it away",
            essential=True,
        )
    if not os.access(database, os.W_OK):
        return Check(
            name=name,
            status="missing",
            message=f"{database} cannot be written to",
            hint=f"chmod u+w {database}",
            essential=True,
        )
    return Check(name=name, status="ok", message=f"{database} ({tables} tables and indexes)")
