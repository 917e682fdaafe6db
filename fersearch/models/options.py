"""Checks of the values that users give as model options."""

from __future__ import annotations

from fersearch.errors import InputError, suggestion

__all__ = ["check_choice", "check_drop_rate", "check_splits", "valid_splits"]


def valid_splits(channels: int) -> tuple[int, ...]:
    """Return the numbers of equal subsets that ``channels`` can be cut into.

    >>> valid_splits(64)
    (1, 2, 4, 8, 16, 32, 64)
    """
    return tuple(n for n in range(1, channels + 1) if channels % n == 0)


def check_splits(channels: int, splits: int) -> None:
    """Check that ``channels`` can be cut into ``splits`` equal subsets.

    Raises:
        InputError: ``splits`` is not a positive whole number that divides ``channels``.
    """
    known = valid_splits(channels)
    if isinstance(splits, bool) or not isinstance(splits, int) or splits not in known:
        raise InputError(
            f"ffe_splits must divide the {channels} channels of the FFE block but got {splits!r}",
            f"use one of {', '.join(map(str, known))}",
        )


def check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    """Check that the option called ``option`` has one of its ``known`` values.

    Raises:
        InputError: It has not.
    """
    if value not in known:
        raise InputError(f"unknown {option} {value!r}", suggestion(str(value), known))


def check_drop_rate(rate: float) -> None:
    """Check that a dropout rate is in [0, 1).

    Raises:
        InputError: It is not.
    """
    if not 0 <= rate < 1:
        raise InputError(f"drop_rate must be at least 0 and below 1 but got {rate!r}")
