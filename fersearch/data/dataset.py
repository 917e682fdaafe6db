"""A decoded data set on disk: its splits, opened only when asked for, and what is known of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fersearch.errors import FersearchError, InputError, suggestion
from fersearch.records import to_plain

__all__ = ["SPLITS", "DataInfo", "Dataset", "Split", "describe"]

SPLITS = ("train", "val", "test")

INFO_FILE = "info.json"


@dataclass(frozen=True, slots=True)
class Split:
    """One split, read only.

    Attributes:
        images: uint8, N x C x S x S with C 1 (grey) or 3 (RGB), memory-mapped.
        labels: int64, (N,), indices into the data set's classes.
        votes: float32, (N, classes), rows sum to 1: how the annotators voted; None where the data
            set has one label per image.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    votes: NDArray[np.float32] | None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class DataInfo:
    """What a data set is, without opening it.

    Attributes:
        spec: DATA as the user wrote it.
        kind: ``synthetic``, ``fer2013``, ``ferplus``, ``rafdb``, ``affectnet`` or ``folder``.
        layout: What was recognised, as one line for people.
        label_rule: How labels were made: ``majority``, ``argmax``, ``given`` or ``drawn``.
        classes: Names of the classes; a label is an index into them.
        counts: Images per split and class.
        totals: Images per split.
        image_size: Height and width of the stored images, in pixels.
        channels: 1 (grey) or 3 (RGB).
        sha256: Digest of the decoded images, labels, votes and class names; equal data have equal
            digests wherever they lie.
        skipped: Images that were left out because they could not be read, each with its reason.
        notes: What was decided on the way and the user should know.
        align: What found the faces of aligned data, with its digest; ``none`` for pictures that
            are taken as they are, cropped by others or not at all.
    """

    spec: str
    kind: str
    layout: str
    label_rule: str
    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    totals: dict[str, int]
    image_size: int
    channels: int
    sha256: str
    skipped: tuple[str, ...]
    notes: tuple[str, ...]
    align: str = "none"


class Dataset:
    """A data set in the store. Each split's files are opened when that split is first asked for.

    Attributes:
        path: Folder of the store that holds the decoded data.
        info: What the data set is.
    """

    __slots__ = ("_splits", "info", "path")

    def __init__(self, path: Path, info: DataInfo) -> None:
        self.path = path
        self.info = info
        self._splits: dict[str, Split] = {}

    def __reduce__(self) -> tuple[type[Dataset], tuple[Path, DataInfo]]:
        """Pickle the folder's name, not the images: a worker process maps the files itself."""
        return Dataset, (self.path, self.info)

    def __repr__(self) -> str:
        return f"Dataset({self.info.spec!r}, {self.info.totals}, {self.info.image_size} px)"

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Open a folder of the store.

        Raises:
            FersearchError: The folder is not a decoded data set.
        """
        try:
            content = json.loads((path / INFO_FILE).read_text(encoding="utf-8"))
            fields: dict[str, Any] = content["info"]
            for name in ("classes", "skipped", "notes"):
                fields[name] = tuple(fields[name])
            return cls(path, DataInfo(**fields))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FersearchError(
                f"{path} is not a decoded data set: {error}", "load the data again by its DATA name"
            ) from error

    def split(self, name: str) -> Split:
        """Return one split: ``train``, ``val`` or ``test``. No other split's file is touched.

        Raises:
            InputError: There is no such split.
            FersearchError: The stored files are missing or damaged.
        """
        if name not in SPLITS:
            raise InputError(f"unknown split {name!r}", suggestion(name, SPLITS))
        if name not in self._splits:
            self._splits[name] = self._read(name)
        return self._splits[name]

    @property
    def train(self) -> Split:
        """The training split."""
        return self.split("train")

    @property
    def val(self) -> Split:
        """The validation split."""
        return self.split("val")

    @property
    def test(self) -> Split:
        """The test split."""
        return self.split("test")

    def _read(self, name: str) -> Split:
        try:
            images = np.load(self.path / f"{name}.images.npy", mmap_mode="r")
            labels = np.load(self.path / f"{name}.labels.npy")
            votes_file = self.path / f"{name}.votes.npy"
            votes = np.load(votes_file) if votes_file.exists() else None
        except (OSError, ValueError, EOFError) as error:
            raise FersearchError(
                f"the decoded data in {self.path} are damaged: {error}",
                "run the command again: they will be decoded anew",
            ) from error
        for array in (labels, votes):
            if array is not None:
                array.flags.writeable = False
        return Split(images, labels, votes)


def describe(info: DataInfo) -> dict[str, Any]:
    """Return what ``data describe --json`` prints: plain dictionaries, lists and numbers."""
    plain: dict[str, Any] = to_plain(info)
    names = (
        "kind", "label_rule", "classes", "counts", "totals", "image_size", "sha256", "skipped",
        "spec", "layout", "channels", "notes", "align",
    )  # fmt: skip
    return {name: plain[name] for name in names}
