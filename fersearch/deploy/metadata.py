"""What an ONNX file says of itself: its ``metadata_props``, written and read back.

The key ``fersearch`` holds everything, as one versioned JSON text. The others say the same in plain
words, for programs that know nothing of fersearch; only the first is read back. Neither needs the
package onnx.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fersearch.deploy.model_info import ModelInfo
from fersearch.errors import InputError
from fersearch.records import to_plain

__all__ = [
    "INPUT_NAME",
    "LICENCE",
    "METADATA_KEY",
    "OUTPUT_NAME",
    "PRECISIONS",
    "from_metadata",
    "measured",
    "to_metadata",
]

INPUT_NAME = "images"
OUTPUT_NAME = "logits"
METADATA_KEY = "fersearch"
PRECISIONS = ("fp32", "int8")
LICENCE = (
    "The weights derive from the training data: whoever passes this file on must check the licence "
    "of those images (none is stated for the photographs of FER2013, which are FERPlus's too)."
)
_FORMAT_VERSION = 1
_AGAIN = "export the model again: fersearch export NAME"


def to_metadata(info: ModelInfo, **more: str) -> dict[str, str]:
    """Return the entries of an ONNX file's ``metadata_props``.

    Args:
        info: What the file holds.
        more: Further entries, such as the digest of the weights that it was made from.
    """
    side = info.image_size
    everything = {"format_version": _FORMAT_VERSION, **to_plain(info)}
    return {
        METADATA_KEY: json.dumps(everything, ensure_ascii=False, allow_nan=False),
        "model": info.model,
        "classes": json.dumps(list(info.classes), ensure_ascii=False),
        "input": f"{INPUT_NAME}: float32 (batch, 3, {side}, {side}), (pixels / 255 - mean) / std",
        "output": f"{OUTPUT_NAME}: float32 (batch, {len(info.classes)}); softmax: probabilities",
        "layout": "NCHW",
        "image_size": str(side),
        "range": "0-1 before mean and std",
        "colour_order": "RGB" if info.channels == 3 else "grey, the same in all three channels",
        "mean": json.dumps(_three(info.mean)),
        "std": json.dumps(_three(info.std)),
        "precision": info.precision,
        "protocol_hash": info.protocol_hash,
        "licence": info.licence,
        **more,
    }


def from_metadata(properties: Mapping[str, str], *, name: str) -> ModelInfo:
    """Read what :func:`to_metadata` wrote.

    Args:
        properties: The file's ``metadata_props``.
        name: How messages name the file.

    Raises:
        InputError: There is no entry of ours, or it is damaged or of another version.
    """
    if METADATA_KEY not in properties:
        raise InputError(
            f"{name} does not say what its classes and its pre-processing are",
            "only files that fersearch export wrote can be used",
        )
    try:
        content = json.loads(properties[METADATA_KEY])
    except ValueError as error:
        raise InputError(f"the metadata of {name} are damaged: {error}", _AGAIN) from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != _FORMAT_VERSION:
        raise InputError(
            f"the metadata of {name} have version {version!r}, this program reads "
            f"{_FORMAT_VERSION}",
            _AGAIN,
        )
    try:
        info = ModelInfo(
            model=str(content["model"]),
            title=str(content["title"]),
            classes=tuple(str(label) for label in content["classes"]),
            image_size=int(content["image_size"]),
            mean=tuple(float(value) for value in content["mean"]),
            std=tuple(float(value) for value in content["std"]),
            protocol_hash=str(content["protocol_hash"]),
            precision=str(content["precision"]),
            licence=str(content["licence"]),
            metrics={str(key): float(value) for key, value in content["metrics"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"the metadata of {name} are damaged: {error!r}", _AGAIN) from error
    wrong = _wrong(info)
    if wrong:
        raise InputError(f"the metadata of {name} are damaged: {wrong}", _AGAIN)
    return info


def measured(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers among ``metrics``: what was not measured is left out.

    >>> measured({"val_accuracy": 0.5, "test_accuracy": None})
    {'val_accuracy': 0.5}
    """
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


# Pixels lie in 0-1: a smaller spread is no image's.
SMALLEST_STD = 1e-6


def _three(values: tuple[float, ...]) -> list[float]:
    """Return one value for each of the network's three channels."""
    return list(values if len(values) == 3 else values * 3)


def _wrong(info: ModelInfo) -> str:
    """Return what cannot be in a description of a model; empty when nothing is wrong."""
    if len(info.classes) < 2:
        return f"{len(info.classes)} classes"
    if info.image_size < 1:
        return f"an image size of {info.image_size}"
    if len(set(info.classes)) < len(info.classes) or not all(info.classes):
        return "classes without a name of their own"
    whole = all(map(math.isfinite, (*info.mean, *info.std)))
    if len(info.mean) not in {1, 3} or len(info.std) != len(info.mean) or not whole:
        return f"mean {info.mean} and standard deviation {info.std}"
    if min(info.std) < SMALLEST_STD:
        return f"mean {info.mean} and standard deviation {info.std}"
    return "" if info.precision in PRECISIONS else f"precision {info.precision!r}"
