"""Where the parts of a face are once its action units have moved them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fersearch.data.synthetic.action_units import UNITS
from fersearch.data.synthetic.people import Identity

__all__ = ["MOTIONS", "Landmarks", "place_landmarks"]

MOTIONS: dict[int, dict[str, float]] = {
    1: {"brow_inner_y": -0.22, "brow_middle_y": -0.08, "forehead_lines": 0.5},
    2: {"brow_outer_y": -0.16, "brow_middle_y": -0.12, "forehead_lines": 0.5},
    4: {
        "brow_inner_x": -0.05,
        "brow_inner_y": 0.11,
        "brow_middle_y": 0.07,
        "brow_outer_y": 0.02,
        "frown_lines": 1.0,
    },
    5: {"upper_lid": 0.085},
    6: {"lower_lid": -0.055, "cheek": 1.0, "crow_lines": 1.0},
    7: {"upper_lid": -0.030, "lower_lid": -0.045},
    9: {
        "brow_inner_y": 0.05,
        "lower_lid": -0.02,
        "nostril": -0.06,
        "nose_lines": 1.0,
        "upper_lip": -0.03,
    },
    10: {"upper_lip": -0.11, "nostril": -0.02, "cheek_fold": 0.8},
    12: {"corner_x": 0.11, "corner_y": -0.15, "cheek_fold": 0.7, "cheek": 0.4},
    14: {"corner_x": 0.05, "corner_y": -0.09, "dimple": 1.0},
    15: {"corner_y": 0.14, "chin_fold": 0.6, "corner_x": -0.02},
    20: {"corner_x": 0.14, "corner_y": 0.03},
    23: {"lips": -0.75, "corner_x": -0.06, "chin_fold": 0.4},
    25: {"upper_lip": -0.03, "lower_lip": 0.075},
    26: {
        "lower_lip": 0.25,
        "upper_lip": -0.02,
        "jaw_drop": 0.10,
        "corner_x": -0.08,
        "corner_y": 0.06,
    },
}
"""What each unit moves at full intensity.

Displacements of landmarks in face units (x away from the middle, y down; lids: opening upwards
and closing from below), strength of lines and folds from 0 to 1, and ``lips``, a relative change.
"""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Landmarks of the two halves of each face; every field float64 of shape (faces, 2).

    The halves are left and right in the image. x counts from the middle outwards, y downwards,
    in face units. Fields that lie on the middle line are the same on both sides.
    """

    brow_inner_x: NDArray[np.float64]
    brow_inner_y: NDArray[np.float64]
    brow_middle_y: NDArray[np.float64]
    brow_outer_y: NDArray[np.float64]
    upper_lid: NDArray[np.float64]
    lower_lid: NDArray[np.float64]
    cheek: NDArray[np.float64]
    nostril: NDArray[np.float64]
    corner_x: NDArray[np.float64]
    corner_y: NDArray[np.float64]
    upper_lip: NDArray[np.float64]
    lower_lip: NDArray[np.float64]
    lips: NDArray[np.float64]
    jaw_drop: NDArray[np.float64]
    forehead_lines: NDArray[np.float64]
    frown_lines: NDArray[np.float64]
    crow_lines: NDArray[np.float64]
    nose_lines: NDArray[np.float64]
    cheek_fold: NDArray[np.float64]
    chin_fold: NDArray[np.float64]
    dimple: NDArray[np.float64]


_MIDDLE = ("nostril", "upper_lip", "lower_lip", "lips", "jaw_drop", "nose_lines", "chin_fold")
_LINES = ("forehead_lines", "frown_lines", "crow_lines", "nose_lines", "cheek_fold", "chin_fold")


def place_landmarks(identity: Identity, units: NDArray[np.float64]) -> Landmarks:
    """Move each person's landmarks by the intensities of the action units.

    Args:
        identity: The people at rest.
        units: Intensities 0 to 1, shape (faces, units, 2), units in the order of ``UNITS``.
    """
    moved = {field.name: np.zeros((len(units), 2)) for field in fields(Landmarks)}
    for index, unit in enumerate(UNITS):
        for name, amount in MOTIONS[unit].items():
            moved[name] += amount * units[:, index]
    for name in _MIDDLE:
        moved[name] = np.repeat((moved[name][:, :1] + moved[name][:, 1:]) / 2.0, 2, axis=1)
    for name in _LINES:
        moved[name] = np.minimum(moved[name] + 0.4 * identity.wrinkles[:, None], 1.0)

    def column(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values[:, None]

    moved["brow_inner_x"] += column(identity.eye_distance - 0.235)
    moved["brow_inner_y"] += column(identity.brow_height - 0.015 + identity.brow_tilt)
    moved["brow_middle_y"] += column(identity.brow_height - identity.brow_arch)
    moved["brow_outer_y"] += column(identity.brow_height - identity.brow_tilt + 0.015)
    moved["upper_lid"] = np.maximum(moved["upper_lid"] + column(identity.eye_opening), 0.012)
    moved["lower_lid"] = np.maximum(moved["lower_lid"] + column(0.75 * identity.eye_opening), 0.004)
    moved["corner_x"] += column(identity.mouth_width)
    moved["corner_y"] += column(identity.mouth + identity.mouth_bend)
    moved["upper_lip"] += column(identity.mouth)
    moved["lower_lip"] += column(identity.mouth)
    moved["lips"] = column(identity.lip_thickness) * np.maximum(1.0 + moved["lips"], 0.2)
    moved["nostril"] += column(identity.nose)
    return Landmarks(**moved)
