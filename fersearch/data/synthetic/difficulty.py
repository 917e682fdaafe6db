"""How hard the drawn faces are: one dial from clean drawings to heavy nuisance."""

from __future__ import annotations

from dataclasses import dataclass, fields

from fersearch.errors import InputError, suggestion

__all__ = ["DIFFICULTIES", "Difficulty", "parse_difficulty"]

DIFFICULTIES: dict[str, float] = {"easy": 0.0, "default": 0.1, "hard": 0.3}
"""The named positions of the dial; ``default`` is measured in docs/synthetic.md."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The spreads that the dial moves, each linear between its value at 0 and at 1.

    Lengths are in face units (half the image's width when the face is at scale 1), angles in
    degrees, tones and noise on a grey scale from 0 (black) to 1 (white).

    Attributes:
        identity_spread: Factor on how much people differ at rest.
        unit_jitter: Relative spread of each action unit around the face's intensity.
        unit_dropout: Probability that a unit of the prototype is missing.
        stray_probability: Probability of each unit outside the prototype to be active.
        stray_strength: Highest intensity of such a stray unit.
        roll: Largest in-plane rotation, degrees.
        scale: Largest relative change of size.
        shift: Largest displacement along each axis.
        yaw: Largest turn of the head, as the displacement of the face's middle.
        light: Strength of shading and of lighting gradients.
        contrast: Largest relative loss of contrast.
        blur: Largest standard deviation of the blur, in pixels of a 48-pixel image.
        noise: Largest standard deviation of the pixel noise.
        occlusion: Probability that a patch hides part of the face.
    """

    identity_spread: float
    unit_jitter: float
    unit_dropout: float
    stray_probability: float
    stray_strength: float
    roll: float
    scale: float
    shift: float
    yaw: float
    light: float
    contrast: float
    blur: float
    noise: float
    occlusion: float

    @classmethod
    def at(cls, position: float) -> Difficulty:
        """Return the spreads at a position of the dial, 0 (clean) to 1 (heavy).

        >>> Difficulty.at(0.0).noise < Difficulty.at(1.0).noise
        True
        """
        values = {
            field.name: getattr(_CLEAN, field.name)
            + position * (getattr(_HEAVY, field.name) - getattr(_CLEAN, field.name))
            for field in fields(cls)
        }
        return cls(**values)


_CLEAN = Difficulty(
    identity_spread=0.6,
    unit_jitter=0.10,
    unit_dropout=0.0,
    stray_probability=0.02,
    stray_strength=0.2,
    roll=2.0,
    scale=0.03,
    shift=0.02,
    yaw=0.02,
    light=0.3,
    contrast=0.1,
    blur=0.2,
    noise=0.01,
    occlusion=0.0,
)
_HEAVY = Difficulty(
    identity_spread=1.2,
    unit_jitter=0.40,
    unit_dropout=0.15,
    stray_probability=0.25,
    stray_strength=0.6,
    roll=18.0,
    scale=0.15,
    shift=0.12,
    yaw=0.14,
    light=1.0,
    contrast=0.6,
    blur=1.2,
    noise=0.10,
    occlusion=0.4,
)


def parse_difficulty(text: str) -> float:
    """Return the position of the dial that a name or a number between 0 and 1 means.

    >>> parse_difficulty("hard"), parse_difficulty("0.5")
    (0.3, 0.5)

    Raises:
        InputError: The text is neither a known name nor a number between 0 and 1.
    """
    if text in DIFFICULTIES:
        return DIFFICULTIES[text]
    try:
        position = float(text)
    except ValueError:
        raise InputError(
            f"difficulty of the synthetic faces is {text!r}",
            suggestion(text, DIFFICULTIES) or "give a name or a number between 0 and 1",
        ) from None
    return position
