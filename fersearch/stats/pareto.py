"""Pareto fronts: what nothing else beats in every objective at once, and where it bends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["crowding", "knee", "pareto_front"]


def _as_losses(values: ArrayLike, maximise: Sequence[bool]) -> NDArray[np.float64]:
    """Return the values as float64 ``(N, M)`` of which each column is to be small."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(maximise):
        raise ValueError(f"values must be N x {len(maximise)} but have shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("values must be finite")
    return np.where(np.asarray(maximise, dtype=bool), -array, array)


def pareto_front(values: ArrayLike, *, maximise: Sequence[bool]) -> list[int]:
    """Return the indices of the points that no other point dominates, in the order given.

    A point dominates another when it is nowhere worse and somewhere better. Of equal points the
    first is kept.

    Args:
        values: One row a point and one column an objective, finite, ``(N, M)``.
        maximise: Whether an objective is to be large, one a column.

    Raises:
        ValueError: The values have another shape or are not finite.

    >>> pareto_front([[0.9, 3.0], [0.7, 1.0], [0.6, 2.0], [0.7, 1.0]], maximise=[True, False])
    [0, 1]
    """
    losses = _as_losses(values, maximise)
    front = []
    for index, point in enumerate(losses):
        others = np.delete(losses, index, axis=0)
        dominated = ((others <= point).all(axis=1) & (others < point).any(axis=1)).any()
        seen = (losses[:index] == point).all(axis=1).any()
        if not dominated and not seen:
            front.append(index)
    return front


def _scaled(
    losses: NDArray[np.float64], over: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Scale every objective to 0 (best) to 1 (worst); one that does not vary is left at 0."""
    over = losses if over is None else over
    low, high = over.min(axis=0), over.max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    scaled: NDArray[np.float64] = (losses - low) / spread
    return scaled


def knee(values: ArrayLike, *, maximise: Sequence[bool], over: ArrayLike | None = None) -> int:
    """Return the index of the point nearest to the best of every objective.

    Every objective is scaled to 0-1; the distance is Euclidean. Of equally near points the first
    is taken.

    Args:
        values: As for :func:`pareto_front`; at least one point.
        maximise: As for :func:`pareto_front`.
        over: The points whose best and worst values are 0 and 1; those given when None. Few points
            scaled over themselves say little: of two, each is the best in something.

    >>> knee([[0.9, 10.0], [0.88, 2.0], [0.5, 1.0]], maximise=[True, False])
    1
    """
    losses = _as_losses(values, maximise)
    whole = losses if over is None else np.vstack([losses, _as_losses(over, maximise)])
    return int(np.argmin(np.linalg.norm(_scaled(losses, whole), axis=1).round(12)))


def crowding(values: ArrayLike, *, maximise: Sequence[bool]) -> NDArray[np.float64]:
    """Return how alone each point of a front stands, float64 ``(N,)``; infinite at its ends.

    The sum over objectives of the distance between a point's two neighbours, each objective
    scaled to 0-1 (Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II",
    IEEE Transactions on Evolutionary Computation 6(2), 2002, section III-B).

    >>> crowding([[0.9, 10.0], [0.88, 2.0], [0.5, 1.0]], maximise=[True, False])
    array([inf,  2., inf])
    """
    scaled = _scaled(_as_losses(values, maximise))
    alone = np.zeros(len(scaled))
    for column in scaled.T:
        order = np.argsort(column, kind="stable")
        alone[order[[0, -1]]] = np.inf
        inner = order[1:-1]
        alone[inner] += column[order[2:]] - column[order[:-2]]
    return alone
