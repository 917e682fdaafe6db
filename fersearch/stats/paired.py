"""Is one model better than another on the same images? Paired tests and their correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray
from scipy import special

from fersearch.errors import InputError
from fersearch.stats.intervals import (
    NEGLIGIBLE,
    Interval,
    check_settings,
    crossed_interval,
    half_width,
    pattern_draws,
)
from fersearch.stats.metrics import checked_arrays

__all__ = ["McNemar", "PairedGain", "holm", "mcnemar", "paired_gain", "paired_gain_of_correct"]


@dataclass(frozen=True, slots=True)
class McNemar:
    """Exact McNemar test of one seed's two networks on the same images.

    Attributes:
        only_a: Number of images that only the first network classified rightly.
        only_b: Number of images that only the second classified rightly.
        p_value: Two-sided.
    """

    only_a: int
    only_b: int
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedGain:
    """The difference in mean accuracy of two models, first minus second, on the same images.

    Attributes:
        accuracy: Mean over seeds of the difference in accuracy, in -1..1.
        ci95: Its interval, for new images and (with several seeds) new seeds.
        p_value: Two-sided; below 1 - confidence exactly when the interval leaves out zero.
        test: Name of the test, in words.
        mcnemar: Exact McNemar test of each seed: images only, seeds taken as given.
    """

    accuracy: float
    ci95: tuple[float, float]
    p_value: float
    test: str
    mcnemar: tuple[McNemar, ...]


def mcnemar(a_correct: NDArray[np.bool_], b_correct: NDArray[np.bool_]) -> McNemar:
    """Return the exact McNemar test (Psychometrika 12, 1947) on two vectors of right and wrong.

    Of the images that just one network got right, the first should have half if both are equally
    good: a binomial test.

    >>> mcnemar(np.array([True] * 6 + [False]), np.array([False] * 6 + [True]))
    McNemar(only_a=6, only_b=1, p_value=0.125)
    """
    only_a = int((a_correct & ~b_correct).sum())
    only_b = int((b_correct & ~a_correct).sum())
    if only_a + only_b == 0:
        return McNemar(0, 0, 1.0)
    # The binomial with a half is symmetric, so both tails together are twice the smaller one.
    tail = float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5))
    return McNemar(only_a, only_b, min(1.0, 2 * tail))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the p-values adjusted for their number by Holm's step-down method (1979), in order.

    Raises:
        InputError: A p-value is outside 0-1.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.size == 0:
        return ()
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"p-values must be in 0-1 but are {list(p_values)}", "check the tests")
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return tuple(float(value) for value in adjusted)


def paired_gain(
    a_logits: npt.ArrayLike,
    b_logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    random_seed: int = 0,
) -> PairedGain:
    """Compare two models, each trained with the same number of seeds, on the same test images.

    Seeds are compared in order: where the k-th networks of both share data order and views, what
    they share cancels. Where they share nothing the pairing does no harm.

    Args:
        a_logits: First model, shape (S, N, C); a positive gain means that it is better.
        b_logits: Second model, the same shape.
        labels: int, shape (N,).
        confidence: Coverage of the interval, in 0-1.
        resamples: Number of bootstrap resamples of the images, at least 100.
        random_seed: Seed of the resampling.

    Raises:
        InputError: The arrays do not fit together or hold NaN, there is no image, or a setting is
            out of range.
    """
    shape = np.shape(a_logits)
    if shape != np.shape(b_logits):
        raise InputError(
            f"logits of shapes {shape} and {np.shape(b_logits)} cannot be paired",
            "test both models on the same images with the same number of seeds",
        )
    num_classes = shape[-1] if shape else 0
    first, truth = checked_arrays(a_logits, labels, num_classes)
    second, _ = checked_arrays(b_logits, labels, num_classes)
    return paired_gain_of_correct(
        first.argmax(axis=-1) == truth,
        second.argmax(axis=-1) == truth,
        confidence=confidence,
        resamples=resamples,
        random_seed=random_seed,
    )


def paired_gain_of_correct(
    a_correct: NDArray[np.bool_],
    b_correct: NDArray[np.bool_],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    random_seed: int = 0,
) -> PairedGain:
    """Compare two models by which images their networks got right; see :func:`paired_gain`.

    Args:
        a_correct: First model, shape (S, N).
        b_correct: Second model, the same shape.
        confidence: Coverage of the interval, in 0-1.
        resamples: Number of bootstrap resamples of the images, at least 100.
        random_seed: Seed of the resampling.
    """
    check_settings(confidence=confidence, resamples=resamples)
    tests = tuple(mcnemar(a, b) for a, b in zip(a_correct, b_correct, strict=True))
    seeds, images = a_correct.shape
    difference = a_correct.astype(np.int64) - b_correct.astype(np.int64)
    drawn, patterns = pattern_draws(difference.T, resamples=resamples, random_seed=random_seed)
    degrees = image_degrees(difference.mean(axis=0))
    gain = crossed_interval(
        difference.mean(axis=1),
        drawn @ patterns / images,
        confidence=confidence,
        image_degrees=degrees,
    )
    ends, p_value = gain.ends, gain_p_value(gain, image_degrees=degrees)
    if gain.standard_error < NEGLIGIBLE and gain.point != 0.0:
        # All images tell the same, so a bootstrap sees no doubt; a sign test over them does. The
        # exact binomial bound belongs to it: above one half just where p < 1 - confidence.
        p_value = min(1.0, 2 * 0.5**images)
        share = ((1 - confidence) / 2) ** (1 / images)
        bound = abs(gain.point) * (2 * share - 1)
        ends = (bound, 1.0) if gain.point > 0 else (-1.0, -bound)
    return PairedGain(
        accuracy=gain.point, ci95=ends, p_value=p_value, test=describe_test(seeds), mcnemar=tests
    )


def image_degrees(values: NDArray[np.float64]) -> float:
    """Return the degrees of freedom of the sample variance of ``values``, at least 1.

    Satterthwaite's ``2 v**2 / Var(v)`` with the fourth moment of the sample instead of a normal
    one: where few images are decided differently it is about twice their number, and the quantile
    grows as it should.
    """
    centred = values - values.mean()
    variance = float(np.mean(centred**2))
    if variance == 0.0:
        return math.inf
    kurtosis = float(np.mean(centred**4)) / variance**2
    return max(1.0, 2 * len(values) / max(kurtosis - 1, 2 / len(values)))


def gain_p_value(gain: Interval, *, image_degrees: float) -> float:
    """Return the level at which the gain's interval begins to leave out zero, down to 1e-12."""
    if gain.point == 0.0 or gain.standard_error < NEGLIGIBLE:
        return 1.0
    low, high = math.log(1e-12), 0.0  # below that, 1 - p is no longer told from 1
    for _ in range(60):  # bisection: the half width falls as p grows
        middle = (low + high) / 2
        half = half_width(
            1 - math.exp(middle),
            gain.image_error,
            seed_error=gain.seed_error,
            seeds=gain.seeds,
            image_degrees=image_degrees,
        )
        low, high = (middle, high) if half > abs(gain.point) else (low, middle)
    return math.exp(high)


def describe_test(seeds: int) -> str:
    """Name the test of a paired gain with ``seeds`` seeds."""
    if seeds == 1:
        return "paired bootstrap over images (one seed: seeds are not covered)"
    return f"paired bootstrap over images, with Student's t for the variance between {seeds} seeds"
