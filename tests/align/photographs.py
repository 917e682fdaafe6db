"""A real photograph with a face: NASA's portrait of Eileen Collins, which scikit-image ships.

It is in the public domain, lies in the installed package and is read without network access.
"""

import math

import numpy as np
from PIL import Image
from skimage import data

# Read off the picture by eye, in its 512 x 512 pixels.
LEFT_EYE, RIGHT_EYE = (203.5, 101.5), (247.0, 103.3)
EYE_DISTANCE = math.dist(LEFT_EYE, RIGHT_EYE)


def astronaut() -> np.ndarray:
    """Return the photograph, uint8 (512, 512, 3)."""
    return data.astronaut()


def texture() -> np.ndarray:
    """Return a photograph of bricks, without a face: uint8 (512, 512, 3)."""
    return np.repeat(data.brick()[:, :, None], 3, axis=2)


def head(side: int) -> np.ndarray:
    """Return the head and some background, brought to side x side pixels."""
    return resized(astronaut()[10:250, 105:345], side)


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """Return a square picture in another size."""
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def rotated(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Return a picture turned counter-clockwise about its centre, in its own size."""
    return np.asarray(Image.fromarray(picture).rotate(degrees, Image.Resampling.BICUBIC))


def rotated_point(
    point: tuple[float, float], degrees: float, side: float = 512
) -> tuple[float, float]:
    """Return where ``rotated`` brings a point; y points down."""
    x, y = point[0] - side / 2, point[1] - side / 2
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return c * x + s * y + side / 2, -s * x + c * y + side / 2
