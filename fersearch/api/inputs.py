"""What every task starts from: a workspace, a data set, a file of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from fersearch.data import Dataset
from fersearch.data import load_data as load_store
from fersearch.environment import default_workspace
from fersearch.models import read_weights

__all__ = ["checked_weights", "default_workspace", "load_data"]


def load_data(
    data: str = "synthetic",
    *,
    image_size: int | None = None,
    split_seed: int = 0,
    workspace: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Open a data set; the first time it is decoded into the workspace's cache.

    Args:
        data: ``synthetic[:train=4000,seed=0,...]`` (drawn faces), a path whose layout is
            recognised, or ``KIND:PATH[?rule=majority&limit=2000]``.
        image_size: Side of the images in pixels; by default the data's own, 112 for photographs.
        split_seed: Seed of the 6:2:2 split of data that comes without one.
        workspace: Where the cache is; see :func:`default_workspace`.
        progress: Called with (images decoded, images in all) while decoding.

    Raises:
        InputError: The data cannot be found, recognised or read.
    """
    return load_store(
        data,
        cache=default_workspace(workspace) / "cache",
        image_size=image_size,
        split_seed=split_seed,
        progress=progress,
    )


def checked_weights(path: str | Path | None) -> tuple[str, str]:
    """Check a weights file and return its path and digest."""
    if path is None or str(path) == "":
        return "", ""
    file = Path(path).expanduser().resolve()
    read_weights(file)
    return str(file), hashlib.sha256(file.read_bytes()).hexdigest()
