"""RAF-DB, basic subset (Li et al., CVPR 2017): a label list and aligned faces."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fersearch.data.classes import CLASS_ORDER
from fersearch.data.pictures import EncodedPictures
from fersearch.data.readers.base import Layout, RawData, RawSplit, locate
from fersearch.data.tree import Tree
from fersearch.errors import InputError

__all__ = ["LAYOUT"]

LABEL_LIST = "EmoLabel/list_patition_label.txt"  # the data set's own spelling
IMAGES = "Image/aligned"

# The list's numbers 1-7, in the data set's own order.
EMOTIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


def _read_labels(tree: Tree) -> dict[str, list[tuple[str, int]]]:
    """Return (image name, number from 1) of each split."""
    where = locate(tree, LABEL_LIST)
    try:
        text = tree.read(LABEL_LIST).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {where}: {error}") from error
    rows: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for line, content in enumerate(text.splitlines(), start=1):
        fields = content.split()
        if not fields:
            continue
        if len(fields) != 2 or not fields[1].isdecimal():
            raise InputError(f"{where}, line {line}: {content[:40]!r} is not an image and a number")
        name, number = fields[0], int(fields[1])
        split = name.partition("_")[0]
        if split not in rows:
            raise InputError(f"{where}, line {line}: {name} starts neither with train_ nor test_")
        if 8 <= number <= 11:
            raise InputError(
                f"{where}, line {line}: the label {number} belongs to RAF-DB's compound subset "
                "(labels 1-11)",
                "give the basic subset, whose labels are 1-7",
            )
        if not 1 <= number <= len(EMOTIONS):
            raise InputError(f"{where}, line {line}: the label {number} is not from 1 to 7")
        rows[split].append((name, number))
    return rows


def _recognise(tree: Tree) -> bool:
    return LABEL_LIST in tree


def _read(tree: Tree, options: Mapping[str, str]) -> RawData:
    if LABEL_LIST not in tree:
        raise InputError(f"no RAF-DB in {tree.label}", f"looked for {LAYOUT.looked_for}")
    rows = _read_labels(tree)
    if not tree.images(IMAGES):
        packed = f"{IMAGES}.zip" in tree
        raise InputError(
            f"{tree.label} has no images in {IMAGES}",
            f"run `unzip aligned.zip` in {tree.label}/Image" if packed else "add the aligned faces",
        )
    classes = tuple(ours for ours in CLASS_ORDER if ours in EMOTIONS)
    ours_of = np.array([classes.index(emotion) for emotion in EMOTIONS], dtype=np.int64)
    splits = {}
    for split, items in rows.items():
        if items:
            names = tuple(
                f"{IMAGES}/{stem}_aligned{dot}{suffix}"
                for stem, dot, suffix in (name.rpartition(".") for name, _ in items)
            )
            numbers = np.array([number for _, number in items], dtype=np.int64)
            splits[split] = RawSplit(EncodedPictures(tree, names), ours_of[numbers - 1])
    return RawData("rafdb", "RAF-DB basic, aligned faces", "given", classes, splits)


LAYOUT = Layout(
    kind="rafdb",
    looked_for="EmoLabel/list_patition_label.txt with Image/aligned (RAF-DB)",
    recognise=_recognise,
    read=_read,
)
