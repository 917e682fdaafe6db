"""Why a picture is not taken in."""

from __future__ import annotations

from fersearch.errors import FersearchError

__all__ = ["RefusedError"]


class RefusedError(FersearchError):
    """A picture is not taken in.

    Args:
        status: The HTTP status that says why.
        message: What is wrong, in one line.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
