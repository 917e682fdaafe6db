"""Intervals: known values, laws, and coverage by simulation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, chi2, norm

from fersearch.errors import InputError
from fersearch.stats import accuracy_interval, crossed_interval, wilson_interval
from fersearch.stats.intervals import half_width, pattern_draws, t_quantile


def simulated(
    generator: np.random.Generator,
    *,
    seeds: int,
    images: int,
    skill: float,
    seed_sd: float,
    image_sd: float,
) -> np.ndarray:
    """Right and wrong of networks that differ in skill on images that differ in difficulty."""
    latent = (
        skill
        + seed_sd * generator.normal(size=(seeds, 1))
        + image_sd * generator.normal(size=(1, images))
        + generator.normal(size=(seeds, images))
    )
    return latent > 0


def coverage(
    interval_of: Callable[[np.ndarray, int], tuple[float, float]],
    *,
    truth: float,
    repetitions: int,
    draw: Callable[[np.random.Generator], np.ndarray],
) -> float:
    generator = np.random.default_rng(20)
    hits = 0
    for repetition in range(repetitions):
        low, high = interval_of(draw(generator), repetition)
        hits += low <= truth <= high
    return hits / repetitions


CASES = [
    pytest.param(1, 1000, 0.0, 1.0, id="one-seed"),
    pytest.param(3, 500, 0.0, 2.0, id="three-equal-seeds"),
    pytest.param(3, 1000, 0.1, 1.5, id="three-seeds"),
    pytest.param(3, 2000, 0.3, 1.5, id="three-very-different-seeds"),
    pytest.param(5, 1000, 0.1, 1.5, id="five-seeds"),
]


def accuracy_coverage(
    seeds: int, images: int, seed_sd: float, image_sd: float, *, repetitions: int
) -> float:
    skill = 1.5
    return coverage(
        lambda correct, number: accuracy_interval(correct, resamples=300, random_seed=number).ends,
        truth=float(norm.cdf(skill / math.sqrt(1 + seed_sd**2 + image_sd**2))),
        repetitions=repetitions,
        draw=partial(
            simulated,
            seeds=seeds,
            images=images,
            skill=skill,
            seed_sd=seed_sd,
            image_sd=image_sd,
        ),
    )


@pytest.mark.parametrize(("seeds", "images", "seed_sd", "image_sd"), CASES)
def test_interval_covers_the_true_accuracy_about_as_often_as_it_says(
    seeds: int, images: int, seed_sd: float, image_sd: float
) -> None:
    covered = accuracy_coverage(seeds, images, seed_sd, image_sd, repetitions=250)
    assert 0.90 <= covered <= 0.995


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "images", "seed_sd", "image_sd"), CASES)
def test_interval_covers_93_to_97_percent_in_2000_repetitions(
    seeds: int, images: int, seed_sd: float, image_sd: float
) -> None:
    covered = accuracy_coverage(seeds, images, seed_sd, image_sd, repetitions=2000)
    assert 0.93 <= covered <= 0.97


def test_resampling_three_seeds_naively_covers_far_less() -> None:
    generator = np.random.default_rng(0)

    def naive(correct: np.ndarray, _: int) -> tuple[float, float]:
        chosen = generator.integers(3, size=(200, 3))
        accuracies = correct.mean(axis=1)
        low, high = np.quantile(accuracies[chosen].mean(axis=1), [0.025, 0.975])
        return float(low), float(high)

    truth = float(norm.cdf(1.5 / math.sqrt(1 + 0.3**2 + 1.5**2)))
    draw = partial(simulated, seeds=3, images=1000, skill=1.5, seed_sd=0.3, image_sd=1.5)
    assert coverage(naive, truth=truth, repetitions=200, draw=draw) < 0.85


def test_wilson_matches_another_implementation() -> None:
    theirs = binomtest(83, 100).proportion_ci(0.95, method="wilson")
    ours = wilson_interval(83, 100)
    assert ours.ends == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.standard_error == pytest.approx(math.sqrt(0.83 * 0.17 / 100))


@pytest.mark.parametrize("successes", [0, 7])
def test_wilson_at_the_edges_reaches_them_and_no_further(successes: int) -> None:
    interval = wilson_interval(successes, 7)
    assert 0.0 <= interval.low <= interval.point <= interval.high <= 1.0
    assert successes / 7 in interval.ends


def test_one_seed_equals_the_binomial_standard_error() -> None:
    correct = (np.arange(2000) % 8 > 0)[None]
    interval = accuracy_interval(correct, resamples=20_000)
    expected = math.sqrt(0.875 * 0.125 / 2000)
    assert interval.point == 0.875
    assert interval.image_error == pytest.approx(expected, rel=0.03)
    assert interval.seed_error == 0.0
    assert interval.covers == "images"


def test_seeds_that_differ_more_than_images_explain_widen_the_interval() -> None:
    images = np.arange(1000)
    alike = np.stack([images >= 100, images >= 100, images >= 100])
    apart = np.stack([images >= 40, images >= 100, images >= 160])
    narrow, wide = accuracy_interval(alike), accuracy_interval(apart)
    assert narrow.point == pytest.approx(0.9)
    assert wide.point == pytest.approx(0.9)
    assert narrow.seed_error == 0.0
    # Seeds' accuracies 0.96, 0.90, 0.84: standard deviation 0.06, of which little is noise.
    assert wide.seed_error == pytest.approx(0.06 / math.sqrt(3), rel=0.05)
    assert wide.high - wide.low > 4 * (narrow.high - narrow.low)
    assert wide.covers == "images and seeds"


def test_hand_computed_parts_of_the_variance() -> None:
    # Two resamples a seed; means over seeds 0.5 and 0.7, so the image variance is 0.02.
    draws = np.array([[0.4, 0.6], [0.8, 0.6]])
    interval = crossed_interval(np.array([0.5, 0.7]), draws)
    # One seed: (0.08 + 0) / 2 = 0.04; noise = (0.04 - 0.02) * 2 = 0.04, with two seeds all kept:
    # image part 0.02 - 0.04 / 2 = 0; seeds' variance 0.02, over 2 seeds 0.01.
    assert interval.point == pytest.approx(0.6)
    assert interval.image_error == pytest.approx(0.0, abs=1e-8)
    assert interval.seed_error == pytest.approx(0.1)
    assert interval.high - interval.point == pytest.approx(12.7062 * 0.1, rel=1e-4)


def test_all_images_right_still_leaves_doubt() -> None:
    interval = accuracy_interval(np.ones((3, 50), dtype=bool))
    assert interval.high == interval.point == 1.0
    assert interval.low == pytest.approx(wilson_interval(50, 50).low)
    assert interval.covers == "images and seeds"


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_half_width_covers_whatever_the_share_of_the_seeds(seeds: int, share: float) -> None:
    # Exact but for the grid: the images' variance known, that of the seeds estimated.
    levels = (np.arange(400) + 0.5) / 400
    estimated = share * chi2.ppf(levels, seeds - 1) / (seeds - 1)
    halves = [
        half_width(0.95, math.sqrt(1 - share), seed_error=math.sqrt(value), seeds=seeds)
        for value in estimated
    ]
    covered = np.mean(2 * norm.cdf(halves) - 1)
    assert 0.94 <= covered <= (0.985 if seeds == 2 else 0.97)


def test_seeds_that_agree_by_chance_leave_the_doubt_that_chance_allows() -> None:
    # Each of three seeds misses another 100 of 1,000 images: equal accuracies, nothing shared.
    images = np.arange(1000)
    correct = np.stack([images // 100 != seed for seed in range(3)])
    interval = accuracy_interval(correct, resamples=20_000)
    # The mean over the seeds is 2/3 on 300 images and 1 on 700, a variance of 0.0233 (V1 times
    # N); of one seed 0.09 (V2 times N). Noise (0.09 - 0.0233) * 3 / 2 = 0.1 exceeds 3 * 0.0233, so
    # the images' part is zero, and the seeds' 0.0513 of it, over 3 seeds and 1,000 images.
    assert interval.image_error == pytest.approx(0.0, abs=1e-9)
    assert interval.seed_error == pytest.approx(math.sqrt(0.05129 * 0.1 / 3000), rel=0.02)
    assert interval.high - interval.low > 0.01


@settings(max_examples=60, deadline=None)
@given(
    seeds=st.integers(1, 4),
    images=st.integers(1, 40),
    share=st.floats(0, 1),
    draw_seed=st.integers(0, 2**32 - 1),
)
def test_interval_holds_the_point_stays_in_range_and_ignores_the_order(
    seeds: int, images: int, share: float, draw_seed: int
) -> None:
    generator = np.random.default_rng(draw_seed)
    correct = generator.random((seeds, images)) < share
    interval = accuracy_interval(correct, resamples=100)
    assert 0.0 <= interval.low <= interval.point <= interval.high <= 1.0
    shuffled = accuracy_interval(correct[:, generator.permutation(images)], resamples=100)
    assert shuffled.ends == pytest.approx(interval.ends, abs=1e-12)


def test_higher_confidence_contains_lower() -> None:
    correct = np.random.default_rng(1).random((3, 300)) < 0.8
    outer = accuracy_interval(correct, confidence=0.99)
    inner = accuracy_interval(correct, confidence=0.8)
    assert outer.low < inner.low < inner.high < outer.high


def test_pattern_draws_resample_exactly_as_many_images_as_there_are() -> None:
    features = np.array([[0, 1], [0, 1], [1, 1], [2, 0]])
    drawn, patterns = pattern_draws(features, resamples=500, random_seed=0)
    assert patterns.tolist() == [[0, 1], [1, 1], [2, 0]]
    assert (drawn.sum(axis=1) == 4).all()
    assert drawn.mean(axis=0) == pytest.approx([2.0, 1.0, 1.0], abs=0.15)


def test_t_quantiles_of_the_tables() -> None:
    assert t_quantile(0.95, 4) == pytest.approx(2.7764, abs=1e-4)
    assert t_quantile(0.99, math.inf) == pytest.approx(2.5758, abs=1e-4)


def test_2000_resamples_of_3_seeds_and_5000_images_take_less_than_a_second() -> None:
    correct = np.random.default_rng(1).random((3, 5000)) < 0.8
    start = time.perf_counter()
    accuracy_interval(correct)
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize(
    ("correct", "options"),
    [
        (np.ones((1, 0), dtype=bool), {}),
        (np.ones((0, 5), dtype=bool), {}),
        (np.ones(5, dtype=bool), {}),
        (np.ones((1, 5), dtype=bool), {"confidence": 1.0}),
        (np.ones((1, 5), dtype=bool), {"resamples": 20}),
    ],
)
def test_impossible_requests_are_refused(correct: np.ndarray, options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        accuracy_interval(correct, **options)
