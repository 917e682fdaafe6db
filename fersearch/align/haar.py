"""Faces by the Haar cascades that OpenCV ships: nothing to download, upright frontal faces only.

Viola and Jones, "Rapid object detection using a boosted cascade of simple features", CVPR 2001;
the cascades are Lienhart's (face) and Hameed's (eyes), as OpenCV 4 brings them.
"""

from __future__ import annotations

import hashlib
import math
import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fersearch.align.faces import Face, Picture, Point
from fersearch.align.opencv import cascade_file
from fersearch.align.warp import resample

if TYPE_CHECKING:
    import cv2

__all__ = ["HaarFinder"]

# Of OpenCV's three frontal cascades, this one finds as many faces as the others, and takes far
# fewer other things for faces than the default one does.
FACES = "haarcascade_frontalface_alt2.xml"
EYES = "haarcascade_eye.xml"

# A look at a photograph, for faces of any size.
LARGEST_SIDE = 1280  # pixels; larger pictures are scaled down, which bounds the work
SMALLEST_SIDE = 192  # pixels; smaller pictures are scaled up, since the cascade's window has 20
SMALLEST_FACE, LEAST_PIXELS = 0.05, 24  # of the longer side; at least so many pixels
NEIGHBOURS = 4  # windows that must agree on a face; with 3, more things are taken for faces

# A look at a crop, for faces that fill it up to its border: something is put around them, as the
# cascade expects it. The only look at small pictures, the second at others where nothing was found.
CROP_SIDE = 96  # pixels, up to which a picture is taken for a crop of one face
FILLED_SIDE = 192  # pixels, to which the longer side is brought, up or down
MARGIN = 0.25  # of the longer side, on each side; the border is repeated
FILLING_FACE = 0.3  # of the longer side, at least; smaller ones in a crop are mostly noses and eyes
FILLING_NEIGHBOURS = 3

# Eyes are looked for in these rows of the box, as fractions of its side. Some lie below the middle:
# from 0 to 0.5 a quarter of the pairs is lost.
EYE_ROWS = (0.1, 0.6)
EYE_WIDTH = 200  # pixels to which a face's box is brought
EYE_NEIGHBOURS = 3
EYE_SIZES = (0.12, 0.5)  # width of an eye's box, of the face's
EYE_DISTANCE = (0.25, 0.65)  # of the box's width
EYE_TILT = 0.45  # difference in height by distance: 24 degrees
# Where a pair is expected in the box: half-way between the eyes, and their distance. They choose
# among candidates only.
EXPECTED_MIDDLE, EXPECTED_DISTANCE = (0.49, 0.38), 0.41

Grey = NDArray[np.uint8]
Box = tuple[float, float, float, float]


