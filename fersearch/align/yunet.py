"""Faces by YuNet, for users who bring its file: turned and small faces too, eyes with each face.

Wu, Peng and Yu, "YuNet: a tiny millisecond-level face detector", Machine Intelligence Research
20, 2023; run by OpenCV's ``FaceDetectorYN``. The file is not shipped and never fetched.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fersearch.align.faces import Face, Picture
from fersearch.align.opencv import require_opencv
from fersearch.errors import InputError

if TYPE_CHECKING:
    import cv2

__all__ = ["YuNetFinder"]

LARGEST_FILE = 64 << 20  # bytes; YuNet has 0.3 million
SURE = 0.7  # smallest score of a face
OVERLAP = 0.3  # of two boxes, above which the less sure one is dropped
MOST = 5000  # candidates

# It was trained on faces of 10 to 300 px. The longer side of the picture is brought to the first
# size; where nothing is found, to the second, with a margin, for a face that fills the picture.
FIRST_SIDE, SECOND_SIDE = 640, 192
MARGIN = 0.25  # of the longer side, on each side; the border is repeated
SMALLEST_SIDE = 192


class YuNetFinder:
    """Finds faces with a YuNet file; may be used from several threads at a time.

    Args:
        face_model: The ONNX file, for example ``face_detection_yunet_2023mar.onnx``.

    Raises:
        InputError: OpenCV is missing, or the file is missing or no YuNet model.
    """

    def __init__(self, face_model: Path) -> None:
        require_opencv()
        self._content = _read(face_model)
        self._name = f"yunet sha256 {hashlib.sha256(self._content).hexdigest()}"
        self._own = threading.local()
        import cv2

        try:
            with _silent():
                self._look(np.zeros((64, 64, 3), dtype=np.uint8), side=64, margin=0.0)
        except cv2.error as error:
            raise InputError(
                f"{face_model} is not a YuNet model that OpenCV {cv2.__version__} can run",
                "name a face_detection_yunet file (ONNX), or leave out --face-model",
            ) from error

    @property
    def name(self) -> str:
        """``yunet`` and the SHA-256 of the file."""
        return self._name

    def find(self, picture: Picture) -> list[Face]:
        """Return the faces of an RGB picture, largest first.

        Args:
            picture: uint8, ``(H, W, 3)``.

        Returns:
            Faces with both eyes; boxes may reach past the picture's border; the score is from 0.7
            to 1.
        """
        longer = max(picture.shape[:2])
        side = min(max(longer, SMALLEST_SIDE), FIRST_SIDE)
        faces = self._look(picture, side=side, margin=0.0)
        if not faces:
            faces = self._look(picture, side=SECOND_SIDE, margin=MARGIN)
        return sorted(faces, key=lambda face: (-face.box[2] * face.box[3], -face.score, face.box))

    def _detector(self) -> cv2.FaceDetectorYN:
        """Return this thread's detector: one object must not be used by two threads."""
        import cv2

        known: dict[str, cv2.FaceDetectorYN] = self._own.__dict__
        if "detector" not in known:
            known["detector"] = cv2.FaceDetectorYN.create(
                "onnx",
                np.frombuffer(self._content, dtype=np.uint8),
                np.empty(0, dtype=np.uint8),
                (64, 64),
                SURE,
                OVERLAP,
                MOST,
            )
        return known["detector"]

    def _look(self, picture: Picture, *, side: int, margin: float) -> list[Face]:
        import cv2

        height, width = picture.shape[:2]
        longer = max(height, width)
        size = (max(1, round(width * side / longer)), max(1, round(height * side / longer)))
        across, down = size[0] / width, size[1] / height
        way = cv2.INTER_AREA if side < longer else cv2.INTER_CUBIC
        scaled = cv2.resize(picture, size, interpolation=way)
        edge = round(margin * side)
        if edge:
            scaled = cv2.copyMakeBorder(scaled, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        detector = self._detector()
        detector.setInputSize((scaled.shape[1], scaled.shape[0]))
        _, rows = detector.detect(cv2.cvtColor(scaled, cv2.COLOR_RGB2BGR))
        # The stubs do not say it: without a face the second result is None.
        table = np.empty((0, 15)) if rows is None else np.asarray(rows, dtype=np.float64)
        return [_face(row, edge, across, down) for row in table]


def _face(row: NDArray[np.float64], edge: int, across: float, down: float) -> Face:
    """Read one row: the box, x and y of both eyes, nose and both corners of the mouth, score."""
    left, top, wide, high = (float(value) for value in row[:4])
    eyes = sorted(
        ((float(x) - edge) / across, (float(y) - edge) / down) for x, y in row[4:8].reshape(2, 2)
    )
    return Face(
        box=((left - edge) / across, (top - edge) / down, wide / across, high / down),
        left_eye=eyes[0],
        right_eye=eyes[1],
        score=float(row[14]),
    )


def _read(face_model: Path) -> bytes:
    try:
        size = face_model.stat().st_size
        if not 0 < size <= LARGEST_FILE:
            raise InputError(
                f"{face_model} has {size} bytes, which no YuNet model has",
                "name a face_detection_yunet file (ONNX)",
            )
        return face_model.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the face model {face_model}: {error.strerror}", "check --face-model"
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Keep OpenCV from writing to stderr what the caller is going to say."""
    import cv2

    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
