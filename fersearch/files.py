"""Files that are written whole or not at all, and locks that die with their owner."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fersearch.errors import FersearchError, InputError

__all__ = ["atomic_folder", "atomic_path", "ensure_folder", "file_lock", "write_json", "write_text"]


def ensure_folder(path: Path) -> Path:
    """Create ``path`` with its parents and return it.

    Raises:
        InputError: The folder cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot create the folder {path}: {error.strerror}", "name a folder you can write to"
        ) from error
    if not os.access(path, os.W_OK):
        raise InputError(f"cannot write to the folder {path}", "name a folder you can write to")
    return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file name beside ``path``; rename it to ``path`` when the block succeeds.

    The data is flushed to disk before the rename, so a crash leaves the old file or the new one.
    """
    ensure_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` when the block succeeds.

    When another process has put the same folder there meanwhile, its copy stands: such folders
    are named by their content.
    """
    ensure_folder(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # what mkdtemp made is for its owner alone
        try:
            temporary.replace(path)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    r"""Write ``text`` as UTF-8, whole or not at all.

    What is not UTF-8, in the names of files, is written as an escape (``\udce9``), which JSON
    reads as the character itself.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def file_lock(path: Path, *, wait: bool = True, busy: str = "") -> Iterator[None]:
    """Hold an exclusive lock that the kernel releases when this process ends, however it ends.

    Args:
        path: The lock file; it is created and left in place.
        wait: Block until the lock is free, or raise at once.
        busy: What to tell the user when the lock is taken and ``wait`` is false.

    Raises:
        FersearchError: The lock is taken and ``wait`` is false.
    """
    ensure_folder(path.parent)
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            raise FersearchError(f"{busy or f'{path} is locked'} (process {owner})") from error
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield
