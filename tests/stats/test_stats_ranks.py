"""Ranks over data sets: published critical values, hand computation, another implementation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f as f_distribution
from scipy.stats import friedmanchisquare

from fersearch.errors import InputError
from fersearch.stats import compare_ranks, critical_value


def scores_of(table: Any, names: str = "abcdefghij") -> dict[str, dict[str, float]]:
    return {
        f"data {number}": dict(zip(names, map(float, row), strict=False))
        for number, row in enumerate(table)
    }


@pytest.mark.parametrize(
    ("models", "value"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)]
)
def test_critical_values_of_demsars_table(models: int, value: float) -> None:
    assert critical_value(models) == pytest.approx(value, abs=1e-3)


def test_three_models_on_four_data_sets_by_hand() -> None:
    # Ranks 1 2 3, 1 3 2, 1 2 3, 2 1 3: means 1.25, 2, 2.75.
    found = compare_ranks(scores_of([[9, 8, 7], [9, 7, 8], [9, 8, 7], [8, 9, 7]]))
    assert found.models == ("a", "b", "c")
    assert found.mean_ranks == pytest.approx((1.25, 2.0, 2.75))
    # 12 * 4 / (3 * 4) * (1.5625 + 4 + 7.5625 - 12) = 4.5; F = 3 * 4.5 / (8 - 4.5).
    assert found.statistic == pytest.approx(4.5)
    assert found.f_statistic == pytest.approx(13.5 / 3.5)
    assert found.degrees == (2, 6)
    assert found.p_value == pytest.approx(f_distribution.sf(13.5 / 3.5, 2, 6))
    # 2.343 * sqrt(12 / 24) = 1.657 exceeds all differences.
    assert found.critical_difference == pytest.approx(2.3437 * math.sqrt(0.5), abs=1e-3)
    assert found.groups == (("a", "b", "c"),)
    assert not found.drawable
    assert "F(2, 6) = 3.86" in found.words
    assert "With 4 data sets such a grouping has little power" in found.words
    assert "a diagram is not drawn" in found.words


def test_demsars_example() -> None:
    # Table 6 of the paper gives C4.5 and three variants mean ranks 3.143, 2.000, 2.893, 1.964 on 14
    # data sets: chi-square 9.28, F 3.69, critical difference 1.25 at 0.05.
    means = np.array([3.143, 2.000, 2.893, 1.964])
    chi_square = 12 * 14 / 20 * (float((means**2).sum()) - 25)
    assert chi_square == pytest.approx(9.28, abs=0.03)
    assert 13 * chi_square / (14 * 3 - chi_square) == pytest.approx(3.69, abs=0.02)
    assert critical_value(4) * math.sqrt(20 / (6 * 14)) == pytest.approx(1.25, abs=0.005)


def test_models_far_apart_form_groups_that_overlap() -> None:
    # 12 data sets, ranks 1 2 3 4 5 but for two neighbours that change places now and then.
    rows = [[9, 8, 7, 6, 5]] * 9 + [[8, 9, 7, 6, 5]] * 3
    found = compare_ranks(scores_of(rows))
    assert found.mean_ranks == pytest.approx((1.25, 1.75, 3.0, 4.0, 5.0))
    assert found.critical_difference == pytest.approx(2.728 * math.sqrt(30 / 72), abs=1e-3)
    # The difference is 1.76: 1.75 is within it, 1.75 to 3.0 too, 1.25 to 3.0 is 1.75.
    assert found.groups == (("a", "b", "c"), ("c", "d"), ("d", "e"))
    assert found.drawable
    assert "little power" not in found.words
    assert found.p_value < 1e-10


def test_models_that_all_differ_have_no_group() -> None:
    found = compare_ranks(scores_of([[2, 1]] * 9))
    assert found.groups == ()
    assert found.f_statistic == math.inf
    assert found.p_value == pytest.approx(0.5**8)


def test_two_data_sets_that_agree_prove_little() -> None:
    # Two orders of three models agree by chance once in six.
    assert compare_ranks(scores_of([[3, 2, 1], [3, 2, 1]])).p_value == pytest.approx(1 / 6)


def test_ties_share_their_ranks() -> None:
    found = compare_ranks(scores_of([[0.5, 0.5, 0.4], [0.5, 0.6, 0.6]]))
    assert dict(zip(found.models, found.mean_ranks, strict=True)) == {
        "b": 1.5,
        "a": 2.25,
        "c": 2.25,
    }
    level = compare_ranks(scores_of([[0.5, 0.5], [0.4, 0.4]]))
    assert (level.statistic, level.f_statistic, level.p_value) == (0.0, 0.0, 1.0)


def test_models_that_lack_a_data_set_are_left_out_and_named() -> None:
    found = compare_ranks(
        {"one": {"x": 0.9, "y": 0.8, "z": 0.7}, "two": {"w": 0.5, "y": 0.6, "x": 0.9}}
    )
    assert found.models == ("x", "y")
    assert found.left_out == ("w", "z")
    assert found.datasets == ("one", "two")


@settings(max_examples=50, deadline=None)
@given(
    table=st.integers(3, 6).flatmap(
        lambda models: st.lists(
            st.lists(st.integers(0, 6), min_size=models, max_size=models), min_size=2, max_size=10
        )
    )
)
def test_agrees_with_scipy_and_keeps_its_laws(table: list[list[int]]) -> None:
    found = compare_ranks(scores_of(table))
    if any(len(set(row)) > 1 for row in table):
        theirs = friedmanchisquare(*np.array(table, dtype=float).T).statistic
        assert found.statistic == pytest.approx(theirs, abs=1e-9)
    assert sum(found.mean_ranks) == pytest.approx(len(found.models) * (len(found.models) + 1) / 2)
    assert 0.0 < found.p_value <= 1.0
    assert list(found.mean_ranks) == sorted(found.mean_ranks)
    rank = dict(zip(found.models, found.mean_ranks, strict=True))
    together = {
        frozenset((one, other)) for group in found.groups for one in group for other in group
    }
    for one in found.models:
        for other in found.models:
            near = abs(rank[one] - rank[other]) < found.critical_difference
            assert one == other or near == (frozenset((one, other)) in together)
    for group in found.groups:
        assert not any(set(group) < set(other) for other in found.groups)


@pytest.mark.parametrize(
    ("scores", "options", "words"),
    [
        ({}, {}, "0 data sets with 0 models"),
        ({"one": {"x": 1.0, "y": 0.5}}, {}, "1 data sets with 2 models"),
        ({"one": {"x": 1.0, "y": 0.5}, "two": {"x": 1.0}}, {}, "2 data sets with 1 models"),
        (scores_of([[1, float("nan")], [1, 2]]), {}, "NaN or infinite"),
        (scores_of([[1, 2], [1, 2]]), {"level": 5.0}, "between 0 and 1 but is 5"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    scores: Any, options: dict[str, float], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        compare_ranks(scores, **options)
