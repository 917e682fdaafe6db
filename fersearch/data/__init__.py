"""Images in: readers, splits by a seed, and a store that decodes once and opens fast."""

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
