"""Figures that are functions of label and prediction alone, for a whole test set or many resamples.

A class without a test image has no recall; macro figures average over the classes that have one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fersearch.stats.intervals import FloatArray, pattern_draws

__all__ = ["ConfusionFigures", "resampled_figures"]


@dataclass(frozen=True, slots=True)
class ConfusionFigures:
    """Accuracy, macro-F1 and balanced accuracy of every resample and seed, (resamples, S) each."""

    accuracy: FloatArray
    macro_f1: FloatArray
    balanced_accuracy: FloatArray


def resampled_figures(
    labels: NDArray[np.int64],
    predictions: NDArray[np.int64],
    *,
    num_classes: int,
    resamples: int,
    random_seed: int,
) -> ConfusionFigures:
    """Return the figures of bootstrap resamples of the images, the same images for all seeds.

    Args:
        labels: Class of each image, shape (N,).
        predictions: Predicted class a seed, shape (S, N).
        num_classes: Number of classes, C.
        resamples: Number of resamples.
        random_seed: Seed of the resampling.
    """
    features = np.vstack([labels, predictions]).T
    drawn, patterns = pattern_draws(features, resamples=resamples, random_seed=random_seed)
    classes = np.arange(num_classes)
    true = patterns[:, :1] == classes
    support = drawn @ true.astype(np.float64)
    present = support > 0
    accuracy, macro_f1, balanced = [], [], []
    for seed in range(predictions.shape[0]):
        guessed = patterns[:, seed + 1, None] == classes
        hits = drawn @ (true & guessed).astype(np.float64)
        predicted = drawn @ guessed.astype(np.float64)
        accuracy.append(hits.sum(axis=1) / support.sum(axis=1))
        # Both denominators are positive where the class is present; elsewhere the value is unused.
        f1 = 2 * hits / np.maximum(support + predicted, 1.0)
        recall = hits / np.maximum(support, 1.0)
        classes_present = present.sum(axis=1)
        macro_f1.append((f1 * present).sum(axis=1) / classes_present)
        balanced.append((recall * present).sum(axis=1) / classes_present)
    return ConfusionFigures(
        np.stack(accuracy, axis=1), np.stack(macro_f1, axis=1), np.stack(balanced, axis=1)
    )
