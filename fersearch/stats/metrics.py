"""The figures of a test: how good the networks of several seeds are on one set of images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy import special

from fersearch.errors import InputError
from fersearch.stats.confusion import resampled_figures
from fersearch.stats.intervals import (
    FloatArray,
    accuracy_interval,
    check_settings,
    crossed_interval,
)

__all__ = ["ClassMetrics", "SeedMetrics", "TestMetrics", "calibration_error", "evaluate"]


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """How well one class is found.

    Attributes:
        recall: Share of its images that were found, mean over seeds; None without test images.
        precision: Share of right ones among the images given this class, mean over seeds, 0 in a
            seed that never predicts it; None without test images.
        support: Number of its images in the test split.
    """

    recall: float | None
    precision: float | None
    support: int


@dataclass(frozen=True, slots=True)
class SeedMetrics:
    """What one seed's network reached: its seed, accuracy and macro-F1 (0-1)."""

    seed: int
    accuracy: float
    macro_f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TestMetrics:
    """The test block of a result. Each overall figure is the mean over the seeds, in 0-1.

    Attributes:
        accuracy: Share of images classified rightly.
        accuracy_ci95: Its interval, for new images and (with several seeds) new seeds.
        macro_precision: Unweighted mean of the classes' precision.
        macro_f1: Unweighted mean of the classes' F1.
        macro_f1_ci95: Its interval.
        balanced_accuracy: Unweighted mean of the classes' recall (also called UAR).
        balanced_accuracy_ci95: Its interval.
        auc: Area under the ROC curve, one class against the rest, unweighted mean over classes;
            None when the test split has fewer than two classes.
        ece: Expected calibration error with 15 bins of equal width.
        per_class: Recall, precision and support by class name, in class order.
        confusion: Number of images of true class (row) given a class (column), summed over the
            seeds: a row's sum is its support times the number of seeds.
        seeds: Accuracy and macro-F1 of each seed.
        interval: How the intervals were made, in words.
        notes: What a reader must know: one seed only, classes without images or predictions.
    """

    __test__ = False  # the name starts with "Test", but it holds no tests

    accuracy: float
    accuracy_ci95: tuple[float, float]
    macro_precision: float
    macro_f1: float
    macro_f1_ci95: tuple[float, float]
    balanced_accuracy: float
    balanced_accuracy_ci95: tuple[float, float]
    auc: float | None
    ece: float
    per_class: Mapping[str, ClassMetrics]
    confusion: tuple[tuple[int, ...], ...]
    seeds: tuple[SeedMetrics, ...]
    interval: str
    notes: tuple[str, ...]


