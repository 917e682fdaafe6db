"""Random numbers in rows: one row of a table per face, so no face depends on how many follow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fersearch.seeds import derive_seed

__all__ = ["Draws"]

_COLUMNS = 192


class Draws:
    """Hands out the columns of a table of uniform numbers, one row per face.

    The table is filled row by row, so the first faces of a long split equal those of a short one.
    Only arithmetic that rounds the same way on every machine turns its numbers into others.

    Args:
        count: Number of faces (rows).
        seed: Seed of the study.
        stream: Name of the stream, a split's name for instance.
    """

    def __init__(self, count: int, seed: int, stream: str) -> None:
        generator = np.random.default_rng(derive_seed(seed, "synthetic", stream))
        self._table: NDArray[np.float64] = generator.random((count, _COLUMNS))
        self._next = 0

    @property
    def count(self) -> int:
        """Number of faces."""
        return len(self._table)

    def unit(self, columns: int) -> NDArray[np.float64]:
        """Return the next columns as they are, uniform in [0, 1), shape (faces, columns)."""
        end = self._next + columns
        if end > _COLUMNS:
            raise IndexError(f"the table of random numbers has {_COLUMNS} columns, not {end}")
        self._next, start = end, self._next
        return self._table[:, start:end]

    def uniform(self, low: float, high: float) -> NDArray[np.float64]:
        """Return numbers uniform between ``low`` and ``high``, shape (faces,)."""
        return low + (high - low) * self.unit(1)[:, 0]

    def bell(self, mean: float, deviation: float) -> NDArray[np.float64]:
        """Return bell-shaped numbers within three deviations of the mean, shape (faces,).

        The sum of three uniform numbers (Irwin-Hall), scaled to the given standard deviation.
        """
        three = self.unit(3)
        return mean + deviation * 2.0 * (three[:, 0] + three[:, 1] + three[:, 2] - 1.5)

    def chance(self, probability: float) -> NDArray[np.float64]:
        """Return 1.0 with the given probability and 0.0 otherwise, shape (faces,)."""
        return (self.unit(1)[:, 0] < probability).astype(np.float64)
