"""The DATA argument: ``synthetic[:k=v,...]``, a path, or ``KIND:PATH[?rule=argmax&limit=2000]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fersearch.errors import InputError, suggestion

__all__ = ["KINDS", "DataSource", "parse_source"]

KINDS = ("synthetic", "fer2013", "ferplus", "rafdb", "affectnet", "folder")

OPTIONS = ("rule", "limit", "labels")


@dataclass(frozen=True, slots=True)
class DataSource:
    """What DATA names.

    Attributes:
        kind: One of :data:`KINDS`; empty when the layout is to be recognised.
        path: Where the data lie; None for synthetic data.
        options: Options of the layout (``rule``, ``labels``), without ``limit``.
        limit: Largest number of training images to keep; None for all.
        synthetic: For synthetic data, the text of their options.
    """

    kind: str
    path: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    synthetic: str = ""


def _parse_options(text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in filter(None, re.split(r"[&,]", text)):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in OPTIONS:
            raise InputError(f"unknown data option {name!r}", suggestion(name, OPTIONS))
        if not equals or not value:
            raise InputError(f"the data option {name} has no value", f"write {name}=VALUE")
        if name in options:
            raise InputError(f"the data option {name} is given twice")
        options[name] = value
    return options


def _parse_limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"limit={text} is not a number of images", "give a whole number above 0")
    return int(text)


def _find_labels(text: str, data: Path) -> str:
    """Look for the label file where the user stands, then beside the data."""
    given = Path(text).expanduser()
    folder = data if data.is_dir() else data.parent
    for path in (given, folder / given):
        if path.is_file():
            return str(path)
    raise InputError(f"there is no label file {text}", "check labels=FILE")


def parse_source(spec: str) -> DataSource:
    """Parse DATA.

    A path that exists as written is taken whole, even with a colon or question mark in it.

    Raises:
        InputError: The kind or an option is unknown, or a value is wrong.

    >>> parse_source("ferplus:faces?rule=argmax&limit=500").options
    {'rule': 'argmax'}
    >>> parse_source("synthetic:train=100").synthetic
    'train=100'
    """
    text = spec.strip()
    if not text:
        raise InputError("DATA is empty", "give a path, or synthetic")
    if text == "synthetic" or text.startswith("synthetic:"):
        return DataSource("synthetic", synthetic=text.removeprefix("synthetic").removeprefix(":"))
    if (whole := Path(text).expanduser()).exists():
        return DataSource("", whole)
    kind, colon, rest = text.partition(":")
    if colon and kind in KINDS:
        text = rest
    elif colon and re.fullmatch(r"\w+", kind) and not Path(text.partition("?")[0]).exists():
        raise InputError(f"unknown kind of data {kind!r}", suggestion(kind, KINDS))
    else:
        kind = ""
        if text.startswith("synthetic?"):
            raise InputError(
                "options of synthetic data follow a colon", "write synthetic:train=4000,seed=0"
            )
    path = Path(text).expanduser()
    options: dict[str, str] = {}
    if not path.exists() and "?" in text:
        name, _, query = text.partition("?")
        path, options = Path(name).expanduser(), _parse_options(query)
    if str(path) == "." and not text.startswith("."):
        raise InputError(f"{spec!r} names no path", "write KIND:PATH")
    limit = _parse_limit(options.pop("limit")) if "limit" in options else None
    if "labels" in options:
        options["labels"] = _find_labels(options["labels"], path)
    return DataSource(kind, path, options, limit)
