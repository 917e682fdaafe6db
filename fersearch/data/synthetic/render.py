"""The renderer: batches of faces from landmarks, people and cameras to uint8 images."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fersearch.data.synthetic.features import (
    paint_brows,
    paint_eyes,
    paint_glasses,
    paint_lines,
    paint_mouth,
    paint_nose,
)
from fersearch.data.synthetic.frame import Frame, frame_of, per_face
from fersearch.data.synthetic.head import paint_fringe, paint_head
from fersearch.data.synthetic.landmarks import Landmarks
from fersearch.data.synthetic.people import Camera, Identity
from fersearch.data.synthetic.shapes import coverage, paint, rounded_box

__all__ = ["Scene", "render"]

Record = TypeVar("Record", Identity, Landmarks, Camera)

_REFERENCE_SIZE = 48  # blur is stated in pixels of an image of this size
_WIDEST_BLUR = 1.2  # of those pixels; decides how many taps the blur needs


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that decides how a number of faces look, but for the pixel noise."""

    identity: Identity
    landmarks: Landmarks
    camera: Camera

    def __len__(self) -> int:
        return len(self.identity.skin)

    def rows(self, start: int, stop: int) -> Scene:
        """Return the faces from ``start`` up to ``stop``."""
        return Scene(
            _rows(self.identity, start, stop),
            _rows(self.landmarks, start, stop),
            _rows(self.camera, start, stop),
        )


def render(
    scene: Scene, *, image_size: int, noise: np.random.Generator, batch_size: int = 128
) -> NDArray[np.uint8]:
    """Paint all faces of a scene.

    Args:
        scene: The faces.
        image_size: Side of the images in pixels.
        noise: Source of the pixel noise, read face by face.
        batch_size: Faces painted at once; it decides speed and memory, never a pixel.

    Returns:
        Grey images, uint8, shape (faces, 1, image_size, image_size).
    """
    images = np.empty((len(scene), 1, image_size, image_size), dtype=np.uint8)
    for start in range(0, len(scene), batch_size):
        part = scene.rows(start, min(start + batch_size, len(scene)))
        grain = noise.standard_normal((len(part), image_size, image_size), dtype=np.float32)
        images[start : start + len(part), 0] = _render_batch(part, torch.from_numpy(grain)).numpy()
    return images


@torch.no_grad()
def _render_batch(scene: Scene, grain: Tensor) -> Tensor:
    """Return uint8 images (faces, S, S) with the given unit-variance noise."""
    identity, marks, camera = scene.identity, scene.landmarks, scene.camera
    frame = frame_of(camera, grain.shape[-1])
    image = paint_head(frame, identity, marks, camera)
    paint_lines(frame, identity, marks, image)
    paint_nose(frame, identity, marks, image)
    paint_mouth(frame, identity, marks, image)
    paint_eyes(frame, identity, marks, camera, image)
    paint_brows(frame, identity, marks, image)
    paint_fringe(frame, identity, image)
    paint_glasses(frame, identity, image)
    _paint_patch(frame, camera, image)
    return _photograph(frame, camera, image, grain)


def _paint_patch(frame: Frame, camera: Camera, image: Tensor) -> None:
    """Hide part of some faces behind a turned box, in place."""
    x, y, width, height, cosine, sine, tone = (
        per_face(camera.patch_box[:, column]) for column in range(7)
    )
    off_x, off_y = frame.plane_x - x, frame.plane_y - y
    turned_x, turned_y = cosine * off_x + sine * off_y, cosine * off_y - sine * off_x
    cover = coverage(rounded_box(turned_x, turned_y, width, height, 0.05), frame.pixel)
    paint(image, per_face(camera.patch) * cover, tone)


def _photograph(frame: Frame, camera: Camera, image: Tensor, grain: Tensor) -> Tensor:
    """Apply the lighting gradient, contrast, blur and noise, and round to 256 grey levels."""
    slope = (
        per_face(camera.gradient_x) * frame.plane_x + per_face(camera.gradient_y) * frame.plane_y
    )
    image = image * (1.0 + slope)
    image = (image - 0.5) * per_face(camera.contrast) + (0.5 + per_face(camera.brightness))
    image = _blurred(image, camera.blur)
    image = image + per_face(camera.noise) * grain
    return (image.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)


def _blurred(image: Tensor, deviation: NDArray[np.float64]) -> Tensor:
    """Blur each image with its own Gaussian, sampled at whole pixels, edges repeated."""
    pixels = image.shape[-1] / _REFERENCE_SIZE
    reach = max(1, round(2.0 * _WIDEST_BLUR * pixels))
    offsets = np.arange(-reach, reach + 1)
    spread = np.maximum(deviation * pixels, 0.05)[:, None]
    weights = np.exp(-0.5 * (offsets / spread) ** 2)
    taps = torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))
    for axis in (1, 2):
        first, last = image.narrow(axis, 0, 1), image.narrow(axis, image.shape[axis] - 1, 1)
        padded = torch.cat([first] * reach + [image] + [last] * reach, dim=axis)
        total = torch.zeros_like(image)
        for tap in range(2 * reach + 1):
            total += taps[:, tap, None, None] * padded.narrow(axis, tap, image.shape[axis])
        image = total
    return image


def _rows(record: Record, start: int, stop: int) -> Record:
    """Return a record of arrays cut to some of its faces."""
    return type(record)(**{f.name: getattr(record, f.name)[start:stop] for f in fields(record)})
