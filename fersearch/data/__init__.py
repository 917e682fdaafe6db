"""Images in: readers, splits by a seed, and a store that decodes once and opens fast.

The names below are loaded when they are first used: who only decodes pictures waits for no readers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fersearch.data.classes import CLASS_ORDER, CLASS_SPELLINGS, canonical_class
    from fersearch.data.dataset import SPLITS, DataInfo, Dataset, Split, describe
    from fersearch.data.source import KINDS, DataSource, parse_source
    from fersearch.data.store import load_data

__all__ = [
    "CLASS_ORDER",
    "CLASS_SPELLINGS",
    "KINDS",
    "SPLITS",
    "DataInfo",
    "DataSource",
    "Dataset",
    "Split",
    "canonical_class",
    "describe",
    "load_data",
    "parse_source",
]

_HOMES = {
    "CLASS_ORDER": "classes",
    "CLASS_SPELLINGS": "classes",
    "KINDS": "source",
    "SPLITS": "dataset",
    "DataInfo": "dataset",
    "DataSource": "source",
    "Dataset": "dataset",
    "Split": "dataset",
    "canonical_class": "classes",
    "describe": "dataset",
    "load_data": "store",
    "parse_source": "source",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fersearch.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"fersearch.data.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
