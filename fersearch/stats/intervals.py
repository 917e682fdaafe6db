"""Confidence intervals for figures averaged over training seeds that share one test set.

Two things are random in such a figure: which images are in the test set, and which seeds the
networks were trained with. They are crossed (every seed is tested on every image), so for the
accuracy the model is ``x[s, i] = mean + seed[s] + image[i] + rest[s, i]`` and the variance of the
grand mean is ``V(seed) / S + V(image) / N + V(rest) / (S N)``.

*   Image sampling: a nonparametric bootstrap over the test images (Efron & Tibshirani, "An
    Introduction to the Bootstrap", 1993, chapter 6), the same resampled images for all seeds.
    ``image_variance`` is the variance over the resamples of the mean over the seeds; it estimates
    ``(V(image) + V(rest) / S) / N``.
*   Seeds: resampling three seeds with replacement would give 2/3 of their variance and a normal
    tail, and so intervals that are far too short. Instead the sample variance of the seeds' figures
    is used, with Student's t. It estimates ``V(seed) + V(rest) / N``. The second term, the noise,
    is in the images' part too; the bootstrap tells it apart, as the variance of one seed's figure
    less that of the mean over the seeds, times ``S / (S - 1)``, and it is subtracted there (the
    analysis-of-variance estimators of a crossed design: Searle, Casella & McCulloch, "Variance
    Components", 1992, chapter 4). Where seeds are nearer to each other than the noise lets them be
    by chance once in 20 times, that much is taken instead.
*   Both together: two approximations for a sum of two quantities with degrees of freedom of their
    own are known. Howe's (JASA 69, 1974), ``z ** 2 * image variance + t(S - 1) ** 2 * seed
    variance / S``, is too long between the extremes; Satterthwaite's (Biometrics Bulletin 2, 1946),
    Student's t on degrees of freedom made from both, is too short. The squared half width is the
    mean of theirs: with three seeds, known variances of the images and normal errors it covers
    94.3 to 96.7 % whatever the share of the seeds, where Howe's covers up to 97.7 and
    Satterthwaite's down to 92.2.
*   Scale: figures in 0-1 get their interval on the logit scale, so that it stays inside 0-1 and is
    longer towards the middle; differences keep the plain scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fersearch.errors import InputError

__all__ = [
    "Interval",
    "accuracy_interval",
    "crossed_interval",
    "pattern_draws",
    "wilson_interval",
]

FloatArray = NDArray[np.float64]

# A standard error below this is rounding: nothing varied.
NEGLIGIBLE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over seeds with its confidence interval.

    Attributes:
        point: The estimate: the mean over the seeds.
        low: Lower end; never above ``point``.
        high: Upper end; never below ``point``.
        image_error: Standard error of ``point`` by the sampling of test images.
        seed_error: Standard error by the training seeds, and by what their networks get wrong
            each for itself; zero when there is one seed, whose share cannot be known.
        seeds: Number of seeds, S.
    """

    point: float
    low: float
    high: float
    image_error: float
    seed_error: float
    seeds: int

    @property
    def ends(self) -> tuple[float, float]:
        """The lower and the upper end."""
        return self.low, self.high

    @property
    def standard_error(self) -> float:
        """Standard error of ``point``, both parts together."""
        return math.hypot(self.image_error, self.seed_error)

    @property
    def covers(self) -> str:
        """What the interval allows for: ``images and seeds``, or ``images`` with one seed."""
        return "images and seeds" if self.seeds > 1 else "images"


def check_settings(*, confidence: float, resamples: int) -> None:
    """Refuse a confidence outside 0-1 and fewer than 100 resamples.

    Raises:
        InputError: One of them is out of range.
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(
            f"the confidence must be between 0 and 1 but is {confidence}", "use 0.95 for 95 %"
        )
    if resamples < 100:
        raise InputError(
            f"{resamples} resamples cannot give a standard error", "use 100 or more; 2000 is usual"
        )


def t_quantile(confidence: float, degrees: float) -> float:
    """Return the two-sided quantile of Student's t; of the normal with infinite degrees.

    >>> round(t_quantile(0.95, 2), 3), round(t_quantile(0.95, math.inf), 3)
    (4.303, 1.96)
    """
    # From the lower tail, where a confidence near 1 keeps its digits.
    tail = (1 - confidence) / 2
    if math.isinf(degrees):
        return -float(special.ndtri(tail))
    return -float(special.stdtrit(degrees, tail))


def wilson_interval(
    successes: float, trials: int, *, confidence: float = 0.95, seeds: int = 1
) -> Interval:
    """Return Wilson's score interval of a proportion (JASA 22, 1927).

    It is used where nothing varies (all images right, or all wrong), where a bootstrap would
    claim an interval of length zero.

    Args:
        successes: Number of successes, in ``0 .. trials``.
        trials: Number of trials, at least 1.
        confidence: Coverage asked for, in 0-1.
        seeds: What the result states as its number of seeds.

    >>> interval = wilson_interval(10, 10)
    >>> round(interval.low, 4), interval.high
    (0.7225, 1.0)
    """
    quantile = t_quantile(confidence, math.inf)
    share = successes / trials
    scale = 1 + quantile**2 / trials
    centre = (share + quantile**2 / (2 * trials)) / scale
    variance = share * (1 - share) / trials + quantile**2 / (4 * trials**2)
    half = quantile * math.sqrt(variance) / scale
    return Interval(
        point=share,
        low=max(0.0, min(centre - half, share)),
        high=1.0 if share == 1.0 else min(1.0, max(centre + half, share)),
        image_error=math.sqrt(share * (1 - share) / trials),
        seed_error=0.0,
        seeds=seeds,
    )


def pattern_draws(
    features: NDArray[Any], *, resamples: int, random_seed: int
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Resample images with replacement, counting them by their pattern instead of one by one.

    Images whose rows are equal are exchangeable, so drawing N images with replacement is one
    multinomial draw over the distinct rows: the same distribution at a fraction of the work.

    Args:
        features: int or bool, images x features; all that a figure depends on (label, predictions).
        resamples: Number of resamples.
        random_seed: Seed of the draws; the result is a function of it and of ``features`` as a
            multiset, not of the order of the images.

    Returns:
        How often each pattern occurs in each resample (resamples x patterns, float64), and the
        distinct patterns (patterns x features, sorted).
    """
    patterns, counts = np.unique(np.asarray(features, dtype=np.int64), axis=0, return_counts=True)
    generator = np.random.default_rng(random_seed)
    total = int(counts.sum())
    drawn = generator.multinomial(total, counts / total, size=resamples)
    return drawn.astype(np.float64), patterns


