"""Networks as ONNX graphs: the float32 graph of a network, and its 8-bit copy.

The int8 graph follows ONNX Runtime's guide to quantization
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html): static QDQ with
unsigned activations and signed weights, one scale a channel. On x86-64 processors without VNNI the
8-bit multiply-add saturates in 16 bits, so weights keep 7 bits there (``reduce_range``). The range
of an activation is the mean of its ranges over batches of 32 images: the extremes of all images are
those of a few odd ones, which cost networks that blow them up several points.
"""

from __future__ import annotations

import contextlib
import io
import logging
import platform
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fersearch.deploy.extra import require
from fersearch.deploy.metadata import INPUT_NAME, OUTPUT_NAME
from fersearch.environment import processor_flags
from fersearch.errors import InputError
from fersearch.files import atomic_path

__all__ = [
    "INPUT_NAME",
    "OPSET",
    "OUTPUT_NAME",
    "multiplies_without_saturation",
    "require",
    "set_metadata",
    "to_int8",
    "to_onnx",
]

# What the exporter makes without a conversion, and what ONNX Runtime has read since 1.14.
OPSET = 18
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
CPUINFO = Path("/proc/cpuinfo")
CALIBRATION_BATCH = 32


def to_onnx(
    network: nn.Module,
    target: Path,
    *,
    image_size: int,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a network as a float32 ONNX file, whole or not at all.

    Its input is ``images``, float32 ``(batch, 3, image_size, image_size)``; its output ``logits``,
    float32 ``(batch, classes)``; the batch is of any size. Weights lie inside the file.

    Args:
        network: The network; exported in evaluation mode, then left in the mode that it was in.
        target: The file.
        image_size: Height and width of the images in pixels.
        metadata: Entries of the file's ``metadata_props``.

    Raises:
        InputError: The network cannot be written as an ONNX graph, or a package is missing.
    """
    require("onnx", "onnxscript")
    training = {module: module.training for module in network.modules()}
    network.eval()
    first = next(network.parameters(), None)
    # Two images: a batch of one would be taken for a constant.
    images = torch.zeros(
        2, 3, image_size, image_size, device="cpu" if first is None else first.device
    )
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (images,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                opset_version=OPSET,
                verbose=False,
            )
            assert program is not None
            graph = program.model_proto
    except Exception as error:
        raise InputError(
            f"{type(network).__name__} cannot be written as ONNX: {reason(error)}",
            "ONNX holds fixed graphs: the forward pass must not depend on the values of its input",
        ) from error
    finally:
        for module, mode in training.items():
            module.training = mode
    _write(graph, target, metadata or {})


def to_int8(source: Path, target: Path, *, calibration: NDArray[np.float32]) -> None:
    """Write the 8-bit copy of a float32 ONNX file, whole or not at all; metadata are kept.

    Args:
        source: What :func:`to_onnx` wrote.
        target: The file.
        calibration: float32 ``(N, 3, S, S)``: network inputs, a few hundred, on which the ranges
            of the activations are measured.

    Raises:
        InputError: The graph cannot be quantized, or a package is missing.
    """
    require("onnx", "onnxruntime")
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        prepared, quantized = Path(scratch) / "prepared.onnx", Path(scratch) / "quantized.onnx"
        try:
            with quiet():
                # Symbolic shapes are not needed, for the exporter wrote all of them down, and their
                # inference fails on some networks.
                quant_pre_process(source, prepared, skip_symbolic_shape=True)
                quantize_static(
                    prepared,
                    quantized,
                    calibration_reader(calibration),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    reduce_range=not multiplies_without_saturation(),
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    extra_options={"CalibMovingAverage": True},
                )
        except Exception as error:
            raise InputError(
                f"{source.name} cannot be quantized: {reason(error)}", "deploy the float32 file"
            ) from error
        metadata = {item.key: item.value for item in onnx.load(source).metadata_props}
        _write(onnx.load(quantized), target, metadata)


def set_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Replace the ``metadata_props`` of an ONNX file; the graph stays as it is."""
    import onnx

    _write(onnx.load(path), path, metadata)


def multiplies_without_saturation(cpuinfo: Path = CPUINFO) -> bool:
    """Return whether this processor sums products of 8-bit numbers in 32 bits.

    x86-64 processors without VNNI sum pairs of them in 16 bits, which full 8-bit weights overflow.
    Where Linux's description of the processor is missing, nothing is risked.
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return True
    try:
        flags = processor_flags(cpuinfo.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return False
    return not VNNI_FLAGS.isdisjoint(flags)


def calibration_reader(images: NDArray[np.float32]) -> Any:
    """Return ONNX Runtime's reader of calibration data over ``images``, in batches."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.starts = iter(range(0, len(images), CALIBRATION_BATCH))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            start = next(self.starts, None)
            if start is None:
                return None
            return {INPUT_NAME: images[start : start + CALIBRATION_BATCH]}

    return Reader()


def _write(graph: Any, target: Path, metadata: Mapping[str, str]) -> None:
    """Write an ONNX model without what its makers left in it: stack traces, unused opsets."""
    import onnx

    for part in (graph.graph, *graph.graph.node, *graph.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    used = {node.domain for node in graph.graph.node} | {""}
    kept = [item for item in graph.opset_import if item.domain in used]
    del graph.opset_import[:], graph.metadata_props[:]
    graph.opset_import.extend(kept)
    onnx.helper.set_model_props(graph, dict(metadata))
    with atomic_path(target) as temporary:
        temporary.write_bytes(graph.SerializeToString(deterministic=True))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's and the quantizer's prints, warnings and log lines to themselves."""
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
            # The first call of logging.warning adds a handler, here one that writes to nowhere.
            root.handlers[:] = handlers


def reason(error: BaseException) -> str:
    """Return the first line of what caused an error, with its kind."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().partition("\n")[0].strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
