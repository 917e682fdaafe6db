"""What a running study tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fersearch.distill import Progress
from fersearch.records import RunRecord

__all__ = ["Listener", "StudyProgress", "describe_run", "describe_trial", "ignore_progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyProgress:
    """One moment of a running study.

    Attributes:
        phase: ``search``, ``confirm``, ``train`` or ``test``.
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


def describe_trial(record: RunRecord) -> str:
    """Return one line about a finished trial."""
    shown = " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in record.parameters.items()
    )
    epochs = len(record.epochs)
    metric = record.metrics.get("val_accuracy")
    accuracy = "" if metric is None else f", best validation accuracy {metric:.1%}"
    reason = f" ({record.reason})" if record.reason and record.state == "failed" else ""
    diverged = " (diverged)" if record.reason.startswith("diverged") else ""
    return (
        f"{record.run_id} {record.state}{reason}{diverged} after {epochs} epochs{accuracy}: {shown}"
    )


def describe_run(record: RunRecord) -> str:
    """Return one line about a finished full run."""
    metric = record.metrics.get("val_accuracy")
    accuracy = record.reason if metric is None else f"validation accuracy {metric:.1%}"
    what = record.model if record.role == "baseline" else record.role.replace("_", " ")
    return f"{what}, seed {record.seed}: {accuracy}"
