"""ONNX files of architectures, made once and kept: what latencies of deployed networks come from.

The weights are initial ones, for a latency does not depend on their values. The folder is a cache:
whatever is missing or cannot be read is made again.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
from timm.models import is_model, model_entrypoint

from fersearch.deploy import graph
from fersearch.deploy.architecture import Architecture
from fersearch.deploy.graph import multiplies_without_saturation, to_int8, to_onnx
from fersearch.deploy.runtimes import Precision
from fersearch.environment import installed_version
from fersearch.records import digest

__all__ = ["EXPORTERS", "cached_graph"]

EXPORTERS = ("fersearch", "torch", "timm", "onnx", "onnxscript")
"""Distributions whose version shapes a float32 file; ONNX Runtime's shapes the 8-bit ones too."""

CALIBRATION_IMAGES = 32


def cached_graph(architecture: Architecture, precision: Precision, folder: Path) -> Path:
    """Return the ONNX file of an architecture; make it where it is missing.

    Plug-ins that register the architecture must be loaded.

    Args:
        architecture: The network.
        precision: ``fp32``, or ``int8`` for the 8-bit copy, calibrated on random images.
        folder: Where the files are kept; it is made where missing.

    Raises:
        InputError: The network cannot be built, exported or quantized, or a package is missing.
    """
    versions = {name: installed_version(name) for name in EXPORTERS}
    code = [file_digest(graph.__file__), file_digest(source_of(architecture.model))]
    plain = folder / f"{digest(['fp32', architecture, versions, code])}.onnx"
    if not is_readable(plain):
        to_onnx(architecture.build(), plain, image_size=architecture.image_size)
    if precision == "fp32":
        return plain
    quantizer = [installed_version("onnxruntime"), multiplies_without_saturation()]
    small = folder / f"{digest(['int8', plain.stem, quantizer])}.onnx"
    if not is_readable(small):
        side = architecture.image_size
        images = np.random.default_rng(0).standard_normal((CALIBRATION_IMAGES, 3, side, side))
        to_int8(plain, small, calibration=images.astype(np.float32))
    return small


def source_of(model: str) -> str | None:
    """Return the file that registers a model; None where it has none."""
    name = model.partition(".")[0]
    if not is_model(name):
        return None
    module = sys.modules.get(model_entrypoint(name).__module__)
    return getattr(module, "__file__", None)


def file_digest(file: str | None) -> str:
    """Return the SHA-256 of a file of code: an edited one makes another graph."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def is_readable(path: Path) -> bool:
    """Return whether ``path`` is a whole ONNX file."""
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        return False
    try:
        return bool(onnx.load(path).graph.node)
    except (DecodeError, OSError):
        return False
