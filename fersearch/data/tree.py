"""A folder, one file or a zip archive, seen in the same way: relative names that can be opened."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fersearch.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "Tree", "is_image", "open_tree"]

REMEMBERED_BYTES = 256 << 20

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm"})


def is_image(name: str) -> bool:
    """Tell whether a file's name ends like an image's."""
    return os.path.splitext(name)[1].casefold() in IMAGE_SUFFIXES  # noqa: PTH122 (hot loop)


@dataclass(frozen=True, slots=True)
class _Entry:
    size: int
    modified: int  # nanoseconds since the epoch; 0 inside an archive, whose own time counts


class Tree:
    """Files under relative POSIX names. Hidden files and ``__MACOSX`` are not seen.

    Attributes:
        label: What to call it in messages: the path the user gave.
        single: True when the user named one file rather than a folder.
        archive: True for a zip archive.
    """

    def __init__(
        self,
        label: str,
        entries: dict[str, _Entry],
        folders: frozenset[str],
        opener: Callable[[str], IO[bytes]],
        *,
        single: bool = False,
        archive: bool = False,
    ) -> None:
        self.label = label
        self.single = single
        self.archive = archive
        self._entries = entries
        self._open = opener
        self._remembered: dict[str, bytes] = {}
        self._room = REMEMBERED_BYTES
        self._names: dict[str, list[str]] = {"": []}
        self._subfolders: dict[str, set[str]] = {"": set()}
        for folder in folders:
            self._add_folder(folder)
        for name in entries:
            parent, _, base = name.rpartition("/")
            self._add_folder(parent)
            self._names[parent].append(base)

    def _add_folder(self, folder: str) -> None:
        if folder not in self._names:
            parent, _, base = folder.rpartition("/")
            self._add_folder(parent)
            self._names[folder] = []
            self._subfolders[folder] = set()
            self._subfolders[parent].add(base)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def all_files(self) -> list[str]:
        """Return every file's name, sorted."""
        return sorted(self._entries)

    def files(self, folder: str = "") -> list[str]:
        """Return the bare names of the files directly in ``folder``, sorted; none if absent."""
        return sorted(self._names.get(folder, ()))

    def images(self, folder: str = "") -> list[str]:
        """Return the bare names of the image files directly in ``folder``, sorted."""
        return [name for name in self.files(folder) if is_image(name)]

    def subfolders(self, folder: str = "") -> list[str]:
        """Return the bare names of the folders directly in ``folder``, sorted."""
        return sorted(self._subfolders.get(folder, ()))

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading bytes.

        Raises:
            OSError: It is missing or cannot be read.
        """
        try:
            return self._open(name)
        except (KeyError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
            raise OSError(f"cannot be read: {error}") from error

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            OSError: It is missing or cannot be read.
        """
        if (remembered := self._remembered.pop(name, None)) is not None:
            self._room += len(remembered)
            return remembered
        try:
            with self.open(name) as file:
                return file.read()
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise OSError(f"damaged in the archive: {error}") from error

    def peek(self, name: str) -> bytes:
        """Return a file's bytes and keep them for the next ``read``, while there is room.

        Opening a small file costs more than decoding it on many file systems.

        Raises:
            OSError: It is missing or cannot be read.
        """
        content = self.read(name)
        if len(content) <= self._room:
            self._room -= len(content)  # threads may race here: the bound is approximate
            self._remembered[name] = content
        return content

    def below(self, folder: str) -> Tree:
        """Return the part of the tree under ``folder``, with names relative to it."""
        prefix = f"{folder}/"
        return Tree(
            f"{self.label.rstrip('/')}/{folder}",
            {
                name.removeprefix(prefix): entry
                for name, entry in self._entries.items()
                if name.startswith(prefix)
            },
            frozenset(name.removeprefix(prefix) for name in self._names if name.startswith(prefix)),
            lambda name: self._open(prefix + name),
            archive=self.archive,
        )

    def stamp(self) -> str:
        """Return a digest of all names, sizes and times: equal while nothing was changed."""
        total = hashlib.sha256()
        for name in self.all_files():
            entry = self._entries[name]
            total.update(f"{name}\0{entry.size}\0{entry.modified}\n".encode("utf-8", "replace"))
        return total.hexdigest()


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _scan(root: Path) -> tuple[dict[str, _Entry], frozenset[str]]:
    """List a folder, following links but never the same folder twice."""
    entries: dict[str, _Entry] = {}
    folders: set[str] = set()
    seen: set[tuple[int, int]] = set()
    pending = [("", str(root))]
    while pending:
        prefix, folder = pending.pop()
        status = os.stat(folder)  # noqa: PTH116 (hot loop over up to a million files)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            for item in listing:
                if _hidden(item.name):
                    continue
                name = prefix + item.name
                if item.is_dir():
                    folders.add(name)
                    pending.append((f"{name}/", item.path))
                elif item.is_file():
                    found = item.stat()
                    entries[name] = _Entry(found.st_size, found.st_mtime_ns)
    return entries, frozenset(folders)


def _zip_tree(path: Path, archive: zipfile.ZipFile) -> Tree:
    modified = path.stat().st_mtime_ns
    entries: dict[str, _Entry] = {}
    folders: set[str] = set()
    for item in archive.infolist():
        name = item.filename.rstrip("/")
        if any(_hidden(part) for part in name.split("/")):
            continue
        if item.is_dir():
            folders.add(name)
        else:
            entries[name] = _Entry(item.file_size, modified)
    return Tree(str(path), entries, frozenset(folders), archive.open, archive=True)


@contextmanager
def open_tree(path: Path) -> Iterator[Tree]:
    """Yield the tree at ``path``: a folder, a single file, or the content of a ``.zip``.

    Raises:
        InputError: There is nothing at ``path``, it cannot be listed, or the archive is damaged.
    """
    try:
        if path.is_dir():
            entries, folders = _scan(path)
            yield Tree(str(path), entries, folders, lambda name: (path / name).open("rb"))
        elif not path.exists():
            raise InputError(
                f"there is no file or folder {path}", "check the path, or use --data synthetic"
            )
        elif path.suffix.casefold() == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield _zip_tree(path, archive)
        else:
            found = path.stat()
            entries = {path.name: _Entry(found.st_size, found.st_mtime_ns)}
            yield Tree(str(path), entries, frozenset(), lambda _: path.open("rb"), single=True)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is not a whole zip archive: {error}", "copy it again") from error
    except PermissionError as error:
        raise InputError(f"cannot read {error.filename or path}: permission denied") from error
