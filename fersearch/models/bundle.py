"""A trained model as a folder: its weights and what is needed to build and feed it.

``model.safetensors`` holds the state dict, ``config.json`` the :class:`BundleConfig` and the
SHA-256 of the weights, so that a file that was damaged or swapped is noticed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from fersearch.errors import InputError
from fersearch.files import atomic_folder, ensure_folder, write_json
from fersearch.models.factory import check_name, create
from fersearch.records import to_plain

__all__ = ["CONFIG_FILE", "WEIGHTS_FILE", "BundleConfig", "load_bundle", "save_bundle"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
_FORMAT_VERSION = 1
_NOT_OPTIONS = {"num_classes", "image_size", "pretrained", "checkpoint_path"}
_EXPECTED: dict[str, type] = {
    "model": str,
    "model_options": dict,
    "classes": list,
    "image_size": int,
    "preprocessing": dict,
    "protocol_hash": str,
    "metrics": dict,
    "versions": dict,
}


def _versions() -> dict[str, str]:
    """Return the versions of what a saved model depends on."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "timm", "torchvision")},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleConfig:
    """What a saved model is and how to feed it.

    Attributes:
        model: Name in timm's registry.
        model_options: Options it was built with, ``num_classes`` aside; what JSON can hold.
        classes: Names of the classes, in the order of the logits.
        image_size: Height and width in pixels of its images.
        preprocessing: The steps from an image to the model's input, as the data room writes them.
        protocol_hash: Digest of the comparison protocol it was trained under; may be empty.
        metrics: Measured figures by name, such as ``val_accuracy`` in 0-1.
        versions: Versions of python and the libraries that made it.
    """

    model: str
    model_options: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...]
    image_size: int
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    protocol_hash: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=_versions)


def save_bundle(folder: Path, model: nn.Module, config: BundleConfig) -> None:
    """Write ``model`` and ``config`` to ``folder``, whole or not at all.

    A bundle that is already there is replaced, with everything in its folder: an export of the
    earlier model would not belong to this one.

    Raises:
        InputError: The folder cannot be written, or holds something that is not a bundle.
    """
    earlier = folder.exists()
    if earlier and not _may_replace(folder):
        raise InputError(
            f"{folder} exists and is not a saved model", "name a new folder for the model"
        )
    if not earlier:
        with atomic_folder(folder) as temporary:
            _write(temporary, model, config)
        return
    ensure_folder(folder.parent)
    # A folder that is not empty cannot be replaced by a rename: the old one steps aside first.
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        _write(fresh, model, config)
        folder.replace(Path(scratch) / "earlier")
        fresh.replace(folder)


def load_bundle(folder: Path) -> tuple[nn.Module, BundleConfig]:
    """Build the model that :func:`save_bundle` wrote, in eval mode on the CPU, and its config.

    Raises:
        InputError: The folder is not a bundle, or its files are damaged or do not fit together.
    """
    content = _read_config(folder)
    checksum = content.pop("weights_sha256", "")
    content["classes"] = tuple(content["classes"])
    config = BundleConfig(**content)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise InputError(f"{folder} has no {WEIGHTS_FILE}", "save the model again")
    if _sha256(weights) != checksum:
        raise InputError(
            f"{weights} is not the file that {CONFIG_FILE} describes", "save the model again"
        )
    # A saved model brings its own weights: whatever its options say, none are fetched or read.
    options = {key: item for key, item in config.model_options.items() if key not in _NOT_OPTIONS}
    try:
        check_name(config.model)
    except InputError as error:
        raise InputError(
            f"{folder}: {error.message}", "a model of your own comes in with --plugin FILE"
        ) from error
    model = create(
        config.model,
        num_classes=len(config.classes),
        image_size=config.image_size,
        **options,
    )
    try:
        model.load_state_dict(safetensors.torch.load_file(weights), strict=True)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(
            f"the weights in {folder} do not fit {config.model} with the options in {CONFIG_FILE}",
            "save the model again",
        ) from error
    return model.eval(), config


def _may_replace(folder: Path) -> bool:
    """Return whether ``folder`` is an empty folder or an earlier bundle."""
    if not folder.is_dir():
        return False
    names = {item.name for item in folder.iterdir()}
    return not names or {CONFIG_FILE, WEIGHTS_FILE} <= names


def _write(folder: Path, model: nn.Module, config: BundleConfig) -> None:
    """Write the two files of a bundle into ``folder``."""
    weights = folder / WEIGHTS_FILE
    # Copies: safetensors refuses tensors that share memory or have another memory format.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    safetensors.torch.save_file(tensors, weights, metadata={"format": "pt"})
    write_json(
        folder / CONFIG_FILE,
        {
            "format_version": _FORMAT_VERSION,
            **to_plain(config),
            "weights_sha256": _sha256(weights),
        },
    )
    folder.chmod(0o755)


def _read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` and check that every field is there and of its type."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(
            f"{folder} is not a saved model: it has no {CONFIG_FILE}", "give a saved model's folder"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}", "save the model again") from error
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != _FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {found!r}, this program reads {_FORMAT_VERSION}",
            "save the model again with this version",
        )
    wrong = [name for name, kind in _EXPECTED.items() if not isinstance(content.get(name), kind)]
    if wrong:
        raise InputError(
            f"{path} is damaged: {', '.join(wrong)} missing or of the wrong type",
            "save the model again",
        )
    known = {item.name for item in dataclasses.fields(BundleConfig)} | {"weights_sha256"}
    return {name: value for name, value in content.items() if name in known}


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
