"""Can a printed percentage be a share of that many images? A check of arithmetic, not of people.

Brown & Heathers, "The GRIM Test", Social Psychological and Personality Science 8, 2017: a mean of
whole numbers over n cases is a whole number divided by n, so not every printed value can occur. An
accuracy or a recall is such a mean. The test says nothing where n is large for the digits printed
(from 10,000 cases on, two decimals of a percentage can all occur), nor of a mean over seeds or
folds. A value that cannot occur may be another average, another number of cases or a misprint.
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from fersearch.errors import InputError

__all__ = ["is_possible", "nearest_percentages", "possible_counts"]


def possible_counts(
    percent: float | str | Decimal,
    *,
    total: int,
    decimals: int | None = None,
    truncated: bool = False,
) -> tuple[int, ...]:
    """Return every whole k for which k of ``total`` may have been printed as ``percent``.

    Rounding may have been to the nearest with halves up, down or to even: all are allowed, since a
    computer's binary fractions decide halves one way or the other.

    Args:
        percent: The printed percentage; outside 0-100 it is possible for no k.
        total: Number of cases, at least 1.
        decimals: Digits after the point that were printed; those of ``percent`` as written by
            default, so give it where a number has lost its last zeros.
        truncated: Whether digits may also have been cut off instead of rounded.

    Raises:
        InputError: ``percent`` is no number or has more digits than ``decimals``, or ``total`` is
            no positive whole number.

    >>> possible_counts("66.7", total=9), possible_counts("66.5", total=9)
    ((6,), ())
    """
    printed, step = _printed(percent, total, decimals)
    half = step / 2
    first = math.ceil((printed - half) * total / 100)
    last = math.floor((printed + half) * total / 100)
    if truncated:
        # Up to the next printed value, which is not printed so itself.
        last = max(last, math.ceil((printed + step) * total / 100) - 1)
    return tuple(range(max(first, 0), min(last, total) + 1))


def is_possible(
    percent: float | str | Decimal,
    *,
    total: int,
    decimals: int | None = None,
    truncated: bool = False,
) -> bool:
    """Return whether :func:`possible_counts` finds any.

    >>> is_possible("90.45", total=1700), is_possible("90.47", total=1700)
    (False, True)
    """
    return bool(possible_counts(percent, total=total, decimals=decimals, truncated=truncated))


def nearest_percentages(
    percent: float | str | Decimal, *, total: int, decimals: int | None = None
) -> tuple[str | None, str | None]:
    """Return the nearest percentages below and above that can occur, as they would be printed.

    Both differ from ``percent``, also where it can occur itself. Halves are rounded up.

    Args:
        percent: The printed percentage.
        total: Number of cases, at least 1.
        decimals: As in :func:`possible_counts`.

    Returns:
        Below and above; None where no share of 0-100 % lies there.

    >>> nearest_percentages("90.45", total=1700)
    ('90.41', '90.47')
    """
    printed, step = _printed(percent, total, decimals)
    places = len(str(step.denominator)) - 1
    # From the border of what is printed as ``percent`` outward; halves belong to the value above.
    below = math.ceil((printed - step / 2) * total / 100) - 1
    above = math.ceil((printed + step / 2) * total / 100)
    shown = [
        math.floor(Fraction(100 * count, total) / step + Fraction(1, 2))
        if 0 <= count <= total
        else None
        for count in (min(below, total), max(above, 0))
    ]
    low, high = (None if last is None else str(Decimal(last).scaleb(-places)) for last in shown)
    return low, high


def _printed(
    percent: float | str | Decimal, total: int, decimals: int | None
) -> tuple[Fraction, Fraction]:
    """Return the printed value and the step of its last digit, exactly.

    Raises:
        InputError: They are no percentage of a whole number of cases.
    """
    if isinstance(total, bool) or not isinstance(total, int) or total < 1:
        raise InputError(f"a share is of a positive whole number of cases, not of {total!r}")
    try:
        value = Decimal(str(percent).strip())
    except InvalidOperation:
        value = Decimal("nan")
    if not value.is_finite():
        raise InputError(f"{percent!r} is no percentage", "write it like 90.45")
    exponent = value.as_tuple().exponent
    written = max(0, -exponent) if isinstance(exponent, int) else 0
    places = written if decimals is None else decimals
    step = Fraction(1, 10 ** max(0, places))
    if places < 0 or Fraction(value) % step != 0:
        raise InputError(
            f"{percent} is not written with {places} decimals", "give the digits as printed"
        )
    return Fraction(value), step
