"""Checkpoints of a run in progress: one file, replaced whole after every epoch."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from fersearch.files import atomic_path

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` (tensors, numbers, strings and containers of them) to ``path``."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: Path, *, job: str, device: str) -> dict[str, Any] | None:
    """Return the checkpoint of the job with digest ``job``, or None where there is none to use.

    A checkpoint of another job, or one that a full disk or an older version spoiled, counts as
    none: the run then starts anew, which costs time but never a wrong result.
    """
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile):
        return None
    return content if isinstance(content, dict) and content.get("job") == job else None
