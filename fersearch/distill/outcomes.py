"""What training gives: an epoch's sums, a run's outcome, and the end of one that diverged."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fersearch.records import EpochRecord

__all__ = ["DivergedError", "EpochSums", "TrainOutcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOutcome:
    """What training gave.

    Attributes:
        state: ``complete`` or ``pruned``.
        reason: Why it was pruned; empty when complete.
        epochs: One record per finished epoch.
        best_epoch: Epoch with the best validation metric; -1 when none finished.
        model: The network with the weights of that epoch, in evaluation mode, on the device.
        seconds: Wall-clock seconds of all epochs, those before an interruption included. Of an
            epoch that several students were trained in together, each has an equal share.
        training_params: Parameters that were trained, those of the loss included.
        notes: What the loss says about how it was made up.
    """

    state: str
    reason: str
    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    model: nn.Module
    seconds: float
    training_params: int
    notes: tuple[str, ...] = ()


class DivergedError(Exception):
    """The loss is no longer a finite number."""

    @classmethod
    def in_training(cls, epoch: int, step: int) -> DivergedError:
        """Return the error of a loss that was found not to be finite."""
        return cls(f"the loss was not finite at epoch {epoch}, step {step}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSums:
    """What training for an epoch gave.

    Attributes:
        loss: Mean loss over the images.
        accuracy: Top-1 accuracy on the training views, in 0-1.
        images: Number of images seen.
    """

    loss: float
    accuracy: float
    images: int
