"""The work on one picture: decode it, find its faces, cut them out, ask every model about them."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fersearch.align import Face, FaceFinder, crop_corners
from fersearch.demo.pictures import Upload, cut_out, decode, thumbnail
from fersearch.deploy.model_info import Predictor

__all__ = ["MOST_CAMS", "MOST_FACES", "Answer", "Bench", "Finding", "Verdict", "Wish"]

# A picture of a crowd would take minutes with a large network: the largest faces are answered.
MOST_FACES = 32
# Grad-CAM costs a forward and a backward pass for each face and model.
MOST_CAMS = 8

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked about a picture.

    Attributes:
        whole: Take the whole picture as one face instead of finding faces in it.
        cam: Say where the models looked, too.
        preview: Send the picture back as a JPEG, for browsers that cannot show it.
    """

    whole: bool = False
    cam: bool = False
    preview: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """What one model says of one face.

    Attributes:
        probabilities: One for each of the model's classes, in their order.
        crop: What the model was shown, uint8 ``(side, side, channels)``, made smaller where it is
            large.
        cam: Where it speaks for the class it names, uint8 ``(side, side)`` in 0-255; None where
            that was not asked for or the runtime cannot tell.
    """

    probabilities: tuple[float, ...]
    crop: Pixels
    cam: Pixels | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finding:
    """A face and what every model says of it.

    Attributes:
        face: Where it is.
        corners: Where in the picture the crops' top left, top right and bottom left corner are.
        whole: It is the whole picture, not a face that was found.
        verdicts: In the order of the models.
    """

    face: Face
    corners: tuple[tuple[float, float], ...]
    whole: bool
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What is said of one picture.

    Attributes:
        width: Width of the upright picture in pixels; boxes are in these.
        height: Its height.
        findings: The faces, largest first.
        left_out: Faces beyond the :data:`MOST_FACES` largest.
        milliseconds: ``decode``, ``find`` and ``total``, and in the order of the models ``crop``,
            ``classify`` and ``cam``.
        preview: The picture as a JPEG, where that was asked for.
    """

    width: int
    height: int
    findings: tuple[Finding, ...]
    left_out: int
    milliseconds: Mapping[str, float | tuple[float, ...]]
    preview: bytes | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what the page reads; pixels are in base 64, row by row."""
        return {
            "width": self.width,
            "height": self.height,
            "faces": [_finding_json(finding) for finding in self.findings],
            "left_out": self.left_out,
            "milliseconds": self.milliseconds,
            "preview": None if self.preview is None else _base64(self.preview),
        }


