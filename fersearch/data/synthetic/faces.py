"""The synthetic data set: three splits of drawn faces, a pure function of their options."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fersearch.data.classes import CLASS_ORDER
from fersearch.data.synthetic.action_units import Expressions, draw_expressions
from fersearch.data.synthetic.difficulty import Difficulty
from fersearch.data.synthetic.draws import Draws
from fersearch.data.synthetic.landmarks import place_landmarks
from fersearch.data.synthetic.options import SyntheticOptions
from fersearch.data.synthetic.people import draw_camera, draw_identity
from fersearch.data.synthetic.render import Scene, render
from fersearch.seeds import derive_seed

__all__ = ["RENDERER_VERSION", "SyntheticFaces", "SyntheticSplit", "draw_scene", "make"]

RENDERER_VERSION = 1
"""Counts the changes that make the same options give other pixels; part of any cache key."""


@dataclass(frozen=True, slots=True)
class SyntheticSplit:
    """The faces of one split.

    Attributes:
        images: Grey images, uint8, shape (faces, 1, S, S).
        labels: Index into ``CLASS_ORDER``, int64, shape (faces,).
        intensities: Intensity of the expression, 0.15 to 1, and 0 for neutral; float32, (faces,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    intensities: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SyntheticFaces:
    """A data set of drawings; accuracies on it say nothing about photographs of people."""

    train: SyntheticSplit
    val: SyntheticSplit
    test: SyntheticSplit
    classes: tuple[str, ...] = CLASS_ORDER


def make(options: SyntheticOptions, *, batch_size: int = 128) -> SyntheticFaces:
    """Draw the data set that the options describe.

    Face ``i`` of a split depends on the seed, the split's name, ``i``, the image size and the
    difficulty alone: a longer split starts with the faces of a shorter one, and ``batch_size``
    changes nothing but speed.

    Args:
        options: What to draw.
        batch_size: Faces painted at once.
    """
    train, val, test = (_make_split(options, name, batch_size) for name in ("train", "val", "test"))
    return SyntheticFaces(train=train, val=val, test=test)


def draw_scene(options: SyntheticOptions, split: str, count: int) -> tuple[Expressions, Scene]:
    """Draw expressions, people and cameras of the first ``count`` faces of a split, unpainted."""
    difficulty = Difficulty.at(options.difficulty)
    draws = Draws(count, options.seed, split)
    expressions = draw_expressions(draws, difficulty)
    identity = draw_identity(draws, difficulty)
    landmarks = place_landmarks(identity, expressions.units)
    return expressions, Scene(identity, landmarks, draw_camera(draws, difficulty))


def _make_split(options: SyntheticOptions, split: str, batch_size: int) -> SyntheticSplit:
    expressions, scene = draw_scene(options, split, getattr(options, split))
    noise = np.random.default_rng(derive_seed(options.seed, "synthetic", split, "noise"))
    images = render(scene, image_size=options.image_size, noise=noise, batch_size=batch_size)
    return SyntheticSplit(images, expressions.labels, expressions.intensities)
