"""What a reader finds: splits of undecoded pictures with labels; and how readers read csv files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fersearch.data.pictures import Pictures
from fersearch.data.tree import Tree
from fersearch.errors import InputError

__all__ = ["Layout", "RawData", "RawSplit", "csv_header", "csv_rows", "locate"]

CSV_FIELD_LIMIT = 1 << 24


@dataclass(frozen=True, slots=True)
class RawSplit:
    """Pictures of one split before decoding.

    Attributes:
        pictures: The images.
        labels: int64, (N,), indices into the classes.
        votes: float32, (N, classes), rows sum to 1, or None.
    """

    pictures: Pictures
    labels: NDArray[np.int64]
    votes: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> RawSplit:
        """Return the images at ``indices``, in that order."""
        votes = None if self.votes is None else self.votes[indices]
        return RawSplit(self.pictures.take(indices), self.labels[indices], votes)


@dataclass(frozen=True, slots=True)
class RawData:
    """What a reader found.

    Attributes:
        kind: Which reader read it.
        layout: What was recognised, as one line for people, without the path.
        label_rule: How labels were made.
        classes: Names of the classes a label is an index into.
        splits: Under ``whole`` where the data set has no splits, else under two or three of
            ``train``, ``val`` and ``test``.
        skipped: Images already found unreadable, with the reason.
        notes: What the user should know.
    """

    kind: str
    layout: str
    label_rule: str
    classes: tuple[str, ...]
    splits: Mapping[str, RawSplit]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """One data set layout: how to tell it and how to read it.

    Attributes:
        kind: Its name before the colon in DATA.
        looked_for: What recognition looks for, as a phrase for messages.
        recognise: Tells whether a tree has this layout; must be cheap and must not raise for
            other layouts.
        read: Reads a tree of this layout under the given options.
        options: Names of the options that ``read`` understands.
    """

    kind: str
    looked_for: str
    recognise: Callable[[Tree], bool]
    read: Callable[[Tree, Mapping[str, str]], RawData]
    options: frozenset[str] = field(default_factory=frozenset)


def locate(tree: Tree, name: str) -> str:
    """Return how messages call a file of the tree."""
    return tree.label if tree.single else f"{tree.label}/{name}"


def csv_rows(tree: Tree, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number from 1, fields) of every row that is not blank.

    Raises:
        InputError: The file cannot be read as UTF-8 csv.
    """
    where = locate(tree, name)
    line = 0
    limit = csv.field_size_limit(CSV_FIELD_LIMIT)
    try:
        with tree.open(name) as binary, io.TextIOWrapper(binary, "utf-8-sig", newline="") as text:
            reader = csv.reader(text)
            for row in reader:
                line = reader.line_num
                if row:
                    yield line, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{where}, after line {line}: not a csv file: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {where}: {error.strerror or error}") from error
    finally:
        csv.field_size_limit(limit)


def csv_header(tree: Tree, name: str) -> list[str]:
    """Return the column names of a csv file, stripped and in lower case; none if it has no text."""
    try:
        with tree.open(name) as binary:
            first = binary.readline(1 << 16).decode("utf-8-sig", "replace")
    except OSError:
        return []
    rows: list[Sequence[str]] = list(csv.reader([first.strip()])) if first.strip() else []
    return [column.strip().casefold() for column in rows[0]] if rows else []
