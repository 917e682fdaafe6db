"""Fronts, knees and crowding, by hand and by law."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fersearch.stats import crowding, knee, pareto_front

POINTS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12
)
MAXIMISE = (True, False, False)


def beats(left, right):
    better = [left[0] - right[0], right[1] - left[1], right[2] - left[2]]
    return min(better) >= 0 and max(better) > 0


@given(POINTS)
def test_nothing_beats_a_point_of_the_front_and_something_beats_or_equals_every_other(points):
    front = pareto_front(points, maximise=MAXIMISE)
    assert front
    chosen = [points[index] for index in front]
    assert not any(beats(other, point) for point in chosen for other in points)
    for point in points:
        assert point in chosen or any(beats(other, point) for other in chosen)
    assert len(set(chosen)) == len(chosen)


@given(POINTS)
def test_scaling_an_objective_moves_neither_front_nor_knee(points):
    scaled = [(3 * a + 1, 0.5 * b, 10 * c - 4) for a, b, c in points]
    front = pareto_front(points, maximise=MAXIMISE)
    assert pareto_front(scaled, maximise=MAXIMISE) == front
    own = [points[index] for index in front]
    assert knee([scaled[index] for index in front], maximise=MAXIMISE) == knee(
        own, maximise=MAXIMISE
    )


def test_the_knee_by_hand():
    # Scaled losses: (0, 1), (0.05, 1/9), (0.5, 1/18), (1, 0); distances 1, 0.12, 0.50, 1.
    front = [[0.9, 10.0], [0.88, 2.0], [0.7, 1.5], [0.5, 1.0]]
    assert knee(front, maximise=(True, False)) == 1


def test_of_two_points_the_knee_depends_on_what_they_are_scaled_over():
    pair = [[0.60, 1.0], [0.95, 1.0001]]
    # Over themselves each is the best in one thing and the worst in the other.
    assert knee(pair, maximise=(True, False)) == 0
    # Over a front of costs from 1 to 3 a ten-thousandth is nothing.
    assert knee(pair, maximise=(True, False), over=[[0.5, 0.9], [0.96, 3.0]]) == 1


def test_crowding_by_hand():
    front = [[0.9, 10.0], [0.8, 4.0], [0.5, 1.0]]
    # The middle one: its neighbours are the ends of both objectives, 1 + 1.
    np.testing.assert_allclose(crowding(front, maximise=(True, False)), [np.inf, 2.0, np.inf])


@pytest.mark.parametrize("values", [[1.0, 2.0], [[1.0]], [[np.nan, 1.0]]])
def test_values_of_another_shape_or_not_finite_are_refused(values):
    with pytest.raises(ValueError, match="values must be"):
        pareto_front(values, maximise=(True, False))
