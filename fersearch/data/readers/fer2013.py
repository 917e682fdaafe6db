"""FER2013 (Goodfellow et al., ICONIP 2013) as one csv file, in both of its published forms.

``fer2013.csv`` has the columns ``emotion,pixels,Usage``; ``icml_face_data.csv`` has
``emotion, Usage, pixels`` with spaces in the header.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fersearch.data.classes import CLASS_ORDER
from fersearch.data.pictures import PixelPictures
from fersearch.data.readers.base import Layout, RawData, RawSplit, csv_header, csv_rows, locate
from fersearch.data.tree import Tree
from fersearch.errors import InputError

__all__ = ["LAYOUT", "USAGES", "PixelTable", "find_pixel_csv", "read_pixel_csv"]

SIDE = 48
COLUMNS = ("emotion", "pixels", "usage")

USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}

# The csv's numbers 0-6, in the data set's own order (which is not the order used here).
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


@dataclass(frozen=True, slots=True)
class PixelTable:
    """The rows of a pixel csv.

    Attributes:
        pixels: uint8, N x 48 x 48.
        emotions: int64, (N,), the csv's own numbers 0-6.
        usages: Name of the split of each row: ``train``, ``val`` or ``test``.
        lines: Line number of each row in the file.
        file: The file's bare name.
    """

    pixels: NDArray[np.uint8]
    emotions: NDArray[np.int64]
    usages: NDArray[np.str_]
    lines: NDArray[np.int64]
    file: str

    def pictures(self, rows: NDArray[np.int64]) -> PixelPictures:
        """Return the images of some rows, named by file and line."""
        names = tuple(f"{self.file}:{line}" for line in self.lines[rows])
        return PixelPictures(self.pixels[rows], names)


def find_pixel_csv(tree: Tree) -> str | None:
    """Return the name of the pixel csv on top of the tree, or None.

    A csv counts by its header. When several do, ``fer2013.csv`` is taken.

    Raises:
        InputError: Several files look like it and none has the standard name.
    """
    names = [name for name in tree.files() if name.casefold().endswith(".csv")]
    found = [name for name in names if "pixels" in csv_header(tree, name)]
    if not found and tree.single:  # the user named it: a missing column is then worth an error
        found = [name for name in names if set(COLUMNS) & set(csv_header(tree, name))]
        found = [name for name in found if "nf" not in csv_header(tree, name)]
    if len(found) > 1:
        standard = [name for name in found if name.casefold() == "fer2013.csv"]
        if not standard:
            raise InputError(
                f"several FER2013 csv files in {tree.label}: {', '.join(found[:5])}",
                "name one of them",
            )
        return standard[0]
    return found[0] if found else None


def read_usage(text: str, where: str, line: int) -> str:
    """Return the split that a Usage value means.

    Raises:
        InputError: The value is unknown.
    """
    try:
        return USAGES[text.strip()]
    except KeyError:
        raise InputError(
            f"{where}, line {line}: unknown Usage {text.strip()!r}",
            f"it must be {', '.join(USAGES)}",
        ) from None


def _parse_pixels(text: str, where: str, line: int) -> NDArray[np.int64]:
    """Parse one row's numbers; called with warnings turned into errors, since numpy's text parser
    only warns of text that is no number."""  # noqa: D205, D209
    try:
        values: NDArray[np.int64] = np.fromstring(text, dtype=np.int64, sep=" ")
    except (DeprecationWarning, ValueError):
        wrong = next((part for part in text.split() if not part.isdecimal()), text[:20])
        raise InputError(
            f"{where}, line {line}: the pixel value {wrong[:20]!r} is not a whole number, 0 to 255"
        ) from None
    if len(values) != SIDE * SIDE or not text.strip():
        count = len(text.split())
        raise InputError(f"{where}, line {line}: {count} pixel values where {SIDE * SIDE} belong")
    if values.min() < 0 or values.max() > 255:
        wrong_value = values[(values < 0) | (values > 255)][0]
        raise InputError(
            f"{where}, line {line}: the pixel value {wrong_value} is not a whole number, 0 to 255"
        )
    return values


def _parse_emotion(text: str, where: str, line: int) -> int:
    if text.strip() not in {"0", "1", "2", "3", "4", "5", "6"}:
        raise InputError(
            f"{where}, line {line}: the emotion {text.strip()[:20]!r} is not a number from 0 to 6"
        )
    return int(text)


def read_pixel_csv(tree: Tree, name: str) -> PixelTable:
    """Read a pixel csv of either form.

    Raises:
        InputError: A column is missing, or a row is malformed (with its line number).
    """
    where = locate(tree, name)
    header = csv_header(tree, name)
    missing = [
        column for column in ("emotion", "pixels", "Usage") if column.casefold() not in header
    ]
    if missing:
        raise InputError(
            f"{where} has no column {' and no column '.join(missing)}",
            "a FER2013 csv has emotion, pixels and Usage",
        )
    emotion_at, pixels_at, usage_at = (header.index(column) for column in COLUMNS)
    pixels: list[NDArray[np.uint8]] = []
    emotions: list[int] = []
    usages: list[str] = []
    lines: list[int] = []
    rows = csv_rows(tree, name)
    next(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for line, row in rows:
            if len(row) != len(header):
                raise InputError(
                    f"{where}, line {line}: {len(row)} columns where {len(header)} belong"
                )
            emotions.append(_parse_emotion(row[emotion_at], where, line))
            usages.append(read_usage(row[usage_at], where, line))
            pixels.append(_parse_pixels(row[pixels_at], where, line).astype(np.uint8))
            lines.append(line)
    if not pixels:
        raise InputError(f"{where} has no rows")
    return PixelTable(
        np.stack(pixels).reshape(-1, SIDE, SIDE),
        np.array(emotions, dtype=np.int64),
        np.array(usages),
        np.array(lines, dtype=np.int64),
        name,
    )


def _recognise(tree: Tree) -> bool:
    return find_pixel_csv(tree) is not None


def _read(tree: Tree, options: Mapping[str, str]) -> RawData:
    name = find_pixel_csv(tree)
    if name is None:
        raise InputError(f"no FER2013 csv in {tree.label}", f"looked for {LAYOUT.looked_for}")
    table = read_pixel_csv(tree, name)
    classes = tuple(ours for ours in CLASS_ORDER if ours in EMOTIONS)
    ours_of = np.array([classes.index(emotion) for emotion in EMOTIONS], dtype=np.int64)
    splits = {}
    for split in USAGES.values():
        rows = np.flatnonzero(table.usages == split)
        if len(rows):
            splits[split] = RawSplit(table.pictures(rows), ours_of[table.emotions[rows]])
    return RawData("fer2013", f"FER2013 csv ({name})", "given", classes, splits)


LAYOUT = Layout(
    kind="fer2013",
    looked_for="a csv with the columns emotion, pixels and Usage (FER2013)",
    recognise=_recognise,
    read=_read,
)
