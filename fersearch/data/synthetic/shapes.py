"""Shapes as signed distances, and the paint that follows them.

Distances are negative inside a shape. Pixels are touched only by operations that every processor
rounds alike (no exponentials, no fused products), so that a face does not depend on which other
faces share its batch. All tensors broadcast to (faces, height, width).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["band", "bump", "capsule", "coverage", "ellipse", "paint", "rounded_box", "stroke"]

_TINY = 1e-6


def ellipse(
    x: Tensor, y: Tensor, half_width: Tensor | float, half_height: Tensor | float
) -> Tensor:
    """Return the distance to an ellipse at the origin, to first order: (r - 1) r / |gradient|."""
    over_x, over_y = x / half_width, y / half_height
    radius = (over_x * over_x + over_y * over_y).sqrt()
    slope_x, slope_y = over_x / half_width, over_y / half_height
    slope = (slope_x * slope_x + slope_y * slope_y).sqrt()
    return (radius - 1.0) * radius / (slope + _TINY)


def capsule(
    x: Tensor,
    y: Tensor,
    start: tuple[Tensor, Tensor],
    end: tuple[Tensor, Tensor],
    radii: tuple[Tensor | float, Tensor | float] = (0.0, 0.0),
) -> Tensor:
    """Return the distance to a line from ``start`` to ``end`` with a radius at each end."""
    across_x, across_y = end[0] - start[0], end[1] - start[1]
    from_x, from_y = x - start[0], y - start[1]
    length = across_x * across_x + across_y * across_y + _TINY
    along = ((from_x * across_x + from_y * across_y) / length).clamp(0.0, 1.0)
    away_x, away_y = from_x - along * across_x, from_y - along * across_y
    radius = radii[0] + along * (radii[1] - radii[0])
    return (away_x * away_x + away_y * away_y).sqrt() - radius


def band(y: Tensor, top: Tensor, bottom: Tensor, slope: Tensor) -> Tensor:
    """Return the distance to the region between two curves ``top(x)`` and ``bottom(x)``.

    Args:
        y: Height of each pixel, growing downwards.
        top: Height of the upper curve at each pixel's x.
        bottom: Height of the lower curve at each pixel's x.
        slope: Steepness of the curves there; vertical distances are shortened by it.
    """
    return torch.maximum(top - y, y - bottom) / (1.0 + slope * slope).sqrt()


def rounded_box(
    x: Tensor, y: Tensor, half_width: Tensor | float, half_height: Tensor | float, radius: float
) -> Tensor:
    """Return the distance to a box at the origin whose corners have a radius."""
    out_x, out_y = x.abs() - half_width + radius, y.abs() - half_height + radius
    far_x, far_y = out_x.clamp(min=0.0), out_y.clamp(min=0.0)
    outside = (far_x * far_x + far_y * far_y).sqrt()
    return outside + torch.maximum(out_x, out_y).clamp(max=0.0) - radius


def coverage(distance: Tensor, pixel: Tensor) -> Tensor:
    """Return how much of each pixel a shape covers, 0 to 1, from its distance in face units."""
    return (0.5 - distance / pixel).clamp(0.0, 1.0)


def stroke(distance: Tensor, width: Tensor | float) -> Tensor:
    """Return a soft line: 1 at distance 0, falling to 0 at ``width``."""
    return (1.0 - distance.abs() / width).clamp(0.0, 1.0)


def bump(x: Tensor, y: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
    """Return a soft hill, (1 - r^2)^2 inside an ellipse at the origin and 0 outside."""
    over_x, over_y = x / half_width, y / half_height
    height = (1.0 - over_x * over_x - over_y * over_y).clamp(min=0.0)
    return height * height


def paint(image: Tensor, cover: Tensor, tone: Tensor | float) -> None:
    """Mix ``tone`` into the image where ``cover`` is above 0, in place."""
    image.add_((tone - image).mul_(cover))
