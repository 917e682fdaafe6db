"""The one class order, and the spellings of expression names that data sets use.

The order is FERPlus's (Barsoum et al., ICMI 2016): the first seven are Ekman's basic expressions
with neutral, the eighth is contempt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

from fersearch.errors import InputError

__all__ = ["CLASS_ORDER", "CLASS_SPELLINGS", "canonical_class", "order_classes"]

CLASS_ORDER = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
)

CLASS_SPELLINGS = MappingProxyType(
    {
        "neutral": ("neutral", "neutrality"),
        "happiness": ("happiness", "happy", "joy", "joyful"),
        "surprise": ("surprise", "surprised", "suprise", "suprised"),
        "sadness": ("sadness", "sad"),
        "anger": ("anger", "angry"),
        "disgust": ("disgust", "disgusted"),
        "fear": ("fear", "fearful", "afraid", "scared"),
        "contempt": ("contempt", "contemptuous"),
    }
)

_BY_SPELLING = {
    spelling: name for name, spellings in CLASS_SPELLINGS.items() for spelling in spellings
}


def canonical_class(name: str) -> str | None:
    """Return the class that ``name`` spells, or None for a name that is not one of ours.

    Case and a leading number do not matter; a number alone is no name.

    >>> canonical_class("Happy"), canonical_class("3_fearful"), canonical_class("calm")
    ('happiness', 'fear', None)
    """
    bare = re.sub(r"^\d+[\s._-]*", "", name.strip().casefold())
    return _BY_SPELLING.get(bare)


def order_classes(names: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...], str]:
    """Decide the class names and their order for a data set that names its own classes.

    When every name is known they become ours, in :data:`CLASS_ORDER`. When some are not, all are
    kept as they are, in alphabetical order: half-renamed classes would confuse more than help.

    Args:
        names: The data set's own names, in any order, without repetition.

    Returns:
        What each given name is called here, the classes in order, and a note for the user
        (empty when all names are known).

    Raises:
        InputError: Two names spell the same class.
    """
    known = {name: canonical_class(name) for name in names}
    if any(ours is None for ours in known.values()):
        strange = sorted(name for name, ours in known.items() if ours is None)
        note = (
            "class names are kept as given, in alphabetical order, since not all are "
            f"expression names ({', '.join(strange[:5])}{', ...' if len(strange) > 5 else ''})"
        )
        return {name: name for name in names}, tuple(sorted(names)), note
    mapping = {name: ours for name, ours in known.items() if ours is not None}
    for ours in CLASS_ORDER:
        same = sorted(name for name in mapping if mapping[name] == ours)
        if len(same) > 1:
            raise InputError(
                f"the classes {' and '.join(same)} both mean {ours}", "merge or rename one of them"
            )
    return mapping, tuple(ours for ours in CLASS_ORDER if ours in mapping.values()), ""
