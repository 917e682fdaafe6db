"""Class folders: ``DIR/<class>/*.png`` without splits, or ``DIR/{train,val,test}/<class>/*.png``.

Classes are told by the folders' names, never by their position: folder copies of FER2013 list
their classes in alphabetical order, which is neither FER2013's order nor ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fersearch.data.classes import order_classes
from fersearch.data.pictures import EncodedPictures
from fersearch.data.readers.base import Layout, RawData, RawSplit
from fersearch.data.tree import Tree
from fersearch.errors import InputError

__all__ = ["LAYOUT"]

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "publictest": "val",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}


def _split_folders(tree: Tree) -> dict[str, str]:
    """Return the folder of each split, for the folders that are named like one."""
    found: dict[str, str] = {}
    for folder in tree.subfolders():
        split = SPLIT_NAMES.get(folder.casefold())
        if split is not None and tree.subfolders(folder):
            if split in found:
                raise InputError(
                    f"{tree.label} has two folders for the {split} split: {found[split]}, {folder}",
                    "keep one of them",
                )
            found[split] = folder
    return found


def _recognise(tree: Tree) -> bool:
    if _split_folders(tree):
        return True
    return any(tree.images(folder) for folder in tree.subfolders())


def _class_folders(tree: Tree, folder: str) -> list[str]:
    """Return the class folders' names under ``folder``; each must hold an image."""
    names = tree.subfolders(folder)
    prefix = f"{folder}/" if folder else ""
    empty = [name for name in names if not tree.images(prefix + name)]
    if empty:
        shown = ", ".join(prefix + name for name in empty[:5])
        raise InputError(
            f"no images in the class folder{'s' if len(empty) > 1 else ''} {shown} of {tree.label}",
            "add images or remove the folder",
        )
    return names


def _read_split(tree: Tree, folder: str, labels_of: Mapping[str, int]) -> RawSplit:
    names: list[str] = []
    labels: list[int] = []
    prefix = f"{folder}/" if folder else ""
    for name, label in labels_of.items():
        images = tree.images(prefix + name)
        names.extend(f"{prefix}{name}/{image}" for image in images)
        labels.extend([label] * len(images))
    return RawSplit(EncodedPictures(tree, names), np.array(labels, dtype=np.int64))


def _check_same_classes(tree: Tree, classes_of: Mapping[str, set[str]]) -> None:
    """Refuse splits whose classes differ; each is given as our names."""
    train = classes_of["train"]
    for split, classes in classes_of.items():
        extra, lacking = sorted(classes - train), sorted(train - classes)
        if extra or lacking:
            parts = [f"{split} has {', '.join(extra)} but train has not"] if extra else []
            parts += [f"train has {', '.join(lacking)} but {split} has not"] if lacking else []
            raise InputError(
                f"the classes of {tree.label} differ between its splits: {', and '.join(parts)}",
                "give every split the same class folders",
            )


def _read(tree: Tree, options: Mapping[str, str]) -> RawData:
    folders = _split_folders(tree)
    if not folders:
        if not tree.subfolders():
            raise InputError(f"no class folders in {tree.label}", f"looked for {LAYOUT.looked_for}")
        names = _class_folders(tree, "")
        mapping, classes, note = order_classes(names)
        labels_of = {name: classes.index(mapping[name]) for name in names}
        return RawData(
            "folder",
            "class folders without splits",
            "given",
            classes,
            {"whole": _read_split(tree, "", labels_of)},
            notes=(note,) if note else (),
        )
    if "train" not in folders:
        raise InputError(
            f"{tree.label} has {' and '.join(folders.values())} but no train folder",
            "add train/<class>/ or remove the split folders",
        )
    notes: list[str] = []
    names_of = {split: _class_folders(tree, folder) for split, folder in folders.items()}
    mappings = {}
    for split, names in names_of.items():
        mappings[split], classes_here, note = order_classes(names)
        if split == "train":
            classes = classes_here
            notes += [note] if note else []
    _check_same_classes(tree, {split: set(mapping.values()) for split, mapping in mappings.items()})
    aside = sorted(set(tree.subfolders()) - set(folders.values()))
    if aside:
        notes.append(f"folders left aside: {', '.join(aside[:5])}")
    splits = {
        split: _read_split(
            tree,
            folder,
            {name: classes.index(mappings[split][name]) for name in names_of[split]},
        )
        for split, folder in folders.items()
    }
    shown = ", ".join(folders.values())
    return RawData(
        "folder", f"class folders in {shown}", "given", classes, splits, notes=tuple(notes)
    )


LAYOUT = Layout(
    kind="folder",
    looked_for="DIR/<class>/ or DIR/{train,val,test}/<class>/ with images (class folders)",
    recognise=_recognise,
    read=_read,
)
