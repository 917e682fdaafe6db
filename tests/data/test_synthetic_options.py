"""The text of the synthetic data set's options and the mistakes people make in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fersearch.data.synthetic import (
    DIFFICULTIES,
    Difficulty,
    SyntheticOptions,
    parse_options,
)
from fersearch.errors import InputError


def test_no_text_means_the_defaults() -> None:
    assert parse_options("", None) == SyntheticOptions()


def test_text_sets_what_it_names_and_nothing_else() -> None:
    options = parse_options(" train=4000, seed=3,difficulty=hard ", None)
    assert options == SyntheticOptions(train=4000, seed=3, difficulty=0.3)


def test_difficulty_is_a_name_or_a_number() -> None:
    assert parse_options("difficulty=easy").difficulty == 0.0
    assert parse_options("difficulty=0.4").difficulty == 0.4
    assert parse_options("difficulty=default") == SyntheticOptions()
    assert DIFFICULTIES["easy"] < DIFFICULTIES["default"] < DIFFICULTIES["hard"]


def test_image_size_comes_from_either_place() -> None:
    assert parse_options("", 64).image_size == 64
    assert parse_options("image_size=64", None).image_size == 64
    assert parse_options("image_size=64", 64).image_size == 64


def test_two_image_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="image size is 48 in one place and 64"):
        parse_options("image_size=64", 48)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("trian=10", r"no option 'trian'.*did you mean train"),
        ("train", "'train' of the synthetic faces has no value"),
        ("train=", "'train' of the synthetic faces has no value"),
        ("train=80,train=90", "given twice"),
        ("train=many", "whole number but is 'many'"),
        ("train=1.5", "whole number but is '1.5'"),
        ("val=7", "val faces .* between 8 and .* but is 7"),
        ("test=0", "test faces"),
        ("train=2000000", "train faces"),
        ("seed=-1", "seed .* must be between 0"),
        ("image_size=8", "image_size .* between 16 and 512 but is 8"),
        ("difficulty=1.5", "difficulty .* between 0 and 1 but is 1.5"),
        ("difficulty=nan", "difficulty .* between 0 and 1"),
        ("difficulty=esay", "did you mean easy"),
    ],
)
def test_mistakes_are_named(text: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        parse_options(text, None)


def test_an_image_size_asked_for_elsewhere_is_checked_too() -> None:
    with pytest.raises(InputError, match="image_size"):
        parse_options("", 4)


@given(
    train=st.integers(8, 10**6),
    seed=st.integers(0, 2**63 - 1),
    image_size=st.integers(16, 512),
    difficulty=st.floats(0.0, 1.0),
)
def test_the_text_of_options_reads_back(
    train: int, seed: int, image_size: int, difficulty: float
) -> None:
    options = SyntheticOptions(train=train, seed=seed, image_size=image_size, difficulty=difficulty)
    assert parse_options(options.text, None) == options


def test_the_dial_is_linear_between_its_ends() -> None:
    clean, middle, heavy = Difficulty.at(0.0), Difficulty.at(0.5), Difficulty.at(1.0)
    assert middle.roll == pytest.approx((clean.roll + heavy.roll) / 2)
    assert clean.noise < middle.noise < heavy.noise
