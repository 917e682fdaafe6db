"""What a running study tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fersearch.distill import Progress

__all__ = ["Listener", "StudyProgress", "ignore_progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProgress:
    """One moment of a running study.

    Attributes:
        phase: ``search``, ``confirm`` or ``test``.
        message: Something worth a line of its own; empty for a mere step forward.
        step: The epoch that some run has just finished, or None.
        finished_run: Name of a run that has just ended, or empty.
        done: Runs finished in the phase.
        total: Runs of the phase.
        best: Best validation metric so far, in 0-1, or None.
        best_trial: Number of the trial that reached it, or None.
        images_per_second: Training images a second over all workers, or None.
        remaining_seconds: Estimated seconds until the result, or None.
    """

    phase: str
    message: str = ""
    step: Progress | None = None
    finished_run: str = ""
    done: int = 0
    total: int = 0
    best: float | None = None
    best_trial: int | None = None
    images_per_second: float | None = None
    remaining_seconds: float | None = None


Listener = Callable[[StudyProgress], None]


def ignore_progress(progress: StudyProgress) -> None:
    """Listen to nothing."""
