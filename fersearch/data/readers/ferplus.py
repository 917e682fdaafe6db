"""FERPlus (Barsoum et al., ICMI 2016): ten annotators' votes for the images of FER2013.

Three forms are read: ``fer2013new.csv`` beside FER2013's pixel csv, joined **by row** (the image
names in it are not row numbers); the prepared folders ``FER2013Train``, ``FER2013Valid`` and
``FER2013Test``, each with a ``label.csv``; and ``fer2013new.csv`` beside images that are named
as in it. The last two also inside a zip archive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fersearch.data.classes import CLASS_ORDER
from fersearch.data.pictures import Box, EncodedPictures
from fersearch.data.readers.base import Layout, RawData, RawSplit, csv_header, csv_rows, locate
from fersearch.data.readers.fer2013 import USAGES, find_pixel_csv, read_pixel_csv, read_usage
from fersearch.data.tree import Tree, is_image, open_tree
from fersearch.errors import InputError, suggestion

__all__ = ["LAYOUT", "RULES", "label_votes"]

RULES = ("majority", "argmax")
VOTE_COLUMNS = (*CLASS_ORDER, "unknown", "nf")
PREPARED = {"FER2013Train": "train", "FER2013Valid": "val", "FER2013Test": "test"}


def label_votes(votes: NDArray[np.int64], rule: str) -> NDArray[np.int64]:
    """Turn votes into labels by one of the two rules.

    ``majority``, the rule of the FERPlus authors: counts of one are set to zero, then the winner
    needs more than half of what is left. ``argmax``: the largest count wins, ties go to the first
    column. Under both, rows that "unknown" or "NF" (no face) wins are dropped.

    Args:
        votes: (N, 10) counts in the order of the csv: eight classes, unknown, NF.
        rule: ``majority`` or ``argmax``.

    Returns:
        int64, (N,): index into :data:`CLASS_ORDER`, or -1 for a dropped row.

    >>> label_votes(np.array([[0, 5, 1, 1, 1, 1, 0, 0, 1, 0], [4, 4, 0, 0, 0, 0, 0, 0, 2, 0]]),
    ...             "majority").tolist()
    [1, -1]
    """
    counted = np.where(votes > 1, votes, 0) if rule == "majority" else votes
    winner = counted.argmax(axis=1)
    highest = counted.max(axis=1)
    keep = (highest > 0) & (winner < len(CLASS_ORDER))
    if rule == "majority":
        keep &= 2 * highest > counted.sum(axis=1)
    return np.where(keep, winner, -1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _VoteTable:
    """Rows of a vote file: image names (empty where there is no face), votes (N, 10), lines."""

    names: Sequence[str]
    votes: NDArray[np.int64]
    usages: NDArray[np.str_]
    lines: Sequence[int]
    where: str


def _parse_votes(fields: Sequence[str], where: str, line: int) -> list[int]:
    for text in fields:
        if not text.strip().isdecimal():
            raise InputError(
                f"{where}, line {line}: {text.strip()[:20]!r} is not a number of votes"
            )
    return [int(text) for text in fields]


def _read_vote_csv(tree: Tree, name: str) -> _VoteTable:
    """Read ``fer2013new.csv``."""
    where = locate(tree, name)
    header = csv_header(tree, name)
    wanted = ("usage", "image name", *VOTE_COLUMNS)
    missing = [column for column in wanted if column not in header]
    if missing:
        raise InputError(
            f"{where} has no column {', '.join(missing)}",
            "FERPlus's csv has Usage, Image name, eight classes, unknown and NF",
        )
    usage_at, name_at, *votes_at = (header.index(column) for column in wanted)
    names: list[str] = []
    votes: list[list[int]] = []
    usages: list[str] = []
    lines: list[int] = []
    rows = csv_rows(tree, name)
    next(rows)
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{where}, line {line}: {len(row)} columns where {len(header)} belong")
        usages.append(read_usage(row[usage_at], where, line))
        names.append(row[name_at].strip())
        votes.append(_parse_votes([row[at] for at in votes_at], where, line))
        lines.append(line)
    if not names:
        raise InputError(f"{where} has no rows")
    return _VoteTable(names, np.array(votes, dtype=np.int64), np.array(usages), lines, where)


def _find_vote_csv(tree: Tree) -> str | None:
    """Return the name of the vote csv on top of the tree, by its header, or None."""
    names = [name for name in tree.files() if name.casefold().endswith(".csv")]
    found = [name for name in names if {"contempt", "nf"} <= set(csv_header(tree, name))]
    if len(found) > 1:
        standard = [name for name in found if name.casefold() == "fer2013new.csv"]
        if not standard:
            raise InputError(
                f"several FERPlus csv files in {tree.label}: {', '.join(found[:5])}",
                "choose one with ?labels=FILE",
            )
        return standard[0]
    return found[0] if found else None


def _is_prepared(tree: Tree) -> bool:
    return "FER2013Train/label.csv" in tree and bool(tree.images("FER2013Train"))


def _recognise(tree: Tree) -> bool:
    return "FER2013Train/label.csv" in tree or _find_vote_csv(tree) is not None


def _distributions(votes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the raw votes for the eight classes, each row divided by its sum."""
    faces = votes[:, : len(CLASS_ORDER)].astype(np.float64)
    return np.asarray(faces / faces.sum(axis=1, keepdims=True), dtype=np.float32)


