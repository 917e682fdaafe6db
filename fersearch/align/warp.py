"""The warp that brings a face into its place: one rotation, one scale, one shift; no shear.

Coordinates are continuous: the pixel in column x and row y covers ``[x, x + 1) x [y, y + 1)``.

Where the eyes belong was measured, not chosen. FER2013's 48 px crops are what most expression
networks are trained on; in a random sample of the real ones (with FERPlus's labels) the finder's
eyes lie on average where :data:`TEMPLATE` says, so an aligned photograph is framed like them.
Measured by

    python benchmarks/eye_positions.py --data ferplus:PATH
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fersearch.align.faces import Face, Picture
from fersearch.align.opencv import require_opencv
from fersearch.errors import InputError

__all__ = ["TEMPLATE", "Template", "align_face", "check_size", "crop_corners", "resample"]

Matrix = NDArray[np.float64]

SMALLEST_SIZE, LARGEST_SIZE = 8, 1024
LARGEST_CANVAS = 4096  # pixels a side while shrinking; larger faces are then sampled more coarsely
CLOSEST_EYES = 1.0  # pixels; nearer than that, their direction means nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Where parts of a face lie in an aligned picture, as fractions of its side.

    Attributes:
        left_eye: x and y of the eye on the left of the picture.
        right_eye: x and y of the other eye.
        box_centre: x and y of the centre of the finder's box, for faces without a pair of eyes.
        box_side: Side of that box.
    """

    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    box_centre: tuple[float, float]
    box_side: float


# The measured means (docs/align.md), made symmetric: half-way between the eyes, and between the
# sides of the box, is the middle of the picture.
TEMPLATE = Template(
    left_eye=(0.314, 0.376), right_eye=(0.686, 0.376), box_centre=(0.5, 0.486), box_side=0.949
)


def align_face(picture: Picture, face: Face, *, size: int) -> Picture:
    """Return one face, upright and framed like FER2013's.

    With a pair of eyes the picture is rotated, scaled and shifted so that they land where
    :data:`TEMPLATE` says. Without, the upright square around the box is taken, in which the box
    has the template's place and size. What lies past the picture's border repeats the border.

    Args:
        picture: uint8, ``(H, W, 3)``, RGB.
        face: The face, in pixels of the picture.
        size: Side of the result in pixels, 8-1024.

    Returns:
        uint8, ``(size, size, 3)``, RGB; antialiased where it shrinks.

    Raises:
        InputError: The size is out of range, or OpenCV is missing.
    """
    check_size(size)
    return resample(picture, _matrix(face, size), width=size, height=size)


def check_size(size: int) -> None:
    """Refuse a size of aligned faces that is out of range.

    Raises:
        InputError: It is not from 8 to 1024 pixels.
    """
    if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
        raise InputError(
            f"the size of aligned faces must be from {SMALLEST_SIZE} to {LARGEST_SIZE} px "
            f"but is {size}"
        )


def crop_corners(face: Face) -> tuple[tuple[float, float], ...]:
    """Return where in the picture the corners of :func:`align_face`'s result come from.

    Args:
        face: The face, in pixels of the picture.

    Returns:
        x and y in pixels of the picture of the top left, top right and bottom left corner; they
        may lie past its border.
    """
    matrix = _matrix(face, 1)
    back = np.linalg.inv(matrix[:, :2])
    corners = [back @ (np.array(corner) - matrix[:, 2]) for corner in ((0, 0), (1, 0), (0, 1))]
    return tuple((float(x), float(y)) for x, y in corners)


def _matrix(face: Face, size: int) -> Matrix:
    """Return the 2 x 3 matrix from the picture's coordinates to those of the aligned face."""
    if face.left_eye is not None and face.right_eye is not None:
        turned = _between(face.left_eye, face.right_eye, size)
        if turned is not None:
            return turned
    left, top, width, height = face.box
    scale = TEMPLATE.box_side * size / max(width, height, 1.0)
    centre_x, centre_y = TEMPLATE.box_centre
    return np.array(
        [
            [scale, 0.0, centre_x * size - scale * (left + width / 2)],
            [0.0, scale, centre_y * size - scale * (top + height / 2)],
        ]
    )


def _between(left: tuple[float, float], right: tuple[float, float], size: int) -> Matrix | None:
    """Return the similarity that takes both eyes to their places; None for eyes in one point."""
    across, down = right[0] - left[0], right[1] - left[1]
    if math.hypot(across, down) < CLOSEST_EYES:
        return None
    # As complex numbers a similarity is z -> a z + b.
    to_left = complex(*TEMPLATE.left_eye) * size
    to_right = complex(*TEMPLATE.right_eye) * size
    a = (to_right - to_left) / complex(across, down)
    b = to_left - a * complex(*left)
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def resample(picture: Picture, matrix: Matrix, *, width: int, height: int) -> Picture:
    """Warp a picture by a similarity, averaging over areas where it shrinks.

    Where the scale is below 1 the picture is sampled (bilinear) on a grid that is finer by a whole
    factor, then averaged over blocks: point sampling alone would alias.

    Args:
        picture: uint8, ``(H, W)`` or ``(H, W, 3)``.
        matrix: float64, ``(2, 3)``, from the picture's coordinates to the result's.
        width: Width of the result in pixels.
        height: Height of the result in pixels.

    Returns:
        uint8, ``(height, width)`` or ``(height, width, 3)``; past the border, the border repeats.

    Raises:
        InputError: OpenCV is missing.
    """
    require_opencv()
    import cv2

    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    most = max(1, LARGEST_CANVAS // max(width, height))
    finer = min(most, max(1, math.ceil(1 / scale - 1e-9)))
    fine = matrix * finer
    # OpenCV counts from the centres of the pixels: u + 0.5 = M (p + 0.5).
    fine[:, 2] += fine[:, :2] @ np.array([0.5, 0.5]) - 0.5
    canvas = cv2.warpAffine(
        picture,
        fine,
        (width * finer, height * finer),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if finer > 1:
        canvas = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(canvas, dtype=np.uint8)
