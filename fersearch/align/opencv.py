"""OpenCV, asked for kindly: it is an optional package, and its version 5 has no cascades."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fersearch.errors import InputError

__all__ = ["cascade_file", "one_thread", "require_opencv"]

INSTALL = 'run `pip install "fersearch[align]"`'


def require_opencv() -> None:
    """Make sure that OpenCV can be imported.

    Raises:
        InputError: It is not installed, or does not load.
    """
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        raise InputError(
            f"finding faces needs OpenCV, which does not load: {error}", INSTALL
        ) from (error)


def cascade_file(name: str) -> Path:
    """Return the path of one of the cascades that OpenCV 4 ships, by its bare file name.

    Raises:
        InputError: OpenCV is missing, or this version has no such cascade.
    """
    require_opencv()
    import cv2

    # The stubs promise both; version 5 has neither.
    folder: str | None = getattr(getattr(cv2, "data", None), "haarcascades", None)
    path = Path(folder or ".") / name
    if folder is None or not hasattr(cv2, "CascadeClassifier") or not path.is_file():
        raise InputError(
            f"this OpenCV, version {cv2.__version__}, has no cascades (version 5 dropped them)",
            f"{INSTALL}, which takes version 4, or name a YuNet file with --face-model",
        )
    return path


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread in the block: its callers already run one picture per core."""
    require_opencv()
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
