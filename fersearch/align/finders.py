"""Which finder: OpenCV's own cascades, or the YuNet file that the user brings."""

from __future__ import annotations

from pathlib import Path

from fersearch.align.faces import FaceFinder
from fersearch.align.haar import HaarFinder
from fersearch.align.yunet import YuNetFinder

__all__ = ["open_finder"]


def open_finder(face_model: Path | None = None) -> FaceFinder:
    """Return a finder of faces, which may be used from several threads at a time.

    Args:
        face_model: A YuNet file (ONNX); by default the Haar cascades that OpenCV 4 ships.

    Raises:
        InputError: OpenCV is missing or has no cascades, or the file is no YuNet model.
    """
    return HaarFinder() if face_model is None else YuNetFinder(face_model)
