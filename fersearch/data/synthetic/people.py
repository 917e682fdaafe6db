"""Who is drawn and how the picture was taken: identity, pose, light, camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fersearch.data.synthetic.difficulty import Difficulty
from fersearch.data.synthetic.draws import Draws

__all__ = ["Camera", "Identity", "draw_camera", "draw_identity"]

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Identity:
    """How each person looks at rest; every field float64 of shape (faces,).

    Lengths are in face units (x to the right, y down, the origin between the nose and the eyes,
    half an image wide), tones from 0 (black) to 1 (white).
    """

    head_width: Values
    chin: Values
    jaw: Values
    skin: Values
    hair: Values
    hairline: Values
    hairline_bend: Values
    parting: Values
    hair_length: Values
    brow_tone: Values
    brow_thickness: Values
    brow_height: Values
    brow_tilt: Values
    brow_arch: Values
    eye_distance: Values
    eye_width: Values
    eye_opening: Values
    eye_slant: Values
    iris: Values
    iris_radius: Values
    nose: Values
    nose_width: Values
    mouth: Values
    mouth_width: Values
    mouth_bend: Values
    lip_thickness: Values
    lip_tone: Values
    wrinkles: Values
    beard: Values
    glasses: Values
    glasses_radius: Values


@dataclass(frozen=True, slots=True)
class Camera:
    """Pose, light and picture quality; every field float64, (faces,) unless stated.

    Attributes:
        cosine: Cosine of the roll divided by the scale.
        sine: Sine of the roll divided by the scale.
        scale: Size of the face; at 1 a face unit is half the image.
        shift_x: Displacement to the right, in half image widths.
        shift_y: Displacement downwards, in half image heights.
        yaw: Displacement of the middle of the face when the head turns.
        light_x: Horizontal direction of the light times its strength.
        light_y: Vertical direction of the light times its strength.
        gradient_x: Change of brightness over half the image's width.
        gradient_y: Change of brightness over half the image's height.
        background: Tone of the background.
        background_slope: Change of the background over half the image's width.
        contrast: Factor on the contrast.
        brightness: Added brightness.
        blur: Standard deviation of the blur in pixels of a 48-pixel image.
        noise: Standard deviation of the pixel noise.
        gaze_x: Displacement of the irises to the right.
        gaze_y: Displacement of the irises downwards.
        patch: 1 where a patch hides part of the face, else 0.
        patch_box: Centre x, centre y, half width, half height, cosine and sine of its turn, tone;
            shape (faces, 7).
    """

    cosine: Values
    sine: Values
    scale: Values
    shift_x: Values
    shift_y: Values
    yaw: Values
    light_x: Values
    light_y: Values
    gradient_x: Values
    gradient_y: Values
    background: Values
    background_slope: Values
    contrast: Values
    brightness: Values
    blur: Values
    noise: Values
    gaze_x: Values
    gaze_y: Values
    patch: Values
    patch_box: Values


def draw_identity(draws: Draws, difficulty: Difficulty) -> Identity:
    """Draw one person per face; ``identity_spread`` scales how much they differ in shape."""
    spread = difficulty.identity_spread
    skin = draws.uniform(0.42, 0.88)
    hair = draws.uniform(0.05, 0.55)
    return Identity(
        head_width=draws.bell(0.80, 0.04 * spread),
        chin=draws.bell(0.97, 0.03 * spread),
        jaw=draws.uniform(0.10, 0.34),
        skin=skin,
        hair=hair,
        hairline=draws.bell(-0.80, 0.05 * spread),
        hairline_bend=draws.uniform(0.0, 0.45),
        parting=draws.bell(0.0, 0.12 * spread),
        hair_length=draws.uniform(-0.3, 1.3),
        brow_tone=np.minimum(hair * 0.6 + 0.03, skin - 0.28),
        brow_thickness=draws.bell(0.040, 0.006 * spread),
        brow_height=draws.bell(-0.48, 0.018 * spread),
        brow_tilt=draws.bell(0.0, 0.018 * spread),
        brow_arch=draws.bell(0.040, 0.012 * spread),
        eye_distance=draws.bell(0.37, 0.014 * spread),
        eye_width=draws.bell(0.175, 0.008 * spread),
        eye_opening=draws.bell(0.082, 0.009 * spread),
        eye_slant=draws.bell(0.0, 0.010 * spread),
        iris=draws.uniform(0.05, 0.35),
        iris_radius=draws.bell(0.078, 0.004 * spread),
        nose=draws.bell(0.16, 0.02 * spread),
        nose_width=draws.bell(0.125, 0.014 * spread),
        mouth=draws.bell(0.52, 0.018 * spread),
        mouth_width=draws.bell(0.27, 0.016 * spread),
        mouth_bend=draws.bell(0.0, 0.014 * spread),
        lip_thickness=draws.bell(0.062, 0.009 * spread),
        lip_tone=skin - draws.uniform(0.14, 0.26),
        wrinkles=draws.uniform(0.0, 0.25) * spread,
        beard=draws.chance(0.14) * draws.uniform(0.3, 0.8),
        glasses=draws.chance(0.16),
        glasses_radius=draws.uniform(0.22, 0.26),
    )


def draw_camera(draws: Draws, difficulty: Difficulty) -> Camera:
    """Draw pose, light and picture quality within the spreads of the difficulty."""
    roll = np.deg2rad(difficulty.roll) * draws.uniform(-1.0, 1.0)
    scale = 1.1 + difficulty.scale * draws.uniform(-1.0, 1.0)
    light = 0.30 * difficulty.light
    slope = 0.16 * difficulty.light
    box_turn = draws.uniform(-0.8, 0.8)
    side = np.where(draws.unit(1)[:, 0] < 0.5, -1.0, 1.0)
    return Camera(
        cosine=np.cos(roll) / scale,
        sine=np.sin(roll) / scale,
        scale=scale,
        shift_x=difficulty.shift * draws.uniform(-1.0, 1.0),
        shift_y=difficulty.shift * draws.uniform(-1.0, 1.0),
        yaw=difficulty.yaw * draws.uniform(-1.0, 1.0),
        light_x=light * draws.uniform(-1.0, 1.0),
        light_y=light * draws.uniform(-1.0, 0.3),
        gradient_x=slope * draws.uniform(-1.0, 1.0),
        gradient_y=slope * draws.uniform(-1.0, 1.0),
        background=draws.uniform(0.10, 0.90),
        background_slope=draws.uniform(-0.2, 0.2),
        contrast=1.0 - difficulty.contrast * draws.uniform(0.0, 1.0),
        brightness=0.15 * difficulty.contrast * draws.uniform(-1.0, 1.0),
        blur=difficulty.blur * draws.uniform(0.0, 1.0),
        noise=difficulty.noise * draws.uniform(0.2, 1.0),
        gaze_x=0.05 * draws.uniform(-1.0, 1.0),
        gaze_y=0.015 * draws.uniform(-1.0, 1.0),
        patch=draws.chance(difficulty.occlusion),
        patch_box=np.stack(
            [
                side * draws.uniform(0.25, 0.95),
                draws.uniform(-0.8, 0.9),
                draws.uniform(0.15, 0.40),
                draws.uniform(0.12, 0.35),
                np.cos(box_turn),
                np.sin(box_turn),
                draws.uniform(0.0, 1.0),
            ],
            axis=1,
        ),
    )
