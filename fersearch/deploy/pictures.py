"""Pictures of users: which files are meant, how they are opened safely, what the model sees."""

from __future__ import annotations

import glob
import io
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fersearch.align.faces import Face
from fersearch.data.decoding import DECODE_ERRORS, PictureError, decode_reason, to_square
from fersearch.data.tree import is_image

__all__ = [
    "FORMATS",
    "MOST_PIXELS",
    "Chosen",
    "choose_files",
    "face_image",
    "opened_picture",
    "whole_image",
]

# Of photographs and drawings alone: for others, Pillow starts programs or uses little tested code.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
ANIMATED = frozenset({".gif"})  # no training image is one, but people have them
# About 0.5 GB while one picture is decoded, turned upright and converted.
MOST_PIXELS = 64_000_000
_WARNINGS = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The files that a user means.

    Attributes:
        files: Each with the reason why it cannot be used, empty for those to be read; in the order
            given, the files of a folder or pattern sorted, none twice.
        skipped: Files of folders and patterns that are not images by their suffix.
    """

    files: tuple[tuple[Path, str], ...]
    skipped: tuple[Path, ...]


def choose_files(arguments: Sequence[str | Path]) -> Chosen:
    """Return the files that arguments name: files, folders with all below them, patterns.

    A path that exists is taken as it is written, even with a star in it. A file named as such is
    taken whatever its suffix.
    """
    files: dict[Path, str] = {}
    skipped: dict[Path, None] = {}
    for argument in arguments:
        path = Path(argument).expanduser()
        if not str(argument):  # an unset variable of a shell, which a path takes for this folder
            files.setdefault(path, "an empty name")
            continue
        pattern = glob.has_magic(str(argument)) and not os.path.lexists(path)
        if pattern:
            found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
            inside = [file for item in found for file in _below(item)]
        elif path.is_dir():
            inside = _below(path)
        else:
            files.setdefault(path, "" if path.exists() else "missing")
            continue
        usable = {file: _is_picture(file) for file in inside}
        images = [file for file, good in usable.items() if good]
        skipped.update(dict.fromkeys(file for file, good in usable.items() if not good))
        if not images:
            files.setdefault(path, "no file matches" if pattern and not inside else "no images")
        for file in images:
            files.setdefault(file, "")
    return Chosen(files=tuple(files.items()), skipped=tuple(skipped))


def _below(path: Path) -> list[Path]:
    """Return a file itself, or all files in and below a folder, sorted; links are not followed."""
    if not path.is_dir():
        return [path]
    return sorted(Path(folder) / name for folder, _, names in os.walk(path) for name in names)


def _is_picture(file: Path) -> bool:
    named = is_image(file.name) or file.suffix.casefold() in ANIMATED
    return named and not file.name.startswith(".")


@contextmanager
def opened_picture(source: Path | bytes) -> Iterator[Image.Image]:
    """Open a picture, upright by its EXIF orientation; of an animation the first image.

    Its pixels are decoded in here, at most 64 million of them.

    Args:
        source: A file, or a file's bytes.

    Raises:
        PictureError: It is missing, empty, truncated, too large or not an image; also for errors
            of Pillow in the body of the ``with`` statement, where lazy decoding happens.
    """
    if isinstance(source, Path) and not source.is_file():
        raise PictureError("not a file" if source.exists() else "missing")
    if not (len(source) if isinstance(source, bytes) else source.stat().st_size):
        raise PictureError("size 0")
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with _open(file) as image:
            _check_size(image)
            yield ImageOps.exif_transpose(image)
    except Image.DecompressionBombError as error:
        raise PictureError(_too_large()) from error
    except PermissionError as error:
        raise PictureError(error.strerror or "not readable") from error
    except DECODE_ERRORS as error:
        raise PictureError(decode_reason(error)) from error


def _open(file: Path | io.BytesIO) -> Image.Image:
    """Read a picture's header, without Pillow's warning about sizes: the limit here is lower."""
    with _WARNINGS, warnings.catch_warnings():  # which filters are on is of the whole process
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=FORMATS)


def whole_image(picture: Image.Image, *, image_size: int, channels: int) -> NDArray[np.uint8]:
    """Return a picture of one cropped face as the model takes it: what training does with a file.

    Returns:
        uint8 ``(image_size, image_size, channels)``.
    """
    square = to_square(picture, image_size=image_size, channels=channels)
    return np.ascontiguousarray(np.moveaxis(square, 0, 2))


def face_image(
    picture: NDArray[np.uint8], face: Face, *, image_size: int, channels: int
) -> NDArray[np.uint8]:
    """Return a face that was found in a picture as the model takes it: aligned, then grey if need.

    Args:
        picture: uint8 ``(H, W, 3)``, RGB.
        face: Where the face is.
        image_size: Height and width in pixels.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        uint8 ``(image_size, image_size, channels)``.

    Raises:
        InputError: What aligns faces is not installed.
    """
    from fersearch.align import align_face

    aligned = align_face(picture, face, size=image_size)
    return whole_image(Image.fromarray(aligned), image_size=image_size, channels=channels)


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise PictureError(f"{width} x {height}: {_too_large()}")


def _too_large() -> str:
    return f"more than {MOST_PIXELS // 1_000_000} million pixels, shrink it first"
