"""Painting what lies behind the expression: background, hair, neck, skin, shading, beard."""

from __future__ import annotations

import torch
from torch import Tensor

from fersearch.data.synthetic.frame import Frame, per_face
from fersearch.data.synthetic.landmarks import Landmarks
from fersearch.data.synthetic.people import Camera, Identity
from fersearch.data.synthetic.shapes import bump, coverage, ellipse, paint, rounded_box

__all__ = ["paint_fringe", "paint_head"]


def paint_head(frame: Frame, identity: Identity, marks: Landmarks, camera: Camera) -> Tensor:
    """Return images with background, neck, ears and a shaded head, (faces, S, S), 0 to 1."""
    line = per_face(camera.background) + per_face(camera.background_slope) * frame.plane_x
    image = line.repeat(1, line.shape[2], 1)
    skin, hair = per_face(identity.skin), per_face(identity.hair)
    width = per_face(identity.head_width)

    behind = ellipse(frame.x, frame.y + 0.25, width + 0.14, 1.0)
    long = torch.maximum(
        rounded_box(frame.x, frame.y - 0.2, width + 0.12, 0.9, 0.3),
        frame.y - per_face(identity.hair_length),
    )
    paint(image, coverage(torch.minimum(behind, long), frame.pixel), hair)
    neck = rounded_box(frame.x, frame.y - 1.1, 0.42, 0.5, 0.1)
    paint(image, coverage(neck, frame.pixel), 0.72 * skin)
    ear = ellipse(frame.out - width, frame.y + 0.08, 0.09, 0.2)
    paint(image, coverage(ear, frame.pixel), 0.86 * skin)

    chin = per_face(identity.chin) + frame.sides(marks.jaw_drop)
    paint(
        image,
        coverage(_outline(frame, identity, chin), frame.pixel),
        _shaded(frame, identity, camera),
    )
    _paint_relief(frame, identity, marks, image)
    return image


def paint_fringe(frame: Frame, identity: Identity, image: Tensor) -> None:
    """Paint the hair above the forehead, over the skin and under nothing else, in place."""
    off = frame.x - per_face(identity.parting)
    line = per_face(identity.hairline) + per_face(identity.hairline_bend) * off * off
    fringe = torch.maximum(
        frame.y - line,
        ellipse(frame.x, frame.y + 0.25, per_face(identity.head_width) + 0.14, 1.0),
    )
    paint(image, coverage(fringe, frame.pixel), per_face(identity.hair))


def _outline(frame: Frame, identity: Identity, chin: Tensor) -> Tensor:
    """Return the distance to the head: an ellipse whose lower half narrows towards the chin."""
    below = (frame.y / chin).clamp(0.0, 1.0)
    width = per_face(identity.head_width) * (1.0 - per_face(identity.jaw) * below * below)
    return ellipse(frame.x, frame.y, width, torch.where(frame.y > 0.0, chin, 1.12))


def _shaded(frame: Frame, identity: Identity, camera: Camera) -> Tensor:
    """Return the skin's tone under a directed light on a rounded head."""
    across, down = frame.x / 0.85, frame.y / 1.1
    towards = (1.0 - across * across - down * down).clamp(min=0.0).sqrt()
    light = 0.82 + 0.18 * towards
    light = light + per_face(camera.light_x) * across + per_face(camera.light_y) * down
    return per_face(identity.skin) * light


def _paint_relief(frame: Frame, identity: Identity, marks: Landmarks, image: Tensor) -> None:
    """Darken eye sockets, nose and beard and brighten cheeks, in place."""
    out, y = frame.out, frame.y
    eye = per_face(identity.eye_distance)
    shade = 0.16 * bump(out - eye, y + 0.27, 0.30, 0.20)
    nose = per_face(identity.nose_width)
    shade = shade + 0.14 * bump(frame.x - 0.07, y - 0.0, 0.09, 0.34)
    shade = shade + 0.16 * bump(frame.x, y - per_face(identity.nose) - 0.11, nose + 0.06, 0.07)
    cheek = frame.sides(marks.cheek)
    shade = shade - 0.16 * cheek * bump(out - 0.46, y - 0.10, 0.24, 0.17)
    shade = shade + 0.14 * cheek * bump(out - 0.44, y - 0.30, 0.26, 0.10)
    stubble = ((y - 0.30) * 4.0 + (out - 0.45).clamp(min=0.0) * 2.0).clamp(0.0, 1.0)
    inside = (1.0 - ellipse(frame.x, y, per_face(identity.head_width), 1.0) / 0.05).clamp(0.0, 1.0)
    shade = shade + 0.45 * per_face(identity.beard) * stubble * inside
    image.mul_(1.0 - shade)