class HaarFinder:
    """Finds upright frontal faces (up to about 15 degrees of roll) and their eyes.

    May be used from several threads at a time: each has cascades of its own.

    Raises:
        InputError: OpenCV is missing or has no cascades.
    """

    def __init__(self) -> None:
        total = hashlib.sha256()
        for name in (FACES, EYES):
            total.update(cascade_file(name).read_bytes())
        self._name = f"haar frontalface_alt2 and eye, sha256 {total.hexdigest()[:16]}"
        self._own = threading.local()

    @property
    def name(self) -> str:
        """The cascades and the start of the SHA-256 of their files, one after the other."""
        return self._name

    def find(self, picture: Picture) -> list[Face]:
        """Return the faces of an RGB picture, largest first.

        Args:
            picture: uint8, ``(H, W, 3)``.

        Returns:
            Faces with boxes that are squares and may reach past the picture's border; the score is
            the weight of the cascade's last stage.
        """
        import cv2

        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        longer = max(grey.shape)
        found: list[tuple[Box, float]] = []
        if longer > CROP_SIDE:
            side = min(max(longer, SMALLEST_SIDE), LARGEST_SIDE)
            least = max(SMALLEST_FACE * side, LEAST_PIXELS)
            found = self._look(grey, side=side, least=least, neighbours=NEIGHBOURS)
        if not found:
            found = self._look(
                grey,
                side=FILLED_SIDE,
                least=FILLING_FACE * FILLED_SIDE,
                neighbours=FILLING_NEIGHBOURS,
                margin=MARGIN,
            )
        found.sort(key=lambda item: (-item[0][2] * item[0][3], -item[1], item[0]))
        faces = []
        for box, score in found:
            left_eye, right_eye = self._eyes(grey, box)
            faces.append(Face(box=box, left_eye=left_eye, right_eye=right_eye, score=score))
        return faces

    def _cascade(self, name: str) -> cv2.CascadeClassifier:
        """Return this thread's copy of a cascade: one object must not be used by two threads."""
        import cv2

        known: dict[str, cv2.CascadeClassifier] = self._own.__dict__
        if name not in known:
            known[name] = cv2.CascadeClassifier(str(cascade_file(name)))
        return known[name]

    def _look(
        self, grey: Grey, *, side: int, least: float, neighbours: int, margin: float = 0.0
    ) -> list[tuple[Box, float]]:
        """Return boxes in pixels of the picture, with their scores, in no particular order.

        Args:
            grey: uint8, ``(H, W)``.
            side: Pixels to which the longer side is brought.
            least: Side of the smallest face, in pixels after that.
            neighbours: How many windows must agree.
            margin: What is put around the picture, as a fraction of its longer side.
        """
        import cv2

        height, width = grey.shape
        longer = max(height, width)
        size = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
        across, down = size[0] / width, size[1] / height
        shrink = side < longer
        scaled = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC)
        edge = round(margin * side)
        if edge:
            scaled = cv2.copyMakeBorder(scaled, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        boxes, _, weights = self._cascade(FACES).detectMultiScale3(
            scaled,
            scaleFactor=1.1,
            minNeighbors=neighbours,
            minSize=(round(least), round(least)),
            outputRejectLevels=True,
        )
        return [
            (
                (
                    (int(left) - edge) / across,
                    (int(top) - edge) / down,
                    int(wide) / across,
                    int(high) / down,
                ),
                float(weight),
            )
            for (left, top, wide, high), weight in zip(boxes, weights, strict=True)
        ]

    def _eyes(self, grey: Grey, box: Box) -> tuple[Point, Point] | tuple[None, None]:
        """Return the most plausible pair of eyes in a face's box, in pixels of the picture."""
        left, top, width, height = box
        first, last = EYE_ROWS
        scale = EYE_WIDTH / width
        matrix = np.array(
            [[scale, 0.0, -scale * left], [0.0, scale, -scale * (top + first * height)]]
        )
        rows = round((last - first) * height * scale)
        region = resample(grey, matrix, width=EYE_WIDTH, height=rows)
        least, most = (round(share * EYE_WIDTH) for share in EYE_SIZES)
        found = self._cascade(EYES).detectMultiScale(
            region,
            scaleFactor=1.05,
            minNeighbors=EYE_NEIGHBOURS,
            minSize=(least, least),
            maxSize=(most, most),
        )
        centres = sorted(
            ((int(x) + int(w) / 2) / EYE_WIDTH, (int(y) + int(h) / 2) / EYE_WIDTH + first)
            for x, y, w, h in found
        )
        pair = plausible_pair(centres)
        if pair is None:
            return None, None
        one, other = pair
        return (
            (left + one[0] * width, top + one[1] * width),
            (left + other[0] * width, top + other[1] * width),
        )


def plausible_pair(centres: list[Point]) -> tuple[Point, Point] | None:
    """Choose two eyes among candidates: one in each half of the box, level and well apart.

    Args:
        centres: Candidates, as fractions of the box's width from its left top corner.

    Returns:
        The left and the right eye of the pair that lies nearest to where eyes are expected; None
        when no two are plausible.

    >>> plausible_pair([(0.3, 0.4), (0.7, 0.38), (0.6, 0.58)])
    ((0.3, 0.4), (0.7, 0.38))
    >>> plausible_pair([(0.3, 0.4), (0.4, 0.4)]) is None
    True
    """
    best: tuple[float, Point, Point] | None = None
    for one in centres:
        for other in centres:
            distance, tilt = other[0] - one[0], abs(other[1] - one[1])
            if not one[0] < 0.5 < other[0] or not EYE_DISTANCE[0] <= distance <= EYE_DISTANCE[1]:
                continue
            if tilt > EYE_TILT * distance:
                continue
            middle = ((one[0] + other[0]) / 2, (one[1] + other[1]) / 2)
            apart = math.hypot(distance, tilt) - EXPECTED_DISTANCE
            miss = math.dist(middle, EXPECTED_MIDDLE) + abs(apart) + tilt / 2
            if best is None or (miss, one, other) < best:
                best = (miss, one, other)
    return None if best is None else (best[1], best[2])