class Bench:
    """Models and a finder that look at one picture at a time, whichever thread asks.

    Args:
        models: One model or more.
        finder: What finds faces; None takes every picture as one face.
    """

    def __init__(self, models: Sequence[Predictor], finder: FaceFinder | None) -> None:
        self._models = tuple(models)
        self._finder = finder
        self._lock = threading.Lock()

    def warm_up(self) -> tuple[bool, ...]:
        """Run everything once on an empty picture, since first runs are slow.

        Returns:
            Of each model, whether it has Grad-CAM.
        """
        with self._lock:
            if self._finder is not None:
                self._finder.find(np.full((480, 640, 3), 127, dtype=np.uint8))
            able = []
            for model in self._models:
                side, channels = model.info.image_size, model.info.channels
                empty = np.zeros((1, side, side, channels), dtype=np.uint8)
                model.probabilities(empty)
                able.append(model.grad_cam(empty[0], 0) is not None)
        return tuple(able)

    def look(self, content: bytes, wish: Wish) -> Answer:
        """Return what the models say of the faces in a picture.

        Args:
            content: The bytes of a picture file.
            wish: What is asked for.

        Raises:
            RefusedError: The bytes are no picture, or one of too many pixels.
            FersearchError: The finder or a model fails on it.
        """
        with self._lock:
            return self._look(content, wish)

    def _look(self, content: bytes, wish: Wish) -> Answer:
        clock = _Clock()
        with clock("decode"):
            upload = decode(content)
        height, width = upload.pixels.shape[:2]
        whole = wish.whole or self._finder is None
        with clock("find"):
            faces = self._find(upload.pixels, whole=whole)
        shown = faces[:MOST_FACES]
        verdicts = [
            self._ask(model, upload, shown, whole=whole, cam=wish.cam, clock=clock)
            for model in self._models
        ]
        by_face = zip(*verdicts, strict=True)
        return Answer(
            width=width,
            height=height,
            findings=tuple(
                Finding(
                    face=face,
                    corners=_box_corners(face) if whole else crop_corners(face),
                    whole=whole,
                    verdicts=tuple(said),
                )
                for face, said in zip(shown, by_face, strict=True)
            ),
            left_out=len(faces) - len(shown),
            milliseconds=clock.times(),
            preview=upload.jpeg() if wish.preview else None,
        )

    def _find(self, picture: Pixels, *, whole: bool) -> list[Face]:
        if whole or self._finder is None:
            height, width = picture.shape[:2]
            return [Face(box=(0.0, 0.0, float(width), float(height)))]
        return list(self._finder.find(picture))

    def _ask(
        self,
        model: Predictor,
        upload: Upload,
        faces: Sequence[Face],
        *,
        whole: bool,
        cam: bool,
        clock: _Clock,
    ) -> list[Verdict]:
        """Return what one model says of all faces; it sees them as one batch."""
        info = model.info
        side, channels = info.image_size, info.channels
        with clock("crop", each=True):
            crops = np.zeros((len(faces), side, side, channels), dtype=np.uint8)
            for place, face in enumerate(faces):
                crops[place] = cut_out(
                    upload, None if whole else face, image_size=side, channels=channels
                )
        with clock("classify", each=True):
            rows = model.probabilities(crops) if len(crops) else np.zeros((0, len(info.classes)))
        with clock("cam", each=True):
            maps: list[NDArray[np.float32] | None] = [None] * len(crops)
            for place in range(min(len(crops), MOST_CAMS) if cam else 0):
                maps[place] = model.grad_cam(crops[place], int(rows[place].argmax()))
        return [
            Verdict(
                probabilities=tuple(float(value) for value in row),
                crop=thumbnail(crop),
                cam=None if cam_map is None else thumbnail(_grey(cam_map))[:, :, 0],
            )
            for row, crop, cam_map in zip(rows, crops, maps, strict=True)
        ]


class _Clock:
    """Adds up how long each step takes, in milliseconds."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._times: dict[str, float | tuple[float, ...]] = {}

    @contextmanager
    def __call__(self, step: str, *, each: bool = False) -> Iterator[None]:
        """Time a step; with ``each`` once for every model."""
        begun = time.perf_counter()
        yield
        taken = 1000 * (time.perf_counter() - begun)
        if each:
            earlier = self._times.get(step, ())
            self._times[step] = (*earlier, taken) if isinstance(earlier, tuple) else (taken,)
        else:
            self._times[step] = taken

    def times(self) -> Mapping[str, float | tuple[float, ...]]:
        """Return all steps, and ``total`` since the start."""
        return {**self._times, "total": 1000 * (time.perf_counter() - self._started)}


def _grey(values: NDArray[np.float32]) -> Pixels:
    """Return values of 0-1 as a grey image, uint8 ``(H, W, 1)``."""
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)[:, :, None]


def _box_corners(face: Face) -> tuple[tuple[float, float], ...]:
    left, top, width, height = face.box
    return (left, top), (left + width, top), (left, top + height)


def _finding_json(finding: Finding) -> dict[str, Any]:
    face = finding.face
    return {
        "box": face.box,
        "eyes": None if face.left_eye is None else [face.left_eye, face.right_eye],
        "corners": finding.corners,
        "whole": finding.whole,
        "verdicts": [
            {
                "probabilities": verdict.probabilities,
                "crop": _pixels_json(verdict.crop),
                "cam": None if verdict.cam is None else _pixels_json(verdict.cam[:, :, None]),
            }
            for verdict in finding.verdicts
        ],
    }


def _pixels_json(pixels: Pixels) -> dict[str, Any]:
    height, width, channels = pixels.shape
    data = _base64(np.ascontiguousarray(pixels).tobytes())
    return {"width": width, "height": height, "channels": channels, "data": data}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
