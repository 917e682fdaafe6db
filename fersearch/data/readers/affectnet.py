"""AffectNet (Mollahosseini et al., IEEE TAC 2019): images with one annotation file each.

Its test labels were never published; its validation set is the customary test set, and is the
test split here. A validation split is carved from the training set.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from fersearch.data.classes import CLASS_ORDER
from fersearch.data.pictures import EncodedPictures
from fersearch.data.readers.base import Layout, RawData, RawSplit, locate
from fersearch.data.tree import Tree
from fersearch.errors import InputError

__all__ = ["LAYOUT"]

FOLDERS = {"train_set": "train", "val_set": "test"}

# The annotations' numbers 0-7, in the data set's own order.
EMOTIONS = (
    "neutral",
    "happiness",
    "sadness",
    "surprise",
    "fear",
    "disgust",
    "anger",
    "contempt",
)


def _read_annotation(tree: Tree, name: str) -> int | None:
    """Return the number in a ``*_exp.npy`` file (stored as text or as a number); None if absent."""
    if name not in tree:
        return None
    where = locate(tree, name)
    try:
        value = np.load(io.BytesIO(tree.read(name)), allow_pickle=False)
        number = int(value.reshape(-1)[0]) if value.size == 1 else -1
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise InputError(f"{where} is not an expression label: {error}") from error
    if not 0 <= number < len(EMOTIONS):
        raise InputError(
            f"{where}: the label {value.reshape(-1)[:3].tolist()} is not one from 0 to 7",
            "use AffectNet's subset with the eight expressions",
        )
    return number


def _recognise(tree: Tree) -> bool:
    return any(
        tree.images(f"{folder}/images") or "annotations" in tree.subfolders(folder)
        for folder in FOLDERS
    )


def _read(tree: Tree, options: Mapping[str, str]) -> RawData:
    splits: dict[str, RawSplit] = {}
    skipped: list[str] = []
    ours_of = np.array([CLASS_ORDER.index(emotion) for emotion in EMOTIONS], dtype=np.int64)
    for folder, split in FOLDERS.items():
        names: list[str] = []
        numbers: list[int] = []
        for image in tree.images(f"{folder}/images"):
            stem = image.rpartition(".")[0]
            number = _read_annotation(tree, f"{folder}/annotations/{stem}_exp.npy")
            if number is None:
                skipped.append(f"{folder}/images/{image} (no annotation)")
            else:
                names.append(f"{folder}/images/{image}")
                numbers.append(number)
        if not names:
            raise InputError(
                f"{tree.label}/{folder} has no annotated images",
                "AffectNet has train_set and val_set, each with images and annotations",
            )
        labels = ours_of[np.array(numbers, dtype=np.int64)]
        splits[split] = RawSplit(EncodedPictures(tree, names), labels)
    return RawData(
        "affectnet",
        "AffectNet images and annotations",
        "given",
        CLASS_ORDER,
        splits,
        tuple(skipped),
        ("AffectNet's validation set is the test split, as is customary",),
    )


LAYOUT = Layout(
    kind="affectnet",
    looked_for="train_set and val_set with images and annotations (AffectNet)",
    recognise=_recognise,
    read=_read,
)
