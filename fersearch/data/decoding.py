"""From an opened image file to pixels: the same steps for training and for a deployed model."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

__all__ = ["DECODE_ERRORS", "PictureError", "decode_reason", "to_rgb", "to_square"]

# What Pillow raises for files that are not whole images.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)

MOST_16_BITS = 65535


class PictureError(Exception):
    """One image cannot be read; the text is the reason."""


def to_square(image: Image.Image, *, image_size: int, channels: int) -> NDArray[np.uint8]:
    """Convert, then resize to a square (bilinear, antialiased); the aspect is not kept.

    Args:
        image: An opened image, of any mode.
        image_size: Height and width in pixels.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        uint8 ``(channels, image_size, image_size)``.

    Raises:
        PictureError: Its pixels have no known range, see :func:`to_rgb`.
    """
    image = _eight_bits(image).convert("L" if channels == 1 else "RGB")
    if image.size != (image_size, image_size):
        side = (image_size, image_size)
        image = image.resize(side, Image.Resampling.BILINEAR, reducing_gap=3.0)
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if channels == 1 else np.moveaxis(array, 2, 0)


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return an opened image of any mode at its own size, uint8 ``(H, W, 3)``.

    Raises:
        PictureError: Its pixels have no known range: floating point, or integers of 32 bits that
            do not fit into 16.
    """
    return np.array(_eight_bits(image).convert("RGB"), dtype=np.uint8)


def decode_reason(error: Exception) -> str:
    """Return in a few words why an image cannot be read."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    text = str(error) or type(error).__name__
    return "truncated" if "truncated" in text.casefold() else text.split("\n")[0]


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits to 8: Pillow's own conversion would clip. Lab becomes RGB.

    Raises:
        PictureError: The pixels have no known range.
    """
    if image.mode == "LAB":
        return image.convert("RGB")  # Pillow knows no way from Lab to grey
    if image.mode == "F":
        raise PictureError("floating-point pixels of unknown range, save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    wide = np.asarray(image, dtype=np.float64)
    if wide.min() < 0 or wide.max() > MOST_16_BITS:
        raise PictureError("32-bit pixels of unknown range, save it with 8 or 16 bits")
    return Image.fromarray((wide / 257 + 0.5).astype(np.uint8))
