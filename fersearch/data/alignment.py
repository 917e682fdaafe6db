"""``alignment.json``: what ``fersearch data align`` says of the faces that it wrote."""

from __future__ import annotations

import json

from fersearch.data.readers.base import locate
from fersearch.data.tree import Tree
from fersearch.errors import InputError

__all__ = ["ALIGNMENT_FILE", "NOT_ALIGNED", "finder_of"]

ALIGNMENT_FILE = "alignment.json"
NOT_ALIGNED = "none"


def finder_of(tree: Tree) -> str:
    """Return the name of what found the faces of a tree; ``none`` where it was not aligned here.

    The file is looked for on top of the tree, and in its only folder: archives often have one.

    Raises:
        InputError: The file is there, but is not what ``fersearch data align`` writes.
    """
    folders = tree.subfolders()
    names = [ALIGNMENT_FILE, *(f"{folder}/{ALIGNMENT_FILE}" for folder in folders[:1])]
    for name in names[: 2 if len(folders) == 1 else 1]:
        if name not in tree:
            continue
        try:
            finder = json.loads(tree.read(name))["finder"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{locate(tree, name)} does not name what found the faces: {error!r}",
                "align the pictures again, or remove the file",
            ) from error
        return str(finder)
    return NOT_ALIGNED