def _finish(layout: str, rule: str, splits: Mapping[str, RawSplit], left_out: int) -> RawData:
    notes = (f"images without a clear class, left out by the {rule} rule: {left_out}",)
    return RawData("ferplus", layout, rule, CLASS_ORDER, splits, notes=notes if left_out else ())


def _read(tree: Tree, options: Mapping[str, str]) -> RawData:
    rule = options.get("rule", "majority")
    if rule not in RULES:
        raise InputError(f"unknown FERPlus label rule {rule!r}", suggestion(rule, RULES))
    if "labels" in options:
        path = Path(options["labels"])
        with open_tree(path) as other:
            table = _read_vote_csv(other, path.name)
        return _read_table(tree, table, rule)
    if _is_prepared(tree):
        return _read_prepared(tree, rule)
    name = _find_vote_csv(tree)
    if name is not None:
        return _read_table(tree, _read_vote_csv(tree, name), rule)
    if "FER2013Train/label.csv" in tree:
        raise InputError(
            f"{tree.label}/FER2013Train has a label.csv but no images",
            "make them with FERPlus's generate_training_data.py, or put fer2013.csv and "
            "fer2013new.csv into one folder",
        )
    raise InputError(
        f"no FERPlus votes in {tree.label}", "give the folder, or name the votes with ?labels=FILE"
    )


def _read_table(tree: Tree, table: _VoteTable, rule: str) -> RawData:
    pixel_csv = find_pixel_csv(tree)
    if pixel_csv is None:
        return _read_named_images(tree, table, rule)
    return _read_pair(tree, pixel_csv, table, rule)


def _read_pair(tree: Tree, pixel_csv: str, table: _VoteTable, rule: str) -> RawData:
    """Join the votes to the pixel rows by position, and check that the two files agree.

    Rows without an image name are judged by their votes like all others: nearly all are NF.
    """
    pixels = read_pixel_csv(tree, pixel_csv)
    if len(pixels.lines) != len(table.lines):
        raise InputError(
            f"{table.where} has {len(table.lines)} rows but {locate(tree, pixel_csv)} has "
            f"{len(pixels.lines)}",
            "the two are joined row by row: use the files that belong together",
        )
    different = np.flatnonzero(pixels.usages != table.usages)
    if len(different):
        raise InputError(
            f"{table.where}, line {table.lines[different[0]]}: its Usage is not that of the same "
            f"row of {pixel_csv}",
            "the two are joined row by row: use the files that belong together",
        )
    labels = label_votes(table.votes, rule)
    splits: dict[str, RawSplit] = {}
    for split in USAGES.values():
        rows = np.flatnonzero((table.usages == split) & (labels >= 0))
        if len(rows):
            votes = _distributions(table.votes[rows])
            splits[split] = RawSplit(pixels.pictures(rows), labels[rows], votes)
    layout = f"FERPlus votes joined by row to {pixel_csv}"
    return _finish(layout, rule, splits, int((labels < 0).sum()))