def calibration_error(
    probabilities: FloatArray, labels: NDArray[np.int64], *, bins: int = 15
) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017, eq. 5) of top-1 confidence.

    Bins have equal width and are open below and closed above: ``((b - 1) / bins, b / bins]``.

    Args:
        probabilities: Class probabilities, shape (N, C), rows summing to 1.
        labels: True classes, shape (N,).
        bins: Number of bins.

    >>> round(calibration_error(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])), 9)
    0.3
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    # |share right - mean confidence| * bin size = |sum of (right - confidence)|, bin by bin.
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def checked_arrays(
    logits: npt.ArrayLike, labels: npt.ArrayLike, num_classes: int
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return logits (S, N, C) as float64 and labels (N,) as int64.

    Raises:
        InputError: The shapes do not fit together, a label is no class, a logit is not finite, or
            there is no image.
    """
    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if scores.ndim != 3 or scores.shape[1:] != (truth.size, num_classes) or truth.ndim != 1:
        raise InputError(
            f"logits of shape {scores.shape} do not fit {truth.size} labels and {num_classes} "
            "classes",
            "logits are seeds x images x classes",
        )
    if scores.shape[0] == 0 or truth.size == 0:
        raise InputError(
            "there is no test image to measure on", "give a test split with at least one image"
        )
    if truth.dtype.kind not in "iu" or truth.min() < 0 or truth.max() >= num_classes:
        raise InputError(
            f"test labels must be whole numbers in 0-{num_classes - 1} but span "
            f"{truth.min()} to {truth.max()}",
            "check the class order of the data",
        )
    if not np.isfinite(scores).all():
        raise InputError(
            "the network's test logits hold NaN or infinity", "it diverged in training"
        )
    return scores, truth.astype(np.int64)


def mean_auc(
    probabilities: FloatArray, labels: NDArray[np.int64], present: Sequence[int]
) -> float | None:
    """Return the one-vs-rest AUC, macro over the present classes, mean over the seeds.

    A class's softmax probability ranks its images against all others, unweighted over the classes
    (Fawcett, Pattern Recognition Letters 27, 2006, section 9). None when there is only one class:
    nothing can be ranked.
    """
    from sklearn.metrics import roc_auc_score

    if len(present) < 2:
        return None
    values = [
        roc_auc_score(labels == index, seed[:, index])
        for seed in probabilities
        for index in present
    ]
    return float(np.mean(values))


def evaluate(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: Sequence[str],
    *,
    seeds: Sequence[int],
    confidence: float = 0.95,
    resamples: int = 2000,
    random_seed: int = 0,
) -> TestMetrics:
    """Measure the networks of several training seeds on the same test images.

    Args:
        logits: float, shape (S seeds, N images, C classes).
        labels: int, shape (N,), in 0 .. C - 1.
        classes: The C class names, in the order of the logits.
        seeds: The S training seeds.
        confidence: Coverage of the intervals; the ``ci95`` fields hold it whatever it is.
        resamples: Number of bootstrap resamples of the images, at least 100.
        random_seed: Seed of the resampling.

    Raises:
        InputError: The arrays do not fit together or hold NaN, there is no image, or a setting is
            out of range.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    check_settings(confidence=confidence, resamples=resamples)
    scores, truth = checked_arrays(logits, labels, len(classes))
    if len(set(classes)) != len(classes) or len(seeds) != len(scores):
        raise InputError(
            f"{len(scores)} sets of logits need as many seeds and distinct class names, not "
            f"{len(seeds)} seeds and {len(set(classes))} names",
            "name every seed and every class once",
        )
    predictions = scores.argmax(axis=-1)
    columns = list(range(len(classes)))
    support = np.bincount(truth, minlength=len(classes))
    present = [index for index in columns if support[index]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of absent classes, which the notes name
        table = np.array(
            [
                precision_recall_fscore_support(truth, guess, labels=columns, zero_division=0)[:3]
                for guess in predictions
            ]
        )  # seeds x (precision, recall, F1) x classes
    macro = table[:, :, present].mean(axis=2)
    drawn = resampled_figures(
        truth,
        predictions,
        num_classes=len(classes),
        resamples=resamples,
        random_seed=random_seed,
    )
    correct = predictions == truth
    accuracy = accuracy_interval(
        correct, confidence=confidence, resamples=resamples, random_seed=random_seed
    )
    f1 = crossed_interval(macro[:, 2], drawn.macro_f1, confidence=confidence, scale="logit")
    balanced = crossed_interval(
        macro[:, 1], drawn.balanced_accuracy, confidence=confidence, scale="logit"
    )
    means = table.mean(axis=0)
    per_class = {
        name: ClassMetrics(
            recall=float(means[1, index]) if support[index] else None,
            precision=float(means[0, index]) if support[index] else None,
            support=int(support[index]),
        )
        for index, name in enumerate(classes)
    }
    confusion = sum(confusion_matrix(truth, guess, labels=columns) for guess in predictions)
    probabilities = special.softmax(scores, axis=-1)
    return TestMetrics(
        accuracy=accuracy.point,
        accuracy_ci95=accuracy.ends,
        macro_precision=float(macro[:, 0].mean()),
        macro_f1=f1.point,
        macro_f1_ci95=f1.ends,
        balanced_accuracy=balanced.point,
        balanced_accuracy_ci95=balanced.ends,
        auc=mean_auc(probabilities, truth, present),
        ece=float(np.mean([calibration_error(seed, truth) for seed in probabilities])),
        per_class=per_class,
        confusion=tuple(tuple(int(count) for count in row) for row in np.asarray(confusion)),
        seeds=tuple(
            SeedMetrics(int(seed), float(right.mean()), float(value))
            for seed, right, value in zip(seeds, correct, macro[:, 2], strict=True)
        ),
        interval=interval_words(len(seeds), confidence=confidence, resamples=resamples),
        notes=tuple(notes(classes, support, predictions, exact=bool(correct.all()))),
    )


def interval_words(seeds: int, *, confidence: float, resamples: int) -> str:
    """Say in one sentence how the intervals of a test block were made."""
    images = f"{100 * confidence:g} % intervals: {resamples} bootstrap resamples of the test images"
    if seeds == 1:
        return f"{images}; one training seed, so they do not cover what other seeds would give"
    return (
        f"{images}, the same for all {seeds} seeds, plus the variance between seeds with Student's "
        f"t on {seeds - 1} degree{'s' if seeds > 2 else ''} of freedom"
    )


def notes(
    classes: Sequence[str],
    support: NDArray[np.int64],
    predictions: NDArray[np.int64],
    *,
    exact: bool,
) -> list[str]:
    """List what a reader of the test figures must know."""
    lines = []
    if len(predictions) == 1:
        lines.append("one training seed: the intervals cover the choice of test images only")
    absent = [name for name, count in zip(classes, support, strict=True) if count == 0]
    if absent:
        lines.append(
            f"no test images of {', '.join(absent)}: macro figures and AUC are over the other "
            "classes"
        )
    missing = [
        name
        for index, name in enumerate(classes)
        if support[index] and not (predictions == index).any(axis=1).all()
    ]
    if missing:
        lines.append(f"never predicted by at least one seed (precision 0): {', '.join(missing)}")
    if exact:
        lines.append(
            "no image was classified wrongly: the accuracy's interval is Wilson's, the macro "
            "figures have none (length zero)"
        )
    return lines
