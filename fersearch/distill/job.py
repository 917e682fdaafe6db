"""What determines a training run: two equal jobs on one machine give the same network."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill.losses import LossSettings
from fersearch.distill.recipe import Recipe
from fersearch.records import digest

__all__ = ["Execution", "TrainJob"]

# Raised when the same job would train another network: cached ones are then not reused.
JOB_VERSION = 1


def _records() -> bool:
    return os.environ.get("FERSEARCH_RECORD", "1") != "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Where and how fast a job runs; it changes results by rounding only.

    Attributes:
        device: ``cpu`` or ``cuda``.
        threads: Number of CPU threads of the run; 0 leaves PyTorch's setting alone.
        autocast: ``auto`` uses bfloat16 where the device computes it natively and the network
            loses nothing by it, ``never`` computes in float32 throughout.
        compile_cache: Folder of the kernels that ``torch.compile`` makes; empty: nothing is
            compiled.
        records: On a GPU, whether a training step is recorded and started as one (a CUDA graph);
            unless told otherwise it is, but not with ``FERSEARCH_RECORD=0`` in the environment.
    """

    device: str = "cpu"
    threads: int = 0
    autocast: str = "auto"
    compile_cache: str = ""
    records: bool = field(default_factory=_records)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """A training run of one network on one data set.

    Attributes:
        data_sha256: Digest of the data set's content.
        model: timm name of the network.
        model_options: Keyword arguments of the network besides ``num_classes`` and ``drop_rate``.
        weights: File with initial weights, or empty.
        weights_sha256: Digest of that file's content, or empty.
        recipe: Optimiser, schedule and budget.
        policy: How far training views differ from their images.
        preprocessing: How pixels become network input.
        seed: Seed of initial weights, data order, views and dropout.
        metric: Validation metric that picks the best epoch: ``accuracy`` or ``macro_f1``.
        loss: Distillation loss, or None for none.
        teacher: Digest of the job of the teacher whose soft labels are used, or of the companion
            that the baseline's loss asked for; empty for none.
        baseline: Name of the baseline whose training loss is used; empty for plain cross entropy
            (or the distillation loss).
        baseline_sha256: Digest of the user's file that registered it; empty for a shipped one,
            which changes with the package.
    """

    data_sha256: str
    model: str
    model_options: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    weights_sha256: str = ""
    recipe: Recipe
    policy: ViewPolicy
    preprocessing: Preprocessing
    seed: int
    metric: str = "accuracy"
    loss: LossSettings | None = None
    teacher: str = ""
    baseline: str = ""
    baseline_sha256: str = ""

    def digest(self) -> str:
        """Return the name of this job's content: the path of a weights file is not part of it."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "weights"}
        if not self.baseline_sha256:
            del plain["baseline_sha256"]
        if self.loss is not None:
            plain["loss"] = self.loss.identity()
        return digest({"version": JOB_VERSION, **plain})
