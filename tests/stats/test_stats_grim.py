"""Which percentages can occur: published examples, hand computation, laws."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fersearch.errors import InputError
from fersearch.stats import is_possible, nearest_percentages, possible_counts


@pytest.mark.parametrize("percent", ["88.57", "90.45", "94.69"])
def test_accuracies_that_are_no_share_of_1700_images(percent: str) -> None:
    assert possible_counts(percent, total=1700) == ()
    assert not is_possible(float(percent), total=1700, decimals=2)


@pytest.mark.parametrize(("recall", "images"), [("91", 27), ("90", 23)])
def test_recalls_that_are_no_share_of_few_images(recall: str, images: int) -> None:
    assert not is_possible(recall, total=images, decimals=0)


def test_shares_that_occur_by_hand() -> None:
    # 1505 / 1700 = 88.529 %, 1506 / 1700 = 88.588 %.
    assert possible_counts("88.53", total=1700) == (1505,)
    assert possible_counts("88.59", total=1700) == (1506,)
    assert nearest_percentages("88.57", total=1700) == ("88.53", "88.59")
    # 24 / 27 = 88.9 %, 25 / 27 = 92.6 %.
    assert nearest_percentages("91", total=27) == ("89", "93")
    # With 10,000 cases every second decimal occurs, with 30,000 three times.
    assert possible_counts("12.34", total=10_000) == (1234,)
    assert possible_counts("12.34", total=30_000) == (3701, 3702, 3703)


def test_a_half_may_go_either_way() -> None:
    # 1 / 8 = 12.5 %: 12 to even and downward, 13 upward; no other whole percentage.
    assert possible_counts("12", total=8) == possible_counts("13", total=8) == (1,)
    assert not is_possible("11", total=8)
    assert not is_possible("14", total=8)


def test_digits_that_were_cut_off() -> None:
    # 2 / 3 = 66.66...: 66.7 rounded, 66.6 cut off.
    assert not is_possible("66.6", total=3)
    assert possible_counts("66.6", total=3, truncated=True) == (2,)
    assert possible_counts("66.7", total=3, truncated=True) == (2,)
    # 2 / 4 = 50 exactly is never cut to 49.
    assert not is_possible("49", total=4, truncated=True)


def test_the_digits_that_were_printed_matter() -> None:
    assert is_possible(90.0, total=23, decimals=0) is False
    assert possible_counts(91.3, total=23) == (21,)
    assert possible_counts("91.30", total=23) == (21,)
    assert possible_counts("9.0e1", total=10) == (9,)
    assert possible_counts(Decimal("50.000"), total=2) == (1,)


def test_the_ends() -> None:
    assert possible_counts("0", total=3) == (0,)
    assert possible_counts("100.0", total=3) == (3,)
    assert possible_counts("101", total=3) == possible_counts("-1", total=3) == ()
    assert nearest_percentages("0", total=3) == (None, "33")
    assert nearest_percentages("100", total=3) == ("67", None)
    assert nearest_percentages("140", total=3) == ("100", None)
    assert nearest_percentages("-8", total=3) == (None, "0")


shares = st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(
    share=shares,
    decimals=st.integers(0, 4),
    rounding=st.sampled_from([ROUND_HALF_UP, ROUND_HALF_EVEN]),
)
def test_every_share_is_found_under_what_it_is_printed_as(
    share: tuple[int, int], decimals: int, rounding: str
) -> None:
    count, total = share
    exact = Decimal(100 * count) / Decimal(total)
    printed = exact.quantize(Decimal(1).scaleb(-decimals), rounding=rounding)
    assert count in possible_counts(str(printed), total=total)
    assert count in possible_counts(float(printed), total=total, decimals=decimals)


@given(share=shares, decimals=st.integers(0, 4))
def test_every_share_is_found_as_a_computer_prints_or_cuts_it(
    share: tuple[int, int], decimals: int
) -> None:
    count, total = share
    assert count in possible_counts(f"{100 * count / total:.{decimals}f}", total=total)
    exact = Decimal(100 * count) / Decimal(total)
    cut = exact.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_DOWN)
    assert count in possible_counts(str(cut), total=total, truncated=True)


@given(printed=st.integers(0, 10_000), total=st.integers(1, 3000))
def test_the_nearest_ones_occur_and_enclose_nothing_that_does(printed: int, total: int) -> None:
    percent = Decimal(printed) / 100
    ends = nearest_percentages(f"{percent:.2f}", total=total)
    below, above = (None if end is None else Decimal(end) for end in ends)
    for end in (below, above):
        assert end is None or is_possible(f"{end:.2f}", total=total)
    assert below is None or below < percent
    assert above is None or above > percent
    low = Decimal(0) if below is None else below + Decimal("0.01")
    high = Decimal(100) if above is None else above - Decimal("0.01")
    inside = [low, (low + percent).quantize(Decimal("0.01")) / 2, high]
    for value in inside:
        value = value.quantize(Decimal("0.01"))
        if low <= value <= high and value != percent:
            # Only a half, which may be printed as either neighbour, can be between.
            assert all(
                (Decimal(100 * k) / total * 100) % 1 == Decimal("0.5")
                for k in possible_counts(f"{value:.2f}", total=total)
            )


@pytest.mark.parametrize(
    ("percent", "options", "words"),
    [
        ("many", {"total": 10}, "'many' is no percentage"),
        (float("nan"), {"total": 10}, "no percentage"),
        ("90.45", {"total": 0}, "positive whole number of cases, not of 0"),
        ("90.45", {"total": 10.0}, "positive whole number"),
        ("90.45", {"total": 10, "decimals": 1}, "not written with 1 decimals"),
        ("90", {"total": 10, "decimals": -1}, "not written with -1 decimals"),
    ],
)
def test_what_is_no_percentage_is_refused(
    percent: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        possible_counts(percent, **options)