def _read_named_images(tree: Tree, table: _VoteTable, rule: str) -> RawData:
    """Find the images by the names in the vote file, wherever in the tree they lie."""
    places: dict[str, str] = {}
    for path in tree.all_files():
        base = path.rpartition("/")[2]
        if is_image(base) and places.setdefault(base, path) != path:
            raise InputError(f"two images in {tree.label} are named {base}: {places[base]}, {path}")
    labels = label_votes(table.votes, rule)
    labels[[not name for name in table.names]] = -1
    if not any(name in places for name in table.names):
        raise InputError(
            f"{table.where} has votes, but there is neither a pixel csv nor an image named in it",
            "put fer2013.csv beside it",
        )
    splits: dict[str, RawSplit] = {}
    for split in USAGES.values():
        rows = np.flatnonzero((table.usages == split) & (labels >= 0))
        if len(rows):
            wanted = [table.names[row] for row in rows.tolist()]
            names = [places.get(name, name) for name in wanted]
            pictures = EncodedPictures(tree, names)
            splits[split] = RawSplit(pictures, labels[rows], _distributions(table.votes[rows]))
    layout = "FERPlus votes with images named in the csv"
    return _finish(layout, rule, splits, int((labels < 0).sum()))


def _parse_box(text: str, where: str, line: int) -> Box:
    parts = text.strip().strip("()").split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise InputError(f"{where}, line {line}: {text.strip()[:30]!r} is not a face box")
    left, top, right, bottom = (int(part) for part in parts)
    if left >= right or top >= bottom:
        raise InputError(f"{where}, line {line}: the face box {text.strip()[:30]} is empty")
    return left, top, right, bottom


def _read_prepared(tree: Tree, rule: str) -> RawData:
    splits: dict[str, RawSplit] = {}
    left_out = 0
    for folder, split in PREPARED.items():
        label_csv = f"{folder}/label.csv"
        if label_csv not in tree:
            continue
        where = locate(tree, label_csv)
        names: list[str] = []
        boxes: list[Box | None] = []
        votes: list[list[int]] = []
        for line, row in csv_rows(tree, label_csv):
            if len(row) != 2 + len(VOTE_COLUMNS):
                raise InputError(
                    f"{where}, line {line}: {len(row)} columns where name, box and ten votes belong"
                )
            names.append(f"{folder}/{row[0].strip()}")
            boxes.append(_parse_box(row[1], where, line))
            votes.append(_parse_votes(row[2:], where, line))
        if not names:
            raise InputError(f"{where} has no rows")
        counts = np.array(votes, dtype=np.int64)
        labels = label_votes(counts, rule)
        keep = np.flatnonzero(labels >= 0)
        left_out += len(labels) - len(keep)
        pictures = EncodedPictures(tree, names, boxes).take(keep)
        splits[split] = RawSplit(pictures, labels[keep], _distributions(counts[keep]))
    return _finish("FERPlus prepared folders (label.csv)", rule, splits, left_out)


LAYOUT = Layout(
    kind="ferplus",
    looked_for=(
        "FER2013Train/label.csv with its images, or fer2013new.csv beside fer2013.csv (FERPlus)"
    ),
    recognise=_recognise,
    read=_read,
    options=frozenset({"rule", "labels"}),
)
