"""The canvas that a batch of faces is painted on: pixels in each face's own coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fersearch.data.synthetic.people import Camera

__all__ = ["Frame", "frame_of", "per_face"]


@dataclass(frozen=True, slots=True)
class Frame:
    """Coordinates of every pixel in the faces' own systems; tensors float32, (faces, S, S).

    Attributes:
        x: To the right of the middle line, in face units.
        y: Downwards from the origin between the eyes and the nose.
        out: Distance from the middle line, the absolute value of ``x``.
        right: 1 in the right half of the image, 0 in the left.
        pixel: Side of a pixel in face units, (faces, 1, 1).
        plane_x: Horizontal position in the image, -1 to 1, (1, 1, S).
        plane_y: Vertical position in the image, -1 to 1, (1, S, 1).
    """

    x: Tensor
    y: Tensor
    out: Tensor
    right: Tensor
    pixel: Tensor
    plane_x: Tensor
    plane_y: Tensor

    def sides(self, values: NDArray[np.float64]) -> Tensor:
        """Spread a (faces, 2) array over the two halves of the faces: (faces, S, S)."""
        both = torch.from_numpy(values.astype(np.float32))
        left, right = both[:, 0, None, None], both[:, 1, None, None]
        return torch.where(self.right > 0.5, right, left)


def per_face(values: NDArray[np.float64]) -> Tensor:
    """Return one number per face as float32 of shape (faces, 1, 1)."""
    return torch.from_numpy(values.astype(np.float32))[:, None, None]


def frame_of(camera: Camera, image_size: int) -> Frame:
    """Undo shift, roll, scale and yaw for every pixel of ``image_size`` x ``image_size`` images.

    The turn of the head moves the middle of the face and leaves its outline where it is, as the
    projection of a rounded surface does.
    """
    line = (torch.arange(image_size, dtype=torch.float32) + 0.5) * (2.0 / image_size) - 1.0
    plane_x, plane_y = line[None, None, :], line[None, :, None]
    from_x, from_y = plane_x - per_face(camera.shift_x), plane_y - per_face(camera.shift_y)
    cosine, sine = per_face(camera.cosine), per_face(camera.sine)
    x = cosine * from_x + sine * from_y
    y = cosine * from_y - sine * from_x
    depth = (1.0 - x * x * 1.4 - y * y * 0.4).clamp(min=0.0)
    x = x - per_face(camera.yaw) * depth
    return Frame(
        x=x,
        y=y,
        out=x.abs(),
        right=(x > 0.0).to(torch.float32),
        pixel=per_face(2.0 / (image_size * camera.scale)),
        plane_x=plane_x,
        plane_y=plane_y,
    )
