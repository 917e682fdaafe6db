"""From the bytes of a picture to what the networks see, and back to what the page shows."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fersearch.align.faces import Face
from fersearch.data.decoding import DECODE_ERRORS, PictureError, to_rgb
from fersearch.demo.refusal import RefusedError
from fersearch.deploy.pictures import FORMATS, face_image, opened_picture, whole_image

__all__ = ["MOST_PIXELS", "Upload", "cut_out", "decode", "thumbnail"]

# Less than a file on disk may have: a page can send one picture after the other.
MOST_PIXELS = 25_000_000
THUMBNAIL_SIDE = 112
PREVIEW_SIDE = 1280

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Upload:
    """A picture that was decoded.

    Attributes:
        image: As it was stored, upright: grey pictures stay grey.
        pixels: The same in RGB, uint8 ``(H, W, 3)``.
    """

    image: Image.Image
    pixels: Pixels

    def jpeg(self) -> bytes:
        """Return it as a JPEG with sides of at most 1280 pixels."""
        small = Image.fromarray(self.pixels)
        small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
        file = io.BytesIO()
        small.save(file, format="JPEG", quality=88)
        return file.getvalue()


def decode(content: bytes) -> Upload:
    """Decode a picture file; its size is read first, from its header.

    Raises:
        RefusedError: The bytes are no picture, a broken one, or one of too many pixels.
    """
    try:
        _check_size(content)
        with opened_picture(content) as image:
            return Upload(image=image, pixels=to_rgb(image))
    except PictureError as error:
        raise RefusedError(400, f"the picture cannot be read: {error}") from error


def _check_size(content: bytes) -> None:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
    except DECODE_ERRORS:
        return  # what is wrong is said by what opens it next
    if width * height > MOST_PIXELS:
        raise RefusedError(
            413,
            f"the picture has {width} x {height} pixels, more than {MOST_PIXELS // 1_000_000} "
            "million",
        )


def cut_out(upload: Upload, face: Face | None, *, image_size: int, channels: int) -> Pixels:
    """Return a face of a picture as a model takes it, just as ``fersearch predict`` does.

    Args:
        upload: The picture.
        face: Where the face is; None for the whole picture.
        image_size: Height and width in pixels.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        uint8 ``(image_size, image_size, channels)``.
    """
    if face is None:
        return whole_image(upload.image, image_size=image_size, channels=channels)
    return face_image(upload.pixels, face, image_size=image_size, channels=channels)


def thumbnail(image: Pixels) -> Pixels:
    """Return a square image, channels last, with a side of at most 112 pixels."""
    if image.shape[0] <= THUMBNAIL_SIDE:
        return image
    return whole_image(
        Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image),
        image_size=THUMBNAIL_SIDE,
        channels=image.shape[2],
    )
