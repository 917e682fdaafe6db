"""Paired comparisons: hand computation, consistency of interval and p-value, error rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fersearch.errors import InputError
from fersearch.stats import holm, mcnemar, paired_gain, paired_gain_of_correct


def vectors(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = [True] * both + [True] * only_a + [False] * only_b + [False] * neither
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return np.array(a), np.array(b)


def test_mcnemar_by_hand() -> None:
    # 8 discordant images, 1 and 7: two tails of (1 + 8) / 256.
    test = mcnemar(*vectors(20, 7, 1, 5))
    assert (test.only_a, test.only_b) == (7, 1)
    assert test.p_value == pytest.approx(18 / 256)


@given(only_a=st.integers(0, 60), only_b=st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test_and_symmetric(only_a: int, only_b: int) -> None:
    a, b = vectors(3, only_a, only_b, 2)
    test = mcnemar(a, b)
    assert test.p_value == mcnemar(b, a).p_value
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert test.p_value == pytest.approx(expected)


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_and_never_exceeds_bonferroni(p_values: list[float]) -> None:
    for raw, adjusted in zip(p_values, holm(p_values), strict=True):
        assert raw <= adjusted <= min(1.0, raw * len(p_values)) + 1e-12


def test_holm_refuses_what_is_no_probability() -> None:
    with pytest.raises(InputError):
        holm([0.1, float("nan")])


def test_identical_predictions_show_nothing() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 50, 4))
    gain = paired_gain(logits, logits.copy(), np.arange(50) % 4)
    assert (gain.accuracy, gain.ci95, gain.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert [test.p_value for test in gain.mcnemar] == [1.0, 1.0, 1.0]


def test_one_seed_by_hand() -> None:
    # 1,000 images, 60 against 30: gain 0.03, standard error sqrt(0.09 - 0.0009) / sqrt(1000).
    a, b = vectors(800, 60, 30, 110)
    gain = paired_gain_of_correct(a[None], b[None], resamples=20_000)
    error = np.sqrt(0.0891 / 1000)
    # Fourth moment about the mean: 0.06 * 0.97^4 + 0.03 * 1.03^4 + 0.91 * 0.03^4 = 0.08688;
    # kurtosis 10.94, so 2000 / 9.94 = 201 degrees of freedom and t = 1.9718.
    assert gain.accuracy == pytest.approx(0.03)
    assert gain.ci95 == pytest.approx((0.03 - 1.9718 * error, 0.03 + 1.9718 * error), abs=6e-4)
    assert gain.p_value == pytest.approx(0.0017, rel=0.3)
    assert gain.mcnemar[0].p_value == pytest.approx(binomtest(30, 90).pvalue)
    assert "one seed" in gain.test


def test_a_gain_in_every_seed_that_seeds_would_explain_is_not_significant() -> None:
    # Two seeds, gains 0.5 and 12.5 points: McNemar says yes for the second, the pair says nothing.
    first, second = vectors(600, 45, 40, 315), vectors(500, 150, 25, 325)
    a, b = np.stack([first[0], second[0]]), np.stack([first[1], second[1]])
    gain = paired_gain_of_correct(a, b)
    assert gain.mcnemar[1].p_value < 1e-10
    assert gain.ci95[0] < 0 < gain.ci95[1]
    assert gain.p_value > 0.2


def test_a_model_right_everywhere_against_one_wrong_everywhere() -> None:
    right = np.ones((1, 20), dtype=bool)
    gain = paired_gain_of_correct(right, ~right)
    assert gain.accuracy == gain.ci95[1] == 1.0
    assert gain.ci95[0] == pytest.approx(2 * 0.025 ** (1 / 20) - 1)
    assert gain.p_value == pytest.approx(2 / 2**20)
    worse = paired_gain_of_correct(~right, right)
    assert worse.ci95 == (-1.0, -gain.ci95[0])


def test_a_huge_gain_has_a_tiny_p_value() -> None:
    a, b = vectors(100, 800, 1, 99)
    assert paired_gain_of_correct(a[None], b[None]).p_value < 1e-10


@settings(max_examples=60, deadline=None)
@given(
    seeds=st.integers(1, 3),
    images=st.integers(2, 60),
    advantage=st.floats(0, 0.6),
    draw_seed=st.integers(0, 2**32 - 1),
    confidence=st.sampled_from([0.8, 0.95, 0.99]),
)
def test_interval_and_p_value_tell_the_same_and_swapping_models_turns_the_sign(
    seeds: int, images: int, advantage: float, draw_seed: int, confidence: float
) -> None:
    generator = np.random.default_rng(draw_seed)
    a = generator.random((seeds, images)) < 0.4 + advantage
    b = generator.random((seeds, images)) < 0.4
    gain = paired_gain_of_correct(a, b, confidence=confidence, resamples=200)
    low, high = gain.ci95
    assert low <= gain.accuracy <= high
    assert 0.0 <= gain.p_value <= 1.0
    excluded = low > 1e-12 or high < -1e-12
    assert excluded == (gain.p_value < 1 - confidence - 1e-9) or min(abs(low), abs(high)) < 1e-9
    swapped = paired_gain_of_correct(b, a, confidence=confidence, resamples=200)
    assert swapped.accuracy == -gain.accuracy


def false_alarms(*, seeds: int, repetitions: int) -> float:
    """Share of p < 0.05 where two models of equal skill were trained and tested."""
    generator = np.random.default_rng(11)
    alarms = 0
    for number in range(repetitions):
        difficulty = 2 * generator.normal(size=600)

        def trained(shared: np.ndarray = difficulty) -> np.ndarray:
            skill = 2.0 + 0.1 * generator.normal(size=(seeds, 1))
            return skill + shared + generator.normal(size=(seeds, 600)) > 0

        gain = paired_gain_of_correct(trained(), trained(), resamples=200, random_seed=number)
        alarms += gain.p_value < 0.05
    return alarms / repetitions


@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_models_are_rarely_told_apart(seeds: int) -> None:
    assert false_alarms(seeds=seeds, repetitions=200) <= 0.10


@pytest.mark.slow
def test_equal_models_are_told_apart_in_at_most_7_percent_of_2000_repetitions() -> None:
    assert 0.02 <= false_alarms(seeds=3, repetitions=2000) <= 0.07


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="cannot be paired"):
        paired_gain(np.zeros((3, 5, 2)), np.zeros((1, 5, 2)), np.zeros(5, dtype=int))
    with pytest.raises(InputError, match="do not fit"):
        paired_gain(np.zeros(()), np.zeros(()), np.zeros(5, dtype=int))
