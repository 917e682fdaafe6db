"""Comparison of several models over several data sets by their ranks.

Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006, section 3.2:
Friedman's test in the form of Iman and Davenport asks whether the models differ at all, Nemenyi's
critical difference how far apart two mean ranks must be. Data sets are the sample here: what is
found on two or three of them says next to nothing about others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from fersearch.errors import InputError
from fersearch.stats.intervals import FloatArray

__all__ = ["RankComparison", "compare_ranks", "critical_value"]

LEAST_TO_DRAW = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RankComparison:
    """Models ranked on each of several data sets, 1 being the best.

    Attributes:
        datasets: Names of the data sets, N.
        models: Names of the models that have a score on all of them, k, by mean rank.
        mean_ranks: Their mean ranks, in this order; equal scores share the mean of their ranks.
        left_out: Models that lack a score on some data set, sorted.
        statistic: Friedman's chi-square on k - 1 degrees of freedom, corrected for ties.
        f_statistic: Iman and Davenport's F; infinite where all data sets rank alike.
        degrees: Degrees of freedom of F: k - 1 and (k - 1)(N - 1).
        p_value: Probability of such an F, or a larger one, where the models are equally good.
        level: Level of the critical difference.
        critical_difference: Nemenyi's: mean ranks that differ by less are not told apart.
        groups: Largest sets of two or more models that are not told apart, the best first.
        drawable: Whether a critical-difference diagram says something: 8 data sets or more.
        words: What a reader must know, in sentences.
    """

    datasets: tuple[str, ...]
    models: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    left_out: tuple[str, ...]
    statistic: float
    f_statistic: float
    degrees: tuple[int, int]
    p_value: float
    level: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]
    drawable: bool
    words: str


def critical_value(models: int, *, level: float = 0.05) -> float:
    """Return q of the Nemenyi test: the studentized range's upper quantile over the root of 2.

    >>> [round(critical_value(models), 2) for models in (2, 3, 10)]
    [1.96, 2.34, 3.16]
    """
    from scipy.stats import studentized_range  # type: ignore[attr-defined]  # slow to import

    return float(studentized_range.ppf(1 - level, models, math.inf)) / math.sqrt(2)


def compare_ranks(
    scores: Mapping[str, Mapping[str, float]], *, level: float = 0.05
) -> RankComparison:
    """Rank the models on each data set and say which ones differ.

    Args:
        scores: By data set and model, larger being better; all of one kind (accuracy).
        level: Level of the critical difference, in 0-1.

    Raises:
        InputError: There are fewer than two data sets, or fewer than two models with a score on
            all of them, a score is not finite, or the level is out of range.

    >>> found = compare_ranks({"a": {"x": 0.9, "y": 0.8}, "b": {"x": 0.7, "y": 0.6}})
    >>> found.models, found.mean_ranks, found.p_value, found.drawable
    (('x', 'y'), (1.0, 2.0), 0.5, False)
    """
    from scipy.stats import rankdata

    if not 0.0 < level < 1.0:
        raise InputError(f"the level must be between 0 and 1 but is {level}", "0.05 is usual")
    datasets = tuple(scores)
    common = [
        model
        for model in next(iter(scores.values()), {})
        if all(model in of_dataset for of_dataset in scores.values())
    ]
    if len(datasets) < 2 or len(common) < 2:
        raise InputError(
            f"{len(datasets)} data sets with {len(common)} models in common cannot be ranked",
            "test at least two models on at least two data sets",
        )
    table = np.array([[scores[name][model] for model in common] for name in datasets], dtype=float)
    if not np.isfinite(table).all():
        raise InputError("a score is NaN or infinite", "leave that model out")
    ranks = rankdata(-table, axis=1)
    means = ranks.mean(axis=0)
    order = np.argsort(means, kind="stable")
    models = tuple(common[index] for index in order)
    mean_ranks = tuple(float(means[index]) for index in order)
    count, number = len(models), len(datasets)
    statistic, f_statistic, p_value = friedman(ranks)
    difference = critical_value(count, level=level) * math.sqrt(count * (count + 1) / (6 * number))
    degrees = (count - 1, (count - 1) * (number - 1))
    return RankComparison(
        datasets=datasets,
        models=models,
        mean_ranks=mean_ranks,
        left_out=tuple(sorted({name for row in scores.values() for name in row} - set(common))),
        statistic=statistic,
        f_statistic=f_statistic,
        degrees=degrees,
        p_value=p_value,
        level=level,
        critical_difference=difference,
        groups=groups_within(models, mean_ranks, difference),
        drawable=number >= LEAST_TO_DRAW,
        words=in_words(number, count, f_statistic, p_value, difference, level),
    )


def friedman(ranks: FloatArray) -> tuple[float, float, float]:
    """Return Friedman's chi-square, Iman and Davenport's F and its p-value.

    Where all data sets rank alike, F is infinite, and the p-value is the exact probability that N
    orders of k models agree, k! ** (1 - N), instead of zero.

    Args:
        ranks: Rank of each model on each data set, shape (N, k), ties averaged.
    """
    number, count = ranks.shape
    centred = ranks - (count + 1) / 2
    spread = float((centred**2).sum())
    if spread == 0.0:  # nothing but ties
        return 0.0, 0.0, 1.0
    # Without ties this is 12 N / (k (k + 1)) * (sum of squared mean ranks - k (k + 1)**2 / 4).
    chi_square = (count - 1) * float((centred.sum(axis=0) ** 2).sum()) / spread
    remainder = number * (count - 1) - chi_square
    if remainder < 1e-9 * chi_square:
        return chi_square, math.inf, 1 / math.factorial(count) ** (number - 1)
    ratio = (number - 1) * chi_square / remainder
    first = count - 1
    return chi_square, ratio, float(special.fdtrc(first, first * (number - 1), ratio))


def groups_within(
    models: tuple[str, ...], mean_ranks: tuple[float, ...], difference: float
) -> tuple[tuple[str, ...], ...]:
    """Return the largest runs of models whose mean ranks, sorted, all differ by less."""
    groups: list[tuple[str, ...]] = []
    reached = 0
    for start, rank in enumerate(mean_ranks):
        end = start + sum(other - rank < difference for other in mean_ranks[start:])
        if end - start > 1 and end > reached:
            groups.append(models[start:end])
            reached = end
    return tuple(groups)


def in_words(
    number: int, count: int, f_statistic: float, p_value: float, difference: float, level: float
) -> str:
    """Say what was found, and how little it is with few data sets."""
    text = (
        f"Mean ranks of {count} models on {number} data sets: Friedman's test with Iman and"
        f" Davenport's correction gives F({count - 1}, {(count - 1) * (number - 1)}) ="
        f" {f_statistic:.2f}, p = {p_value:.3g}; mean ranks that differ by less than"
        f" {difference:.2f} are not told apart (Nemenyi, level {level:g})."
    )
    if number < LEAST_TO_DRAW:
        text += (
            f" With {number} data sets such a grouping has little power: models in one group may"
            " well differ, and a diagram is not drawn."
        )
    return text
