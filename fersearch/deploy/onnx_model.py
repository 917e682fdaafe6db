"""An ONNX file that classifies images; needs numpy and ONNX Runtime, and no PyTorch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fersearch.deploy.extra import require
from fersearch.deploy.metadata import INPUT_NAME, OUTPUT_NAME, from_metadata
from fersearch.deploy.model_info import ModelInfo
from fersearch.errors import FersearchError, InputError

__all__ = ["OnnxPredictor", "check_images", "softmax"]

BATCH = 64
ONLY_FATAL = 4


class OnnxPredictor:
    """A file that ``fersearch export`` wrote, run by ONNX Runtime on the CPU.

    It is a :class:`~fersearch.deploy.model_info.Predictor`; several threads may call it at once.

    Args:
        path: The file.
        threads: CPU threads of one run.
        title: What to call the model; what the file says when empty.

    Raises:
        InputError: ONNX Runtime is missing, or the file is missing, damaged, too new for this ONNX
            Runtime, or none that ``fersearch export`` wrote.
    """

    def __init__(self, path: Path, *, threads: int = 1, title: str = "") -> None:
        self._path = path
        self._session = open_session(path, threads=threads)
        properties: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        info = from_metadata(properties, name=str(path))
        self._properties = dict(properties)
        self._info = dataclasses.replace(info, title=title or info.title or path.stem)
        self._check_graph()

    @property
    def info(self) -> ModelInfo:
        """What it is and how to feed it."""
        return self._info

    @property
    def properties(self) -> Mapping[str, str]:
        """The file's ``metadata_props``."""
        return self._properties

    @property
    def runtime(self) -> str:
        """``onnxruntime``."""
        return "onnxruntime"

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's answer ``(N, classes)`` to float32 ``(N, 3, S, S)``, in one run.

        Raises:
            FersearchError: ONNX Runtime fails, or answers with what is no number.
        """
        try:
            (answer,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: inputs})
        except Exception as error:
            raise FersearchError(f"{self._path} fails: {_one_line(error, self._path)}") from error
        result: NDArray[np.float32] = answer
        if not np.isfinite(result).all():
            raise FersearchError(
                f"{self._path} answers with NaN or infinity: the file is damaged",
                "export it again",
            )
        return result

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return class probabilities ``(N, classes)``, computed in batches of at most 64.

        Args:
            images: uint8 ``(N, image_size, image_size, channels)``, RGB where there are three.

        Raises:
            InputError: The images have another shape or type.
            FersearchError: ONNX Runtime fails.
        """
        check_images(images, self._info)
        parts = [
            softmax(self.logits(self._info.network_input(images[start : start + BATCH])))
            for start in range(0, len(images), BATCH)
        ]
        empty = np.zeros((0, len(self._info.classes)), dtype=np.float32)
        return np.concatenate([empty, *parts])

    def grad_cam(self, image: NDArray[np.uint8], target: int) -> None:
        """Return None: ONNX Runtime computes no gradients."""

    def _check_graph(self) -> None:
        """Refuse a file whose graph is not what its metadata say."""
        side, classes = self._info.image_size, len(self._info.classes)
        found = [
            (part.name, part.type, _sides(part.shape))
            for part in (*self._session.get_inputs(), *self._session.get_outputs())
        ]
        wanted = [
            (INPUT_NAME, "tensor(float)", (None, 3, side, side)),
            (OUTPUT_NAME, "tensor(float)", (None, classes)),
        ]
        if found != wanted:
            raise InputError(
                f"{self._path} does not take and give what its metadata say: {_shown(found)} "
                f"instead of {_shown(wanted)}",
                "export the model again: fersearch export NAME",
            )


def open_session(path: Path, *, threads: int) -> Any:
    """Open an ONNX file in ONNX Runtime, on the CPU.

    Raises:
        InputError: See :class:`OnnxPredictor`.
    """
    if threads < 1:
        raise InputError(f"threads must be at least 1 but got {threads}")
    if not path.is_file():
        raise InputError(f"there is no file {path}", "check the path")
    require("onnxruntime")
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"onnxruntime does not load: {_one_line(error, path)}",
            "install it again: pip install --force-reinstall onnxruntime",
        ) from error

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ONLY_FATAL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _refusal(error, path, version=str(onnxruntime.__version__)) from error


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities: rows ``(N, classes)`` that are positive and sum to 1."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def check_images(images: NDArray[np.uint8], info: ModelInfo) -> None:
    """Refuse images that a model cannot take.

    Raises:
        InputError: They are not uint8 ``(N, image_size, image_size, channels)``.
    """
    wanted = (info.image_size, info.image_size, info.channels)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted:
        raise InputError(
            f"{info.title} takes uint8 images of shape {('N', *wanted)} but got "
            f"{images.dtype} of shape {images.shape}".replace("'", ""),
            "resize and convert them first",
        )


def _refusal(error: Exception, path: Path, *, version: str) -> InputError:
    """Turn what ONNX Runtime says of a file into one line."""
    text = str(error)
    newer = re.search(r"Unsupported model IR version: \d+|Opset \d+ is under development", text)
    if newer or "No Op registered for" in text:
        found = newer[0] if newer else _one_line(error, path)
        return InputError(
            f"{path} is too new for the installed onnxruntime {version}: {found}",
            "install a newer one (pip install -U onnxruntime), or export the model again here",
        )
    return InputError(
        f"{path} is not a whole ONNX file: {_one_line(error, path)}",
        "copy it again, or export the model again: fersearch export NAME",
    )


def _one_line(error: Exception, path: Path) -> str:
    """Return what ONNX Runtime says, without its codes and the path."""
    text = str(error).strip().partition("\n")[0]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return text.replace(f"Load model from {path} failed:", "")[:200]


def _sides(shape: list[Any]) -> tuple[int | None, ...]:
    """Return a shape with None where any size will do."""
    return tuple(side if isinstance(side, int) else None for side in shape)


def _shown(parts: list[tuple[str, str, tuple[int | None, ...]]]) -> str:
    """Return names and shapes of inputs and outputs as a reader takes them in."""
    return ", ".join(
        f"{name} {tuple('any' if side is None else side for side in shape)}".replace("'", "")
        for name, _, shape in parts
    )
