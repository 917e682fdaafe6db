"""From photographs to aligned faces: detectors and the warp that puts the eyes in place."""

from __future__ import annotations

from fersearch.align.faces import Face, FaceFinder, Picture
from fersearch.align.finders import open_finder
from fersearch.align.opencv import one_thread
from fersearch.align.warp import TEMPLATE, Template, align_face, crop_corners

__all__ = [
    "TEMPLATE",
    "Face",
    "FaceFinder",
    "Template",
    "align_face",
    "crop_corners",
    "find_and_align",
    "one_thread",
    "open_finder",
]


def find_and_align(
    picture: Picture, finder: FaceFinder, *, size: int
) -> list[tuple[Face, Picture]]:
    """Find the faces of a picture and align each.

    Args:
        picture: uint8, ``(H, W, 3)``, RGB.
        finder: From :func:`open_finder`.
        size: Side of the aligned faces in pixels, 8-1024.

    Returns:
        Each face with its crop, uint8 ``(size, size, 3)``; largest first, empty without a face.

    Raises:
        InputError: The size is out of range.
    """
    return [(face, align_face(picture, face, size=size)) for face in finder.find(picture)]
