"""Drawn faces: an embedded data set of FACS action units, rendered from signed distances.

These are drawings, not photographs: accuracies on them say nothing about real faces.
"""

from fersearch.data.synthetic.action_units import PROTOTYPES, UNITS
from fersearch.data.synthetic.difficulty import DIFFICULTIES, Difficulty
from fersearch.data.synthetic.faces import (
    RENDERER_VERSION,
    SyntheticFaces,
    SyntheticSplit,
    make,
)
from fersearch.data.synthetic.options import SyntheticOptions, parse_options

__all__ = [
    "DIFFICULTIES",
    "PROTOTYPES",
    "RENDERER_VERSION",
    "UNITS",
    "Difficulty",
    "SyntheticFaces",
    "SyntheticOptions",
    "SyntheticSplit",
    "make",
    "parse_options",
]
