"""Painting what carries the expression: brows, eyes, nose, mouth, lines; and glasses on top."""

from __future__ import annotations

import torch
from torch import Tensor

from fersearch.data.synthetic.frame import Frame, per_face
from fersearch.data.synthetic.landmarks import Landmarks
from fersearch.data.synthetic.people import Camera, Identity
from fersearch.data.synthetic.shapes import (
    band,
    bump,
    capsule,
    coverage,
    ellipse,
    paint,
    stroke,
)

__all__ = ["paint_brows", "paint_eyes", "paint_glasses", "paint_lines", "paint_mouth", "paint_nose"]

_EYE_HEIGHT = -0.24
_FROWN_TOP = (torch.full((1, 1, 1), 0.055), torch.full((1, 1, 1), -0.50))
_FROWN_END = (torch.full((1, 1, 1), 0.070), torch.full((1, 1, 1), -0.33))


def paint_brows(frame: Frame, identity: Identity, marks: Landmarks, image: Tensor) -> None:
    """Paint both brows as two tapering strokes each, in place."""
    eye = per_face(identity.eye_distance)
    thick = per_face(identity.brow_thickness)
    inner = (frame.sides(marks.brow_inner_x), frame.sides(marks.brow_inner_y))
    middle = (eye + 0.05, frame.sides(marks.brow_middle_y))
    outer = (eye + 0.25, frame.sides(marks.brow_outer_y))
    near = capsule(frame.out, frame.y, inner, middle, (thick, thick * 0.9))
    far = capsule(frame.out, frame.y, middle, outer, (thick * 0.9, thick * 0.4))
    cover = coverage(torch.minimum(near, far), frame.pixel)
    paint(image, cover, per_face(identity.brow_tone))


def paint_eyes(
    frame: Frame, identity: Identity, marks: Landmarks, camera: Camera, image: Tensor
) -> None:
    """Paint whites, irises and lids, in place; lids are parabolas over the eye's width."""
    width = per_face(identity.eye_width)
    along = (frame.out - per_face(identity.eye_distance)) / width
    middle = _EYE_HEIGHT - per_face(identity.eye_slant) * along
    arch = (1.0 - along * along).clamp(min=-1.0)
    upper, lower = frame.sides(marks.upper_lid), frame.sides(marks.lower_lid)
    top, bottom = middle - upper * arch, middle + lower * arch
    steep = 2.0 * along.abs().clamp(max=1.0) * upper / width
    opening = coverage(band(frame.y, top, bottom, steep), frame.pixel)
    paint(image, opening, 0.95)

    side = frame.right * 2.0 - 1.0
    gaze = (along * width) - side * per_face(camera.gaze_x)
    down = frame.y - _EYE_HEIGHT - per_face(camera.gaze_y)
    radius = per_face(identity.iris_radius)
    iris = ellipse(gaze, down, radius, radius)
    paint(image, opening * coverage(iris, frame.pixel), per_face(identity.iris))
    paint(image, opening * coverage(iris + radius * 0.55, frame.pixel), 0.02)

    within = ((1.15 - along.abs()) * 4.0).clamp(0.0, 1.0)
    dark = 0.35 * per_face(identity.skin)
    lash = coverage((frame.y - top).abs() - 0.018, frame.pixel) * within
    paint(image, 0.9 * lash, dark)
    rim = stroke(frame.y - bottom, 0.035) * within
    paint(image, 0.35 * rim, dark)


def paint_nose(frame: Frame, identity: Identity, marks: Landmarks, image: Tensor) -> None:
    """Paint nostrils and the wings of the nose, in place; wrinkling lifts and widens them."""
    width = per_face(identity.nose_width)
    height = frame.sides(marks.nostril)
    dark = 0.25 * per_face(identity.skin)
    hole = ellipse(frame.out - 0.55 * width, frame.y - height - 0.04, 0.045, 0.026)
    paint(image, 0.85 * coverage(hole, frame.pixel), dark)
    wing = capsule(
        frame.out,
        frame.y,
        (width + 0.01, height - 0.05),
        (width + 0.015, height + 0.035),
    )
    paint(image, 0.55 * stroke(wing, 0.045), dark)


