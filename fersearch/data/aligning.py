"""Aligned pictures of one split, written one by one, so that an interrupted run is continued.

What was found in a picture is noted in the PNG file that is written for it: a file that is there is
finished, and says all that the count needs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fersearch.align import FaceFinder, align_face
from fersearch.data.pictures import PictureError, Pictures
from fersearch.data.readers.base import RawSplit
from fersearch.data.survey import in_parallel
from fersearch.data.tree import is_image
from fersearch.errors import FersearchError
from fersearch.files import ensure_folder

__all__ = ["Outcome", "SplitAlignment", "align_split", "tally"]

CHUNK = 8  # pictures a thread takes at a time: a large photograph takes a good part of a second
EYES, BOX, NO_FACE = "eyes", "box", "no_face"
NOTE = "fersearch"  # keyword of the text in the PNG file


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAlignment:
    """What was found in the pictures of one split.

    Attributes:
        images: Pictures that were written: the sum of the next three.
        eyes: Those with a face and its pair of eyes.
        box_only: Those with a face but no plausible pair of eyes.
        no_face: Those in which no face was found, written as they are in the new size.
        several_faces: Those in which more than one face was found; the largest was taken.
        no_face_names: The names of those without a face, as the data set names them.
    """

    images: int
    eyes: int
    box_only: int
    no_face: int
    several_faces: int
    no_face_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One picture: ``how`` it was aligned and how many faces it has, or why it is broken."""

    how: str = ""
    faces: int = 0
    broken: str = ""


def _paths(folder: Path, part: RawSplit, classes: tuple[str, ...]) -> list[Path]:
    """Return where each picture goes: numbered, so that files sort as the data set orders them.

    The order matters: splits that are made by a seed depend on it.
    """
    digits = len(str(len(part)))
    paths = []
    for at, (name, label) in enumerate(zip(part.pictures.names, part.labels, strict=True)):
        base = name.rpartition("/")[2]
        stem = base.rpartition(".")[0] if is_image(base) else base
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:60]
        paths.append(folder / classes[label] / f"{at:0{digits}}_{plain}.png")
    for parent in {path.parent for path in paths}:
        ensure_folder(parent)
    return paths


def align_split(
    part: RawSplit,
    folder: Path,
    *,
    classes: tuple[str, ...],
    finder: FaceFinder,
    size: int,
    done: Callable[[int], None],
) -> list[Outcome]:
    """Write the largest face of every picture, or the whole picture where no face is found.

    Args:
        part: The pictures and their labels.
        folder: Gets a folder a class; pictures that are there already are kept.
        classes: Names of the classes.
        finder: What finds the faces; used from several threads.
        size: Side of the written pictures in pixels.
        done: Called with the number of pictures finished since the last call.

    Returns:
        What was found, picture by picture, in the order of ``part``.

    Raises:
        FersearchError: A picture cannot be written.
    """
    paths = _paths(folder, part, classes)

    def work(index: int) -> Outcome:
        known = _known(paths[index])
        if known is not None:
            return known
        try:
            pixels, outcome = _aligned(part.pictures, index, finder, size=size)
        except PictureError as error:
            return Outcome(broken=str(error))
        _save(paths[index], pixels, outcome)
        return outcome

    return in_parallel(len(paths), work, done, chunk_size=CHUNK)


def _aligned(
    pictures: Pictures, index: int, finder: FaceFinder, *, size: int
) -> tuple[NDArray[np.uint8], Outcome]:
    """Return one picture's largest face, grey where the picture is, and what was found."""
    picture = pictures.whole(index)
    grey = picture.ndim == 2
    colour = np.repeat(picture[:, :, None], 3, axis=2) if grey else picture
    faces = finder.find(colour)
    if not faces:
        plain = pictures.decode(index, image_size=size, channels=1 if grey else 3)
        return plain[0] if grey else np.moveaxis(plain, 0, 2), Outcome(NO_FACE)
    crop = align_face(colour, faces[0], size=size)
    how = BOX if faces[0].left_eye is None else EYES
    return crop[:, :, 0] if grey else crop, Outcome(how, len(faces))


def _save(path: Path, pixels: NDArray[np.uint8], outcome: Outcome) -> None:
    note = PngInfo()
    note.add_text(NOTE, f"{outcome.how} {outcome.faces}")
    part = path.with_suffix(".part")
    try:
        Image.fromarray(pixels).save(part, "PNG", pnginfo=note)
        part.replace(path)
    except OSError as error:
        raise FersearchError(f"cannot write {path}: {error.strerror or error}") from error


def _known(path: Path) -> Outcome | None:
    """Return what an earlier run found in a picture that it finished; None where it did not."""
    try:
        with Image.open(path) as image:
            how, _, faces = str(image.info[NOTE]).partition(" ")
            return Outcome(how, int(faces))
    except (OSError, KeyError, ValueError):
        return None  # not there, or damaged with the machine: it is written again


def tally(pictures: Pictures, outcomes: list[Outcome]) -> SplitAlignment:
    """Count what was found in a split's pictures."""
    counts = Counter(outcome.how for outcome in outcomes if not outcome.broken)
    return SplitAlignment(
        images=counts.total(),
        eyes=counts[EYES],
        box_only=counts[BOX],
        no_face=counts[NO_FACE],
        several_faces=sum(outcome.faces > 1 for outcome in outcomes),
        no_face_names=tuple(
            name
            for name, outcome in zip(pictures.names, outcomes, strict=True)
            if outcome.how == NO_FACE
        ),
    )
