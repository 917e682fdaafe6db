"""How fast the workers are and how long the rest of a study will take."""

from __future__ import annotations

import statistics
import time
from collections import deque

from fersearch.distill import Progress
from fersearch.records import RunRecord

__all__ = ["Estimate"]

WINDOW = 24


class Estimate:
    """Learns from finished epochs and runs.

    Args:
        workers: Number of tasks that run at once.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._epochs: deque[tuple[int, float]] = deque(maxlen=WINDOW)
        self._trials: list[float] = []
        self._epoch_seconds: deque[float] = deque(maxlen=WINDOW)
        self._started = time.monotonic()

    def epoch(self, progress: Progress) -> None:
        """Learn from an epoch that has just finished."""
        if progress.record is not None:
            self._epochs.append((progress.record.images, progress.record.seconds))
            if not progress.run_id.startswith("teacher"):
                self._epoch_seconds.append(progress.record.seconds)

    def run(self, record: RunRecord) -> None:
        """Learn from a trial that has just ended."""
        if record.role == "trial":
            self._trials.append(record.seconds)

    @property
    def images_per_second(self) -> float | None:
        """Training images a second over all workers, validation included."""
        if not self._epochs:
            return None
        images = sum(count for count, _ in self._epochs)
        seconds = sum(duration for _, duration in self._epochs)
        return self._workers * images / seconds

    def remaining(self, *, trials: int, runs: int, epochs: int) -> float | None:
        """Return the estimated seconds for ``trials`` more trials and ``runs`` full runs.

        None while too little is known.
        """
        if not self._epoch_seconds:
            return None
        epoch = statistics.fmean(self._epoch_seconds)
        # Until trials have ended, expect half of their epochs to be pruned.
        trial = statistics.fmean(self._trials) if len(self._trials) > 2 else epoch * epochs / 2
        return (trials * trial + runs * epochs * epoch) / self._workers
