"""FACS action units: the prototype of each expression and how strongly a face shows each unit.

The units and their numbers are those of the Facial Action Coding System (Ekman, Friesen and Hager,
2002); the prototypes follow its emotion tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fersearch.data.classes import CLASS_ORDER
from fersearch.data.synthetic.difficulty import Difficulty
from fersearch.data.synthetic.draws import Draws

__all__ = ["LOWEST_INTENSITY", "PROTOTYPES", "UNITS", "Expressions", "draw_expressions"]

UNITS: dict[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    20: "lip stretcher",
    23: "lip tightener",
    25: "lips part",
    26: "jaw drop",
}
"""Number and name of every unit that can be drawn."""

PROTOTYPES: dict[str, tuple[int, ...]] = {
    "neutral": (),
    "happiness": (6, 12, 25),
    "surprise": (1, 2, 5, 26),
    "sadness": (1, 4, 15),
    "anger": (4, 5, 7, 23),
    "disgust": (9, 10, 15),
    "fear": (1, 2, 4, 5, 20, 25),
    "contempt": (14,),
}
"""The units of each expression. Contempt's is shown on one side of the face only."""

LOWEST_INTENSITY = 0.15
"""Intensities are uniform between this and 1; below about 0.3 expressions are hard to tell."""

_ASYMMETRY = 0.10


@dataclass(frozen=True, slots=True)
class Expressions:
    """What a number of faces express.

    Attributes:
        labels: Index into ``CLASS_ORDER``, int64, shape (faces,).
        intensities: Intensity of the expression, 0.15 to 1, and 0 for neutral; float32, (faces,).
        units: Intensity of each unit, 0 to 1, on the left and the right half of the image;
            float64, shape (faces, units, 2), units in the order of ``UNITS``.
    """

    labels: NDArray[np.int64]
    intensities: NDArray[np.float32]
    units: NDArray[np.float64]


def draw_expressions(draws: Draws, difficulty: Difficulty) -> Expressions:
    """Draw balanced classes, an intensity per face, and the intensity of each unit.

    Every run of eight faces holds each class once, in random order.
    """
    labels = _balanced_labels(draws)
    intensities = draws.uniform(LOWEST_INTENSITY, 1.0)
    numbers = list(UNITS)
    members = np.array(
        [[unit in PROTOTYPES[name] for unit in numbers] for name in CLASS_ORDER], dtype=bool
    )[labels]
    jitter = 1.0 + difficulty.unit_jitter * (2.0 * draws.unit(len(numbers)) - 1.0)
    kept = draws.unit(len(numbers)) >= difficulty.unit_dropout
    kept |= members.sum(axis=1, keepdims=True) < 2  # a lone unit is the whole expression
    shown = np.where(members & kept, np.minimum(intensities[:, None] * jitter, 1.0), 0.0)

    stray = draws.unit(len(numbers)) < difficulty.stray_probability
    strength = difficulty.stray_strength * draws.unit(len(numbers))
    shown = np.where(stray & ~members, strength, shown)

    lean = 1.0 + _ASYMMETRY * (2.0 * draws.unit(len(numbers)) - 1.0)
    units = np.minimum(np.stack([shown * lean, shown * (2.0 - lean)], axis=2), 1.0)
    dimpler = numbers.index(14)
    side = (draws.unit(1)[:, 0] < 0.5).astype(np.int64)
    units[np.arange(draws.count), dimpler, side] = 0.0

    neutral = labels == CLASS_ORDER.index("neutral")
    return Expressions(
        labels=labels,
        intensities=np.where(neutral, 0.0, intensities).astype(np.float32),
        units=units,
    )


def _balanced_labels(draws: Draws) -> NDArray[np.int64]:
    """Return labels whose every run of eight is a permutation, whatever the split's length."""
    classes = len(CLASS_ORDER)
    keys = draws.unit(classes)[::classes]  # the first row of each run decides the run's order
    return np.argsort(keys, axis=1, kind="stable").ravel()[: draws.count].astype(np.int64)
