"""Curves that figures draw from probabilities and labels: reliability and ROC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy import special

from fersearch.errors import InputError
from fersearch.stats.intervals import FloatArray
from fersearch.stats.metrics import calibration_error, checked_arrays

__all__ = ["Reliability", "RocCurve", "RocCurves", "reliability", "roc_curves"]

GRID = 101


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """How often a network is right where it is sure by so much; one entry a bin of confidence.

    Attributes:
        centres: Middle of each bin, float64 ``(bins,)`` in 0-1.
        confidence: Mean confidence in each bin, float64 ``(bins,)``; NaN in an empty one.
        right: Share of right answers in each bin, float64 ``(bins,)``; NaN in an empty one.
        counts: Answers in each bin, int64 ``(bins,)``, summed over the seeds.
        ece: Expected calibration error, the mean over the seeds, as the tables have it. Of one
            seed it is the mean of |right - confidence|, weighted with the counts.
    """

    centres: FloatArray
    confidence: FloatArray
    right: FloatArray
    counts: NDArray[np.int64]
    ece: float


def reliability(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, *, bins: int = 15
) -> Reliability:
    """Return the reliability diagram of top-1 confidence (Guo et al., ICML 2017, section 2).

    Bins have equal width and are open below and closed above, as in
    :func:`~fersearch.stats.calibration_error`. Several seeds share the bins: all their answers are
    counted together.

    Args:
        probabilities: Class probabilities, ``(N, C)`` or ``(S, N, C)``, rows summing to 1.
        labels: True classes, shape (N,).
        bins: Number of bins, at least 1.

    Raises:
        InputError: The arrays do not fit together, hold NaN or what is no probability, or there is
            no image or no bin.

    >>> diagram = reliability([[0.9, 0.1], [0.7, 0.3]], [0, 1], bins=2)
    >>> diagram.counts.tolist(), diagram.right.tolist(), round(diagram.ece, 9)
    ([0, 2], [nan, 0.5], 0.3)
    """
    stacked = np.asarray(probabilities, dtype=np.float64)
    if stacked.ndim == 2:
        stacked = stacked[None]
    values, truth = checked_arrays(stacked, labels, stacked.shape[-1] if stacked.ndim else 0)
    if bins < 1:
        raise InputError(f"a reliability diagram cannot have {bins} bins", "15 are usual")
    if values.min() < 0 or np.abs(values.sum(axis=-1) - 1).max() > 1e-3:
        raise InputError("these are no probabilities", "turn logits into them with softmax first")
    confidence = values.max(axis=-1).ravel()
    right = (values.argmax(axis=-1) == truth).ravel()
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = np.where(counts > 0, counts, np.nan)
    return Reliability(
        centres=(np.arange(bins) + 0.5) / bins,
        confidence=np.bincount(place, weights=confidence, minlength=bins) / filled,
        right=np.bincount(place, weights=right, minlength=bins) / filled,
        counts=counts.astype(np.int64),
        ece=float(np.mean([calibration_error(seed, truth, bins=bins) for seed in values])),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RocCurve:
    """The ROC curve of one class against all others, or their average.

    Attributes:
        name: Name of the class; ``macro average`` for the average.
        tpr: True-positive rate at each false-positive rate of :attr:`RocCurves.fpr`, mean over the
            seeds, float64 ``(101,)``, never falling. At rate 0 it is the share that is found
            before the first false alarm.
        auc: Area under the curve, mean over the seeds; each seed's own, not that of ``tpr``.
    """

    name: str
    tpr: FloatArray
    auc: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RocCurves:
    """ROC curves of all classes on one grid.

    Attributes:
        fpr: The false-positive rates 0, 0.01, ... 1, float64 ``(101,)``.
        classes: One curve a class that has test images and is not the only one, in class order.
        macro: The unweighted mean of these; its ``auc`` is the one of the tables. None without.
        left_out: Names of the other classes.
    """

    fpr: FloatArray
    classes: tuple[RocCurve, ...]
    macro: RocCurve | None
    left_out: tuple[str, ...]


def roc_curves(logits: npt.ArrayLike, labels: npt.ArrayLike, classes: Sequence[str]) -> RocCurves:
    """Return each class's ROC curve by its softmax probability, averaged over the seeds.

    Seeds are averaged vertically (Fawcett, Pattern Recognition Letters 27, 2006, section 8.1): the
    mean of their true-positive rates at fixed false-positive rates. Pooling the seeds' scores
    instead would compare probabilities of networks that are not calibrated alike.

    Args:
        logits: float, shape (S seeds, N images, C classes).
        labels: int, shape (N,), in 0 .. C - 1.
        classes: The C class names.

    Raises:
        InputError: The arrays do not fit together or hold NaN, or there is no image.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    scores, truth = checked_arrays(logits, labels, len(classes))
    probabilities = special.softmax(scores, axis=-1)
    grid = np.linspace(0.0, 1.0, GRID)
    curves, left_out = [], []
    for index, name in enumerate(classes):
        positive = truth == index
        if positive.all() or not positive.any():
            left_out.append(name)
            continue
        rates, areas = [], []
        for seed in probabilities:
            fpr, tpr, _ = roc_curve(positive, seed[:, index], drop_intermediate=False)
            # Where the curve rises straight up, interp takes the upper end.
            rates.append(np.interp(grid, fpr, tpr))
            areas.append(roc_auc_score(positive, seed[:, index]))
        curves.append(RocCurve(name=name, tpr=np.mean(rates, axis=0), auc=float(np.mean(areas))))
    macro = None
    if curves:
        macro = RocCurve(
            name="macro average",
            tpr=np.mean([curve.tpr for curve in curves], axis=0),
            auc=float(np.mean([curve.auc for curve in curves])),
        )
    return RocCurves(fpr=grid, classes=tuple(curves), macro=macro, left_out=tuple(left_out))
