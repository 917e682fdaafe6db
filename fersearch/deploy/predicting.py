"""Expressions of the faces in pictures; with an ONNX file this needs no PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fersearch.data.decoding import PictureError, to_rgb
from fersearch.deploy.model_info import Predictor
from fersearch.deploy.pictures import face_image, opened_picture, whole_image
from fersearch.errors import InputError, suggestion

if TYPE_CHECKING:
    from fersearch.align.faces import Face, FaceFinder

__all__ = ["ALIGN", "Align", "Answer", "FaceAnswer", "answers", "check_align", "predict"]

Align = Literal["none", "faces"]
ALIGN: tuple[str, ...] = get_args(Align)
BATCH = 64
NO_FACE = "no face found"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceAnswer:
    """The expression of one face.

    Attributes:
        box: Left, top, width, height in pixels of the upright picture; None where the whole picture
            was taken as the face.
        label: The most probable class.
        probabilities: Of all classes, most probable first; they sum to 1.
    """

    box: tuple[float, float, float, float] | None
    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says of one picture.

    Attributes:
        file: The picture.
        faces: Its faces, largest first; none where none was found or the picture cannot be read.
        error: Why the picture cannot be read; empty when it can.
    """

    file: Path
    faces: tuple[FaceAnswer, ...] = ()
    error: str = ""

    @property
    def note(self) -> str:
        """The error, or that no face was found; empty when there is an answer."""
        return self.error or ("" if self.faces else NO_FACE)

    def plain(self) -> dict[str, Any]:
        """Return what JSON shows: ``{file, faces: [{box, label, probabilities}], error}``."""
        faces = [
            {
                "box": None if face.box is None else [round(float(side), 1) for side in face.box],
                "label": face.label,
                "probabilities": face.probabilities,
            }
            for face in self.faces
        ]
        return {"file": str(self.file), "faces": faces, "error": self.error or None}


def predict(
    model: Predictor,
    pictures: Sequence[str | Path],
    *,
    align: str = "none",
    face_model: str | Path | None = None,
) -> list[Answer]:
    """Classify the faces in picture files.

    Args:
        model: From :func:`fersearch.open_model`.
        pictures: The files.
        align: ``none``: each picture is one cropped face, brought to the model's size as training
            images are. ``faces``: faces are found in each picture and aligned by their eyes.
        face_model: A face detector's file, for ``faces``; see :func:`fersearch.align.open_finder`.

    Returns:
        One answer a picture, in their order. A picture that cannot be read has its error.

    Raises:
        InputError: ``align`` is unknown, or what finds faces is not installed.
    """
    files = [(Path(picture).expanduser(), "") for picture in pictures]
    return list(answers(model, files, finder=open_finder(align, face_model)))


def check_align(align: str, face_model: str | Path | None) -> None:
    """Refuse what :func:`open_finder` cannot do.

    Raises:
        InputError: ``align`` is unknown, or a face detector is given that would not be used.
    """
    if align not in ALIGN:
        raise InputError(f"unknown way to align {align!r}", suggestion(align, ALIGN))
    if align == "none" and face_model is not None:
        raise InputError(
            "a face detector is given, but each picture is taken as one face", "add --align faces"
        )


def open_finder(align: str, face_model: str | Path | None = None) -> FaceFinder | None:
    """Return what finds the faces; None where each picture is one.

    Raises:
        InputError: See :func:`check_align`; or OpenCV or the detector's file is missing.
    """
    check_align(align, face_model)
    if align == "none":
        return None
    from fersearch import align as room

    finder: FaceFinder = room.open_finder(
        None if face_model is None else Path(face_model).expanduser()
    )
    return finder


def answers(
    model: Predictor, files: Sequence[tuple[Path, str]], *, finder: FaceFinder | None
) -> Iterator[Answer]:
    """Yield one answer a file, in their order, computed in batches of about 64 faces.

    Args:
        model: What classifies.
        files: Each with the reason why it cannot be used; empty for those to be read.
        finder: What finds faces; None to take each picture as one.
    """
    waiting: list[tuple[Path, str, list[Face | None]]] = []
    images: list[NDArray[np.uint8]] = []
    for file, problem in files:
        faces: list[Face | None] = []
        if not problem:
            try:
                faces, found = _faces(file, model, finder)
                images += found
            except PictureError as error:
                problem = str(error)
        waiting.append((file, problem, faces))
        if len(images) >= BATCH:
            yield from _answered(model, waiting, images)
            waiting, images = [], []
    yield from _answered(model, waiting, images)


def _faces(
    file: Path, model: Predictor, finder: FaceFinder | None
) -> tuple[list[Face | None], list[NDArray[np.uint8]]]:
    """Return the faces of a picture and what the model takes of each.

    Raises:
        PictureError: The picture cannot be read.
    """
    size, channels = model.info.image_size, model.info.channels
    with opened_picture(file) as picture:
        if finder is None:
            return [None], [whole_image(picture, image_size=size, channels=channels)]
        pixels = to_rgb(picture)
    faces = finder.find(pixels)
    return list(faces), [
        face_image(pixels, face, image_size=size, channels=channels) for face in faces
    ]


def _answered(
    model: Predictor,
    waiting: Sequence[tuple[Path, str, Sequence[Face | None]]],
    images: Sequence[NDArray[np.uint8]],
) -> Iterator[Answer]:
    """Yield the answers to pictures whose faces are ``images``, one after the other."""
    rows = iter(model.probabilities(np.stack(images)) if images else ())
    for file, problem, faces in waiting:
        yield Answer(
            file=file,
            faces=tuple(_answer(face, next(rows), model.info.classes) for face in faces),
            error=problem,
        )


def _answer(face: Face | None, row: NDArray[np.float32], classes: Sequence[str]) -> FaceAnswer:
    order = np.argsort(-row, kind="stable")
    return FaceAnswer(
        box=None if face is None else face.box,
        label=classes[int(order[0])],
        probabilities={classes[int(index)]: float(row[index]) for index in order},
    )
