"""Batched evaluation of a network on one split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fersearch.data.views import Views
from fersearch.distill.job import Execution
from fersearch.distill.precision import autocast, uses_bfloat16

__all__ = ["SplitMetrics", "predict_logits", "split_metrics"]

EVALUATION_BATCH = 256
# A GPU is given as many pixels a pass as 2,048 images of 48 pixels a side have.
GPU_PIXELS = 2048 * 48**2


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitMetrics:
    """Figures of one evaluation.

    Attributes:
        loss: Mean cross entropy.
        accuracy: Top-1 accuracy in 0-1.
        macro_f1: Unweighted mean of the per-class F1, in 0-1, over the classes that occur.
    """

    loss: float
    accuracy: float
    macro_f1: float


@torch.no_grad()
def predict_logits(
    model: nn.Module,
    views: Views,
    *,
    execution: Execution,
    epoch: int | None = None,
    batch_size: int | None = None,
) -> np.ndarray:
    """Return the logits of all images in their stored order, float32 ``(N, classes)``.

    The network is put in evaluation mode and left so.

    Args:
        model: The network, on the execution's device.
        views: The images.
        execution: Device and precision.
        epoch: Answer to the training views of this epoch; None answers to the plain images.
        batch_size: Images a forward pass; None takes as many as are fast on the device.
    """
    model.eval()
    bfloat16 = uses_bfloat16(model, execution)
    if batch_size is None:
        batch_size = EVALUATION_BATCH
        if execution.device.startswith("cuda"):
            batch_size = max(batch_size, GPU_PIXELS // views.preprocessing.image_size**2)
    pieces = []
    for start in range(0, len(views), batch_size):
        indices = np.arange(start, min(start + batch_size, len(views)))
        inputs = views.evaluation(indices) if epoch is None else views.training(epoch, indices)
        with autocast(execution, enabled=bfloat16):
            # Fetched at the end: a GPU need not wait for each batch.
            pieces.append(model(inputs).float())
    return torch.cat(pieces).cpu().numpy()


def split_metrics(logits: np.ndarray, labels: np.ndarray) -> SplitMetrics:
    """Return loss, accuracy and macro-F1 of logits ``(N, classes)`` against labels ``(N,)``."""
    classes = logits.shape[1]
    predictions = logits.argmax(axis=1)
    confusion = np.bincount(labels * classes + predictions, minlength=classes * classes)
    confusion = confusion.reshape(classes, classes)
    right = np.diag(confusion)
    occurring = confusion.sum(axis=0) + confusion.sum(axis=1)
    f1 = 2 * right[occurring > 0] / occurring[occurring > 0]
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(np.asarray(labels)))
    return SplitMetrics(
        loss=float(loss),
        accuracy=float(right.sum() / max(1, len(labels))),
        macro_f1=float(f1.mean()) if len(f1) else 0.0,
    )
