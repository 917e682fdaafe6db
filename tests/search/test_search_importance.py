"""Importances from trials as MLflow keeps them."""

from __future__ import annotations

import pytest

from fersearch.search import parameter_importances

SPACE = {
    "learning_rate": {"low": 1e-3, "high": 0.3, "log": True},
    "ffe_splits": {"choices": [2, 4, 8]},
}


def trials(count):
    rates = [1e-3 * 300 ** (number / (count - 1)) for number in range(count)]
    return [
        ({"learning_rate": rate, "ffe_splits": float([2, 4, 8][number % 3])}, number / count)
        for number, rate in enumerate(rates)
    ]


def test_the_parameter_that_decides_comes_first():
    shares, note = parameter_importances(trials(30), SPACE)
    assert next(iter(shares)) == "learning_rate"
    assert sum(shares.values()) == pytest.approx(1)
    assert note == "PED-ANOVA over 30 complete trials"


def test_few_trials_have_none_and_say_so():
    shares, note = parameter_importances(trials(3), SPACE)
    assert shares == {}
    assert "need 4 complete trials, there are 3" in note


def test_without_a_space_the_ranges_are_those_of_the_trials(capfd):
    shares, _ = parameter_importances(trials(20), {})
    assert set(shares) == {"learning_rate", "ffe_splits"}
    assert "study created" not in capfd.readouterr().err


def test_parameters_that_never_change_are_left_out():
    fixed = [({**params, "alpha": 0.4}, value) for params, value in trials(12)]
    shares, _ = parameter_importances(fixed, {})
    assert "alpha" not in shares
