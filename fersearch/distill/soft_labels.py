"""The teacher's soft labels: computed once for (teacher, data, seed, epoch, image), then replayed.

A view is a pure function of (seed, epoch, image), so the teacher's logits of an epoch are one
matrix that every student trained with the same seed can read back, whatever its temperature,
alpha, learning rate or batch size, in whatever order it visits the images.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fersearch.data.views import Indices, Views, on_device
from fersearch.distill.evaluation import predict_logits
from fersearch.distill.job import Execution, TrainJob
from fersearch.distill.precision import autocast, uses_bfloat16
from fersearch.errors import FersearchError
from fersearch.files import atomic_path, ensure_folder, file_lock
from fersearch.records import digest

__all__ = [
    "OnlineTeacher",
    "ReplayedTeacher",
    "TeacherSignal",
    "compute_soft_labels",
    "soft_label_folder",
]


class TeacherSignal(Protocol):
    """Where a student's soft targets come from."""

    def open(self, epoch: int) -> None:
        """Prepare for an epoch: called before its first batch."""
        ...

    def logits(self, epoch: int, indices: Indices, inputs: Tensor) -> Tensor:
        """Return the teacher's logits of some views, float32 ``(B, classes)``.

        Args:
            epoch: Number of the epoch.
            indices: int64 ``(B,)``, numbers of the images, on the host or on the device.
            inputs: The views themselves, float32 ``(B, 3, S, S)``.
        """
        ...


class OnlineTeacher:
    """Asks the teacher itself at every step: the reference that replay must equal."""

    def __init__(self, model: nn.Module, execution: Execution) -> None:
        self._model = model.eval()
        self._execution = execution
        self._bfloat16 = uses_bfloat16(model, execution)

    def open(self, epoch: int) -> None:
        """Do nothing: the teacher sees the views themselves."""

    @torch.no_grad()
    def logits(self, epoch: int, indices: Indices, inputs: Tensor) -> Tensor:
        """Run the teacher on ``inputs``."""
        with autocast(self._execution, enabled=self._bfloat16):
            result: Tensor = self._model(inputs)
        return result.float()


class ReplayedTeacher:
    """Reads soft labels back from the files of :func:`compute_soft_labels`.

    On a CPU they are looked up in a memory map; on a GPU an epoch's are copied there once, always
    to the same place, where recorded steps look for them.
    """

    def __init__(self, folder: Path, *, device: str = "cpu") -> None:
        self._folder = folder
        self._device = torch.device(device)
        self._maps = self._device.type == "cpu"
        self._epoch = -1
        self._labels = np.empty((0, 0), dtype=np.float32)
        self._held = torch.empty((0, 0))

    def open(self, epoch: int) -> None:
        """Read the soft labels of an epoch, unless it is the one that was read last.

        Raises:
            FersearchError: Their file cannot be read.
        """
        if epoch == self._epoch:
            return
        path = epoch_file(self._folder, epoch)
        try:
            self._labels = np.load(path, mmap_mode="r" if self._maps else None)
        except (OSError, ValueError) as error:
            raise FersearchError(
                f"the soft labels of epoch {epoch} cannot be read: {path}",
                "delete that folder and run the command again: they are computed anew",
            ) from error
        if not self._maps:
            labels = torch.from_numpy(self._labels)
            if self._held.shape != labels.shape:
                self._held = torch.empty_like(labels, device=self._device)
            self._held.copy_(labels)
        self._epoch = epoch

    def logits(self, epoch: int, indices: Indices, inputs: Tensor) -> Tensor:
        """Look up the logits of the images ``indices`` in ``epoch``; ``inputs`` is not used.

        Raises:
            FersearchError: The file of that epoch cannot be read.
        """
        self.open(epoch)
        if not self._maps:
            return self._held[on_device(indices, self._device)]
        numbers = indices if isinstance(indices, np.ndarray) else indices.cpu().numpy()
        return torch.from_numpy(self._labels[numbers])


def epoch_file(folder: Path, epoch: int) -> Path:
    """Return the file that holds the soft labels of one epoch."""
    return folder / f"epoch-{epoch:04d}.npy"


def soft_label_folder(
    cache: Path, job: TrainJob, *, teacher: str, seed: int, bfloat16: bool
) -> Path:
    """Return the folder of the soft labels of one (teacher, data, views, seed).

    Args:
        cache: The workspace's cache.
        job: A job on the same data, views and preprocessing; its other settings do not matter.
        teacher: Digest of the teacher.
        seed: Seed of the views.
        bfloat16: Whether the teacher runs in bfloat16, which changes its answers by rounding.
    """
    name = digest(
        {
            "teacher": teacher,
            "data": job.data_sha256,
            "policy": job.policy,
            "preprocessing": job.preprocessing,
            "seed": seed,
            "precision": "bfloat16" if bfloat16 else "float32",
        }
    )
    return cache / "soft_labels" / name


def compute_soft_labels(
    folder: Path,
    *,
    load_teacher: Callable[[], nn.Module],
    views: Views,
    epochs: int,
    execution: Execution,
    on_epoch: Callable[[int], None] | None = None,
) -> int:
    """Compute the soft labels of the first ``epochs`` epochs that are not there yet.

    Each epoch is a float32 ``(N, classes)`` file, written whole or not at all, so an interrupted
    computation goes on where it stopped. A second process that wants the same ones waits.

    Args:
        folder: Where they are kept, see :func:`soft_label_folder`.
        load_teacher: Makes the teacher; called only when something is missing.
        views: The training views.
        epochs: Number of epochs wanted.
        execution: Device and precision.
        on_epoch: Called with the number of each epoch after it is written.

    Returns:
        The number of epochs computed now.
    """
    ensure_folder(folder)
    with file_lock(folder / "lock"):
        missing = [epoch for epoch in range(epochs) if not epoch_file(folder, epoch).exists()]
        if not missing:
            return 0
        teacher = load_teacher()
        for epoch in missing:
            logits = predict_logits(teacher, views, execution=execution, epoch=epoch)
            with atomic_path(epoch_file(folder, epoch)) as temporary:
                np.save(temporary, logits)
            if on_epoch is not None:
                on_epoch(epoch)
    return len(missing)