def half_width(
    confidence: float,
    image_error: float,
    *,
    image_degrees: float = math.inf,
    seed_error: float = 0.0,
    seeds: int = 1,
) -> float:
    """Return the half width of an interval whose error has an image and a seed part.

    The mean of two approximations, one too long and one too short; see the module's text.
    """
    image_part = t_quantile(confidence, image_degrees) * image_error
    if seed_error == 0.0:
        return image_part
    howe = image_part**2 + (t_quantile(confidence, seeds - 1) * seed_error) ** 2
    variance = image_error**2 + seed_error**2
    share = seed_error**2 / variance
    rate = (1 - share) ** 2 / image_degrees + share**2 / (seeds - 1)
    degrees = 1 / rate if rate > 0.0 else math.inf
    satterthwaite = t_quantile(confidence, degrees) ** 2 * variance
    return math.sqrt((howe + satterthwaite) / 2)


def crossed_parts(
    estimates: FloatArray, draws: FloatArray, image_variance: float
) -> tuple[float, float]:
    """Return the image and the seed part of the standard error of a mean over S > 1 seeds."""
    seeds = len(estimates)
    single_variance = float(np.var(draws, axis=0, ddof=1).mean())
    noise = max(0.0, single_variance - image_variance) * seeds / (seeds - 1)
    by_chance = float(special.chdtri(seeds - 1, 0.95)) / (seeds - 1)  # once in 20 times
    seed_variance = max(float(np.var(estimates, ddof=1)), by_chance * noise)
    seed_error = math.sqrt(seed_variance / seeds)
    return (
        math.sqrt(max(0.0, image_variance - noise / seeds)),
        seed_error if seed_error >= NEGLIGIBLE else 0.0,
    )


def crossed_interval(
    estimates: FloatArray,
    draws: FloatArray,
    *,
    confidence: float = 0.95,
    scale: Literal["logit", "identity"] = "identity",
    image_degrees: float = math.inf,
) -> Interval:
    """Return the interval of a mean over seeds from image resamples; see the module's text.

    With one seed it covers the sampling of images only. When the figure does not vary at all the
    interval has length zero: the caller knows better what to say then.

    Args:
        estimates: Figure of each seed on the whole test set, shape (S,).
        draws: The same on resampled images, the same resample in a row, shape (resamples, S).
        confidence: Coverage asked for, in 0-1.
        scale: ``logit`` for figures in 0-1, ``identity`` for differences.
        image_degrees: Degrees of freedom of the images' part; infinite gives the normal quantile.
    """
    seeds = len(estimates)
    point = float(np.mean(estimates))
    image_variance = float(np.var(draws.mean(axis=1), ddof=1))
    image_error, seed_error = math.sqrt(image_variance), 0.0
    if seeds > 1:
        image_error, seed_error = crossed_parts(estimates, draws, image_variance)
    half = half_width(
        confidence, image_error, image_degrees=image_degrees, seed_error=seed_error, seeds=seeds
    )
    low, high = point - half, point + half
    if scale == "logit" and 0.0 < point < 1.0:
        centre, half = float(special.logit(point)), half / (point * (1 - point))
        low, high = float(special.expit(centre - half)), float(special.expit(centre + half))
    return Interval(
        point=point,
        low=min(low, point),
        high=max(high, point),
        image_error=image_error,
        seed_error=seed_error,
        seeds=seeds,
    )


def accuracy_interval(
    correct: NDArray[np.bool_],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    random_seed: int = 0,
) -> Interval:
    """Return the mean accuracy over seeds and its interval for new images and, if S > 1, new seeds.

    Args:
        correct: Whether each seed's network was right on each image, shape (S, N).
        confidence: Coverage asked for, in 0-1.
        resamples: Number of bootstrap resamples of the images, at least 100.
        random_seed: Seed of the resampling.

    Raises:
        InputError: There is no image, or a setting is out of range.

    >>> right = np.arange(1000) % 10 > 0
    >>> interval = accuracy_interval(right[None])
    >>> interval.point, round(interval.low, 2), round(interval.high, 2), interval.covers
    (0.9, 0.88, 0.92, 'images')
    """
    check_settings(confidence=confidence, resamples=resamples)
    if correct.ndim != 2 or correct.size == 0:
        raise InputError(
            f"an accuracy needs seeds x images but the array has the shape {correct.shape}",
            "give at least one seed and one test image",
        )
    drawn, patterns = pattern_draws(correct.T, resamples=resamples, random_seed=random_seed)
    images = correct.shape[1]
    interval = crossed_interval(
        correct.mean(axis=1), drawn @ patterns / images, confidence=confidence, scale="logit"
    )
    if interval.standard_error < NEGLIGIBLE:
        return wilson_interval(
            interval.point * images, images, confidence=confidence, seeds=interval.seeds
        )
    return interval
