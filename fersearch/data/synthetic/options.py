"""The options of the synthetic data set and the text that users write for them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from fersearch.data.synthetic.difficulty import DIFFICULTIES, parse_difficulty
from fersearch.errors import InputError, suggestion

__all__ = ["SyntheticOptions", "parse_options"]

_MOST_FACES = 1_000_000
_SMALLEST_IMAGE, _LARGEST_IMAGE = 16, 512


@dataclass(frozen=True, slots=True)
class SyntheticOptions:
    """What to draw: how many faces a split, from which seed, at which size and difficulty.

    Attributes:
        train: Faces in the training split, at least 8 (one a class).
        val: Faces in the validation split, at least 8.
        test: Faces in the test split, at least 8.
        seed: Seed of everything random, 0 or more.
        image_size: Side of the square images in pixels, 16 to 512.
        difficulty: Position of the dial between 0 (clean) and 1 (heavy nuisance).

    Raises:
        InputError: A value is outside its range.
    """

    train: int = 2400
    val: int = 800
    test: int = 2000
    seed: int = 0
    image_size: int = 48
    difficulty: float = DIFFICULTIES["default"]

    def __post_init__(self) -> None:
        for split in ("train", "val", "test"):
            _check(f"{split} faces", getattr(self, split), 8, _MOST_FACES)
        _check("seed", self.seed, 0, 2**63 - 1)
        _check("image_size", self.image_size, _SMALLEST_IMAGE, _LARGEST_IMAGE)
        _check("difficulty", self.difficulty, 0.0, 1.0)

    @property
    def text(self) -> str:
        """All options as the text that :func:`parse_options` reads, defaults included."""
        return ",".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))


def parse_options(text: str, image_size: int | None = None) -> SyntheticOptions:
    """Read ``key=value`` pairs separated by commas, as in ``synthetic:train=4000,seed=0``.

    Args:
        text: The pairs; empty for the defaults.
        image_size: Side of the images in pixels asked for elsewhere; ``None`` for no such wish.

    >>> parse_options("train=4000,difficulty=hard").train
    4000

    Raises:
        InputError: A key is unknown or repeated, a value cannot be read or is outside its range,
            or ``image_size`` contradicts the text.
    """
    known = [field.name for field in fields(SyntheticOptions)]
    values: dict[str, Any] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if key not in known:
            hint = suggestion(key, known)
            raise InputError(f"synthetic faces have no option {key!r} (in {text!r})", hint)
        if not equals or not value:
            raise InputError(
                f"the option {key!r} of the synthetic faces has no value", f"write {key}=VALUE"
            )
        if key in values:
            raise InputError(f"the option {key!r} of the synthetic faces is given twice")
        values[key] = parse_difficulty(value) if key == "difficulty" else _whole(key, value)
    options = replace(SyntheticOptions(), **values)
    if image_size is None or image_size == options.image_size:
        return options
    if "image_size" in values:
        raise InputError(
            f"image size is {image_size} in one place and {options.image_size} in the data options",
            "give it once",
        )
    return replace(options, image_size=image_size)


def _whole(key: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InputError(
            f"the option {key!r} of the synthetic faces must be a whole number but is {value!r}"
        ) from None


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(
            f"{name} of the synthetic faces must be between {low:g} and {high:g} but is {value:g}"
        )
