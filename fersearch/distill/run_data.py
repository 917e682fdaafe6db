"""What the runs of one data set look at: views, validation images and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fersearch.data.dataset import Dataset
from fersearch.data.views import Views
from fersearch.distill.job import Execution, TrainJob

__all__ = ["RunData"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """What runs of one data set, preprocessing, view policy and seed look at.

    Attributes:
        train_views: Views of the training split.
        val_views: The validation split.
        labels: Classes of the training images, int64 ``(N,)``, on the device.
        val_labels: Classes of the validation images, int64 ``(M,)``.
    """

    train_views: Views
    val_views: Views
    labels: Tensor
    val_labels: np.ndarray

    @classmethod
    def of(cls, job: TrainJob, dataset: Dataset, execution: Execution) -> RunData:
        """Open what ``job`` looks at; the test split stays closed."""
        common: dict[str, Any] = {
            "preprocessing": job.preprocessing,
            "policy": job.policy,
            "seed": job.seed,
            "device": execution.device,
        }
        return cls(
            train_views=Views(dataset.train.images, **common),
            val_views=Views(dataset.val.images, **common),
            labels=torch.from_numpy(np.array(dataset.train.labels)).to(execution.device),
            val_labels=np.array(dataset.val.labels),
        )
