"""Stratified splits by a seed: 6:2:2 where there is none, validation from train, and subsets.

Every function is a pure function of the labels and the seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fersearch.data.dataset import SPLITS
from fersearch.data.readers.base import RawData, RawSplit
from fersearch.errors import InputError
from fersearch.seeds import derive_seed

__all__ = [
    "VALIDATION_SHARE",
    "allocate",
    "arrange",
    "carve",
    "drop_absent_classes",
    "limit_splits",
    "split_three_ways",
]

TEST_SHARE = 0.2
VALIDATION_SHARE = 0.15  # of the training images, where a data set has no validation split
FEWEST_TO_SPLIT = 3
FEWEST_KEPT = 3  # images per class that a subset keeps at least, where there are as many

Indices = NDArray[np.int64]


def _shuffled(labels: NDArray[np.int64], label: int, seed: int, purpose: str) -> Indices:
    """Return the positions of one class in an order that depends on seed, class and purpose."""
    rows = np.flatnonzero(labels == label)
    generator = np.random.default_rng(derive_seed(seed, "split", purpose, int(label)))
    return generator.permutation(rows)


def _sorted(parts: Sequence[Indices]) -> Indices:
    return np.sort(np.concatenate([*parts, np.empty(0, np.int64)])).astype(np.int64)


def split_three_ways(labels: NDArray[np.int64], seed: int) -> dict[str, Indices]:
    """Split 6:2:2, each class by itself.

    Args:
        labels: (N,); every class that occurs has at least three images.
        seed: Seed of the split.

    Returns:
        Sorted positions under ``train``, ``val`` and ``test``: disjoint, covering everything, each
        class in all three.
    """
    parts: dict[str, list[Indices]] = {name: [] for name in SPLITS}
    for label in np.unique(labels):
        rows = _shuffled(labels, label, seed, "6:2:2")
        share = max(1, round(TEST_SHARE * len(rows)))
        parts["test"].append(rows[:share])
        parts["val"].append(rows[share : 2 * share])
        parts["train"].append(rows[2 * share :])
    return {name: _sorted(rows) for name, rows in parts.items()}


def carve(labels: NDArray[np.int64], share: float, seed: int) -> tuple[Indices, Indices]:
    """Take a stratified share away: at least one image of every class that has two or more.

    Returns:
        Sorted positions of what stays and of what is taken.
    """
    stay: list[Indices] = []
    taken: list[Indices] = []
    for label in np.unique(labels):
        rows = _shuffled(labels, label, seed, "validation")
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        taken.append(rows[:count])
        stay.append(rows[count:])
    return _sorted(stay), _sorted(taken)


def allocate(counts: NDArray[np.int64], total: int, fewest: int) -> NDArray[np.int64]:
    """Share ``total`` out over classes in proportion to ``counts``, by the largest remainder.

    No class gets more than it has, nor less than ``min(its count, fewest)``: the result exceeds
    ``total`` when these minima alone do.

    >>> allocate(np.array([80, 15, 5, 0]), 20, 2).tolist()
    [15, 3, 2, 0]
    """
    least = np.minimum(counts, fewest)
    given: NDArray[np.int64] = np.clip(
        np.floor(total * counts / max(1, counts.sum())).astype(np.int64), least, counts
    )
    while given.sum() > total and (given > least).any():
        excess = np.where(given > least, given - total * counts / counts.sum(), -np.inf)
        given[int(excess.argmax())] -= 1
    while given.sum() < min(total, counts.sum()):
        lack = np.where(given < counts, total * counts / counts.sum() - given, -np.inf)
        given[int(lack.argmax())] += 1
    return given


def _subset(split: RawSplit, total: int, fewest: int, seed: int, name: str) -> RawSplit:
    counts = np.bincount(split.labels)
    wanted = allocate(counts, total, fewest)
    rows = [
        _shuffled(split.labels, label, seed, f"limit {name}")[: wanted[label]]
        for label in range(len(counts))
    ]
    return split.take(_sorted(rows))


def limit_splits(data: RawData, limit: int, seed: int) -> RawData:
    """Keep at most ``limit`` training images, and the same fraction of the other splits.

    Stratified; of every class at least three images stay in every split that has as many. The
    images of a smaller limit are nearly all among those of a larger one with the same seed.

    Raises:
        InputError: The limit is too small for the number of classes.
    """
    whole = len(data.splits["train"])
    if limit >= whole:
        return data
    if limit < len(data.classes):
        raise InputError(
            f"limit={limit} leaves no training image for some of the {len(data.classes)} classes",
            "give a larger limit",
        )
    splits = {}
    for name, split in data.splits.items():
        total = limit if name == "train" else round(limit / whole * len(split))
        fewest = min(FEWEST_KEPT, limit // len(data.classes))
        splits[name] = _subset(split, total, fewest, seed, name)
    note = (
        f"limit={limit}: a stratified subset of {limit} of {whole} training images and the same "
        f"fraction of the other splits, split seed {seed}"
    )
    return dataclasses.replace(data, splits=splits, notes=(*data.notes, note))


def _carved(data: RawData, test: RawSplit, seed: int, note: str) -> RawData:
    train = data.splits["train"]
    stay, taken = carve(train.labels, VALIDATION_SHARE, seed)
    splits = {"train": train.take(stay), "val": train.take(taken), "test": test}
    return dataclasses.replace(data, splits=splits, notes=(*data.notes, note))


def arrange(data: RawData, seed: int) -> RawData:
    """Bring whatever splits a reader found into train, val and test, and say how in the notes.

    No splits, or only a training split: 6:2:2 (the rule of the paper this suite follows). No
    validation split: 15 % of train. No test split: the validation split becomes the test split, as
    it is used in the field, and validation is carved from train, so that no search ever selects on
    the images it is tested on.

    Raises:
        InputError: There are too few images of a class, or no training images at all.
    """
    found = dict(data.splits)
    if set(found) == {"train"}:
        found = {"whole": found["train"]}
    if "whole" in found:
        whole = found["whole"]
        _check_enough(whole, data.classes)
        rows = split_three_ways(whole.labels, seed)
        splits = {name: whole.take(rows[name]) for name in SPLITS}
        note = f"split 6:2:2, stratified, split seed {seed}"
        return dataclasses.replace(data, splits=splits, notes=(*data.notes, note))
    if "train" not in found:
        raise InputError(f"this {data.kind} data set has no training images")
    share = f"{VALIDATION_SHARE:.0%} of train, stratified, split seed {seed}"
    if "val" not in found:
        return _carved(data, found["test"], seed, f"no validation split: it is {share}")
    if "test" not in found:
        note = f"no test split: the validation split serves as test; validation is {share}"
        return _carved(data, found["val"], seed, note)
    return dataclasses.replace(data, splits={name: found[name] for name in SPLITS})


def _check_enough(whole: RawSplit, classes: Sequence[str]) -> None:
    counts = np.bincount(whole.labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if 0 < count < FEWEST_TO_SPLIT:
            raise InputError(
                f"the class {name} has {count} image{'s' if count > 1 else ''}, too few to split "
                "into train, val and test",
                f"give at least {FEWEST_TO_SPLIT}",
            )


def drop_absent_classes(data: RawData) -> RawData:
    """Leave out classes of the format that have no image in any split, and say so in the notes."""
    present = np.zeros(len(data.classes), dtype=bool)
    for split in data.splits.values():
        present[np.unique(split.labels)] = True
    if present.all():
        return data
    renumber = np.cumsum(present) - 1
    absent = [name for name, there in zip(data.classes, present, strict=True) if not there]
    return dataclasses.replace(
        data,
        classes=tuple(name for name in data.classes if name not in absent),
        splits=_renumbered(data.splits, renumber, present),
        notes=(*data.notes, f"no images of {', '.join(absent)}: left out of the classes"),
    )


def _renumbered(
    splits: Mapping[str, RawSplit], renumber: NDArray[np.int64], present: NDArray[np.bool_]
) -> dict[str, RawSplit]:
    result = {}
    for name, split in splits.items():
        votes = split.votes
        if votes is not None:
            votes = votes[:, present]
            votes = votes / votes.sum(axis=1, keepdims=True)
        result[name] = dataclasses.replace(split, labels=renumber[split.labels], votes=votes)
    return result
