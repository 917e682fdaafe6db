"""Images before they are decoded: arrays from a csv, or encoded files, seen in the same way."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fersearch.data.decoding import DECODE_ERRORS, PictureError, decode_reason, to_rgb, to_square

__all__ = [
    "Box",
    "ByteSource",
    "EncodedPictures",
    "Glance",
    "PictureError",
    "Pictures",
    "PixelPictures",
]

Box = tuple[int, int, int, int]

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})


class ByteSource(Protocol):
    """Named bytes, usually a :class:`~fersearch.data.tree.Tree`."""

    def read(self, name: str) -> bytes:
        """Return the bytes under a name, or raise OSError."""
        ...

    def peek(self, name: str) -> bytes:
        """Return the bytes under a name that will soon be read again, or raise OSError."""
        ...


@dataclass(frozen=True, slots=True)
class Glance:
    """What is known of an image without decoding its pixels.

    Attributes:
        digest: SHA-256 of its bytes.
        width: Width in pixels.
        height: Height in pixels.
        colour: True unless it is stored as a grey image.
    """

    digest: bytes
    width: int
    height: int
    colour: bool


class Pictures(Protocol):
    """A sequence of images that can be named, looked at, decoded and picked from."""

    @property
    def names(self) -> Sequence[str]:
        """How messages name each image."""
        ...

    def take(self, indices: NDArray[np.int64]) -> Pictures:
        """Return the images at ``indices``, in that order."""
        ...

    def glance(self, index: int) -> Glance:
        """Look at one image.

        Raises:
            PictureError: It cannot be read.
        """
        ...

    def decode(self, index: int, *, image_size: int, channels: int) -> NDArray[np.uint8]:
        """Return one image as channels x image_size x image_size.

        Raises:
            PictureError: It cannot be read.
        """
        ...

    def whole(self, index: int) -> NDArray[np.uint8]:
        """Return one image at its own size: (H, W) where it is stored in grey, else (H, W, 3).

        Raises:
            PictureError: It cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class PixelPictures:
    """Grey images that are already decoded.

    Attributes:
        pixels: uint8, N x H x W.
        names: How messages name each image.
    """

    pixels: NDArray[np.uint8]
    names: Sequence[str]

    def take(self, indices: NDArray[np.int64]) -> PixelPictures:
        """Return the images at ``indices``, in that order."""
        return PixelPictures(self.pixels[indices], tuple(self.names[i] for i in indices))

    def glance(self, index: int) -> Glance:
        """Look at one image."""
        image = self.pixels[index]
        height, width = image.shape
        return Glance(hashlib.sha256(image.tobytes()).digest(), width, height, colour=False)

    def decode(self, index: int, *, image_size: int, channels: int) -> NDArray[np.uint8]:
        """Return one image as channels x image_size x image_size."""
        image = Image.fromarray(self.pixels[index])
        return to_square(image, image_size=image_size, channels=channels)

    def whole(self, index: int) -> NDArray[np.uint8]:
        """Return one image, (H, W)."""
        image: NDArray[np.uint8] = self.pixels[index]
        return image


@dataclass(frozen=True, slots=True)
class EncodedPictures:
    """Image files in a folder or an archive.

    Attributes:
        source: Where the bytes come from.
        names: Names of the files, as the source takes them and as messages show them.
        boxes: Part of each image to keep (left, top, right, bottom in pixels); None for all of it.
    """

    source: ByteSource
    names: Sequence[str]
    boxes: Sequence[Box | None] | None = None

    def take(self, indices: NDArray[np.int64]) -> EncodedPictures:
        """Return the images at ``indices``, in that order."""
        boxes = None if self.boxes is None else tuple(self.boxes[i] for i in indices)
        return EncodedPictures(self.source, tuple(self.names[i] for i in indices), boxes)

    def glance(self, index: int) -> Glance:
        """Look at one image.

        Raises:
            PictureError: It is missing, empty or not an image.
        """
        content = self._bytes(index, self.source.peek)
        box = None if self.boxes is None else self.boxes[index]
        try:
            with Image.open(io.BytesIO(content)) as image:
                width, height = image.size if box is None else (box[2] - box[0], box[3] - box[1])
                colour = image.mode not in GREY_MODES
        except DECODE_ERRORS as error:
            raise PictureError(decode_reason(error)) from error
        total = hashlib.sha256(content)
        total.update(repr(box).encode())
        return Glance(total.digest(), width, height, colour)

    def decode(self, index: int, *, image_size: int, channels: int) -> NDArray[np.uint8]:
        """Return one image as channels x image_size x image_size, upright by its EXIF orientation.

        Raises:
            PictureError: It is missing, empty, truncated or not an image.
        """
        return self._opened(
            index, lambda image: to_square(image, image_size=image_size, channels=channels)
        )

    def whole(self, index: int) -> NDArray[np.uint8]:
        """Return one image at its own size, (H, W) or (H, W, 3), upright by its EXIF orientation.

        Raises:
            PictureError: It is missing, empty, truncated or not an image.
        """
        return self._opened(index, _own_size)

    def _opened(
        self, index: int, use: Callable[[Image.Image], NDArray[np.uint8]]
    ) -> NDArray[np.uint8]:
        """Open one image, turn it upright, keep its box, and return what ``use`` makes of it."""
        content = self._bytes(index, self.source.read)
        box = None if self.boxes is None else self.boxes[index]
        try:
            with Image.open(io.BytesIO(content)) as opened:
                image = ImageOps.exif_transpose(opened)
                if box is not None and box != (0, 0, *image.size):
                    image = image.crop(box)
                return use(image)
        except DECODE_ERRORS as error:
            raise PictureError(decode_reason(error)) from error

    def _bytes(self, index: int, read: Callable[[str], bytes]) -> bytes:
        try:
            content = read(self.names[index])
        except FileNotFoundError as error:
            raise PictureError("missing") from error
        except OSError as error:
            raise PictureError(error.strerror or str(error)) from error
        if not content:
            raise PictureError("size 0")
        return content


def _own_size(image: Image.Image) -> NDArray[np.uint8]:
    pixels = to_rgb(image)
    return pixels[:, :, 0] if image.mode in GREY_MODES else pixels
