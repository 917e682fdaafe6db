"""Packages that only some of deployment needs: the extra ``export``, and PyTorch."""

from __future__ import annotations

import importlib.util

from fersearch.errors import InputError

__all__ = ["EXPORT_PACKAGES", "missing", "require", "require_torch"]

EXPORT_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def missing(*packages: str) -> list[str]:
    """Return those of ``packages`` that are not installed; of all three when none is named."""
    wanted = packages or EXPORT_PACKAGES
    return [name for name in wanted if importlib.util.find_spec(name) is None]


def require(*packages: str) -> None:
    """Check that packages are installed.

    Args:
        packages: Some of :data:`EXPORT_PACKAGES`; all of them when none is named.

    Raises:
        InputError: One is not.
    """
    absent = missing(*packages)
    if absent:
        raise InputError(
            f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed",
            'run pip install "fersearch[export]"',
        )


def require_torch(what: str) -> None:
    """Check that PyTorch and timm are installed, without importing them.

    Args:
        what: What needs them, for the message.

    Raises:
        InputError: One of them is not.
    """
    absent = missing("torch", "timm")
    if absent:
        raise InputError(
            f"{what} needs {' and '.join(absent)}, not installed here",
            "run pip install fersearch; ONNX files that fersearch export wrote need neither",
        )
