"""Readers, one file per layout. :data:`LAYOUTS` lists them in the order they are tried."""

from __future__ import annotations

from collections.abc import Mapping

from fersearch.data.readers import affectnet, fer2013, ferplus, folder, rafdb
from fersearch.data.readers.base import Layout, RawData, RawSplit
from fersearch.data.tree import Tree
from fersearch.errors import InputError

__all__ = ["LAYOUTS", "Layout", "RawData", "RawSplit", "read_tree"]

# FERPlus before FER2013: a folder with both csv files is read with the better labels. Class
# folders last: nearly any folder with pictures looks like them.
LAYOUTS = (ferplus.LAYOUT, fer2013.LAYOUT, rafdb.LAYOUT, affectnet.LAYOUT, folder.LAYOUT)

# Where downloads hide the data inside their top folder.
INNER_FOLDERS = ("basic", "data")


def _places(tree: Tree) -> list[Tree]:
    """Return the trees to look at: the top, the known inner folders, an only folder."""
    folders = tree.subfolders()
    inner = [name for name in folders if name.casefold() in INNER_FOLDERS]
    if len(folders) == 1 and not inner:
        inner = folders
    return [tree, *(tree.below(name) for name in inner)]


def read_tree(tree: Tree, kind: str, options: Mapping[str, str]) -> RawData:
    """Recognise the layout of a tree and read it.

    Args:
        tree: What the user named.
        kind: The layout the user asked for; empty to recognise it.
        options: The options of that layout.

    Raises:
        InputError: No layout fits, an option does not belong to the layout, or the data are wrong.
    """
    wanted = [layout for layout in LAYOUTS if kind in ("", layout.kind)]
    if "labels" in options:  # they say more than the files do: only FERPlus has them
        owners = [layout for layout in LAYOUTS if "labels" in layout.options]
        return _read(wanted[0] if kind else owners[0], tree, options)
    for place in _places(tree):
        for layout in wanted:
            if layout.recognise(place):
                return _read(layout, place, options)
    if kind:
        return _read(wanted[0], tree, options)
    raise InputError(
        f"the layout of {tree.label} is not known",
        f"looked for {'; '.join(layout.looked_for for layout in LAYOUTS)}",
    )


def _read(layout: Layout, tree: Tree, options: Mapping[str, str]) -> RawData:
    foreign = sorted(set(options) - layout.options)
    if foreign:
        owners = [other.kind for other in LAYOUTS if foreign[0] in other.options]
        raise InputError(
            f"the option {foreign[0]} does not fit {tree.label}, which was recognised as "
            f"{layout.kind}",
            f"it belongs to {', '.join(owners)}" if owners else "",
        )
    return layout.read(tree, options)