def paint_mouth(frame: Frame, identity: Identity, marks: Landmarks, image: Tensor) -> None:
    """Paint lips, the opening between them, teeth, and the line where closed lips meet."""
    corner_x, corner_y = frame.sides(marks.corner_x), frame.sides(marks.corner_y)
    upper, lower = frame.sides(marks.upper_lip), frame.sides(marks.lower_lip)
    lips, jaw = frame.sides(marks.lips), frame.sides(marks.jaw_drop)
    along = frame.out / corner_x
    square = along * along
    arch = (1.0 - square).clamp(min=0.0)
    round_ = (jaw * 9.0).clamp(0.0, 1.0)
    bend = square + round_ * (1.0 - arch.sqrt() - square)
    top, bottom = upper + (corner_y - upper) * bend, lower + (corner_y - lower) * bend
    flank = 2.0 * along.clamp(max=1.0) / corner_x
    ends = frame.out - corner_x
    skin, lip = per_face(identity.skin), per_face(identity.lip_tone)

    body = band(frame.y, top - lips * arch, bottom + 1.25 * lips * arch, (corner_y - upper) * flank)
    paint(image, coverage(torch.maximum(body, ends), frame.pixel), lip)

    gap = torch.maximum(band(frame.y, top, bottom, (corner_y - lower) * flank), ends)
    inside = coverage(gap, frame.pixel) * ((lower - upper) * 30.0).clamp(0.0, 1.0)
    paint(image, inside, 0.06)
    teeth = 0.085 - 0.04 * round_
    edge = coverage(torch.maximum(frame.y - top - teeth, ends + 0.03), frame.pixel)
    paint(image, inside * edge, 0.93)
    tongue = bump(frame.out, frame.y - lower, corner_x * 0.8, 0.10)
    paint(image, inside * round_ * tongue, 0.40)

    meet = coverage((frame.y - top).abs() - 0.016, frame.pixel)
    meet = meet * ((1.05 - along) * 12.0).clamp(0.0, 1.0)
    paint(image, 0.85 * meet, 0.22 * skin)
    pit = bump(frame.out - corner_x, frame.y - corner_y, 0.06, 0.05)
    paint(image, 0.6 * pit, 0.3 * skin)


def paint_lines(frame: Frame, identity: Identity, marks: Landmarks, image: Tensor) -> None:
    """Paint the folds and wrinkles that units leave in the skin, in place, as soft dark lines."""
    out, y = frame.out, frame.y
    eye = per_face(identity.eye_distance)
    corner_x, corner_y = frame.sides(marks.corner_x), frame.sides(marks.corner_y)
    nostril = frame.sides(marks.nostril)
    width = per_face(identity.nose_width)

    brow = frame.sides(marks.brow_middle_y)
    wide = (1.0 - (out / 0.5) * (out / 0.5)).clamp(min=0.0)
    lines = stroke(y - brow + 0.10 - 0.03 * wide, 0.035) + stroke(y - brow + 0.18, 0.035)
    dark = 0.40 * frame.sides(marks.forehead_lines) * lines * wide

    frown = capsule(out, y, _FROWN_TOP, _FROWN_END)
    dark = dark + 0.60 * frame.sides(marks.frown_lines) * stroke(frown, 0.05)

    bridge = (1.0 - (out / 0.17) * (out / 0.17)).clamp(min=0.0)
    rows = stroke(y + 0.28, 0.04) + stroke(y + 0.18, 0.04) + stroke(y + 0.08, 0.04)
    dark = dark + 0.60 * frame.sides(marks.nose_lines) * rows * bridge

    fan_x, fan_y = out - eye - 0.20, y + 0.23
    fan = (
        stroke(fan_y, 0.03) + stroke(fan_y - 0.5 * fan_x, 0.03) + stroke(fan_y + 0.5 * fan_x, 0.03)
    )
    reach = bump(fan_x - 0.07, fan_y, 0.10, 0.10)
    dark = dark + 0.55 * frame.sides(marks.crow_lines) * fan * reach

    fold = capsule(out, y, (width + 0.05, nostril - 0.01), (corner_x + 0.10, corner_y - 0.03))
    dark = dark + 0.50 * frame.sides(marks.cheek_fold) * stroke(fold, 0.055)

    dimple = capsule(out, y, (corner_x + 0.07, corner_y - 0.08), (corner_x + 0.07, corner_y + 0.07))
    dark = dark + 0.50 * frame.sides(marks.dimple) * stroke(dimple, 0.055)

    below = y - frame.sides(marks.lower_lip) - 0.17 - 0.5 * out * out
    dark = dark + 0.40 * frame.sides(marks.chin_fold) * stroke(below, 0.05) * bump(
        out, below, 0.25, 0.2
    )
    image.mul_(1.0 - dark.clamp(max=0.8))


def paint_glasses(frame: Frame, identity: Identity, image: Tensor) -> None:
    """Paint round glasses on those who wear them, in place."""
    eye, radius = per_face(identity.eye_distance), per_face(identity.glasses_radius)
    ring = ellipse(frame.out - eye, frame.y - _EYE_HEIGHT, radius, radius * 0.9).abs() - 0.016
    bridge = torch.maximum((frame.y - _EYE_HEIGHT + 0.04).abs() - 0.016, frame.out - eye + radius)
    cover = coverage(torch.minimum(ring, bridge), frame.pixel)
    paint(image, per_face(identity.glasses) * cover, 0.08)
