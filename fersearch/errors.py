"""The errors that users meet: what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["FersearchError", "InputError", "nearest", "suggestion"]


class FersearchError(Exception):
    """Something went wrong that the user should read as one line, not as a traceback.

    Args:
        message: What is wrong and where, as a clause without a full stop.
        hint: What to do about it, as a clause; empty when nothing helps.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Return the message and the hint as one line."""
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        return " ".join(text.split())


class InputError(FersearchError):
    """The input or the options are wrong (exit code 2)."""

    exit_code = 2


def nearest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Return the names in ``known`` that a mistyped ``name`` most likely meant.

    >>> nearest("temperatur", ["temperature", "alpha"])
    ['temperature']
    """
    return difflib.get_close_matches(name, list(known), n=limit, cutoff=0.55)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest known names, or all of them when few are known.

    >>> suggestion("kdd", ["kd", "dkd", "dist"])
    'did you mean kd or dkd?'
    """
    options = list(known)
    close = nearest(name, options)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if len(options) <= 12:
        return f"known names: {', '.join(options)}"
    return ""
