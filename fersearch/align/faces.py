"""A face in a picture, and what finds faces; needs numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Face", "FaceFinder"]

Point = tuple[float, float]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A face that was found, in pixels of the picture; x to the right, y down.

    Attributes:
        box: Left, top, width, height.
        left_eye: Centre of the eye on the left of the picture; None when no pair of eyes was found.
        right_eye: Centre of the eye on the right of the picture; None likewise.
        score: How sure the finder is; larger is surer, comparable for one finder only.
    """

    box: tuple[float, float, float, float]
    left_eye: Point | None = None
    right_eye: Point | None = None
    score: float = 0.0


class FaceFinder(Protocol):
    """Finds faces in pictures."""

    @property
    def name(self) -> str:
        """What it is, with the digest of its file where the user brought one."""
        ...

    def find(self, picture: Picture) -> list[Face]:
        """Return the faces of an RGB picture, uint8 ``(H, W, 3)``, largest first."""
        ...
