"""What an export gave: the files, what was measured on them, and which of them to use."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersearch.files import write_json
from fersearch.records import to_plain

__all__ = ["ExportReport", "ExportedFile", "better_file", "publish"]

LARGEST_LOSS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """One ONNX file.

    Attributes:
        path: Where it lies.
        precision: ``fp32`` or ``int8``.
        megabytes: Its size, in 10**6 bytes.
        val_accuracy: Top-1 accuracy of this very file in ONNX Runtime on the validation split, in
            0-1; None where no data were given.
    """

    path: Path
    precision: str
    megabytes: float
    val_accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was exported, and how it compares with the network that it was made from.

    Attributes:
        model: timm name of the network.
        title: What the model is called.
        files: The float32 file, then the 8-bit one if there is one.
        recommended: The file to use: the 8-bit one unless it loses more than two points.
        max_difference: Largest absolute difference between a logit of PyTorch and one of the
            float32 file, pre-processing included.
        images: Number of images that they were compared on, and accuracies measured on.
        compared_on: What these images are: ``validation images`` or ``random images``.
        torch_val_accuracy: Accuracy of the network in PyTorch on these images; None without data.
        calibration_images: Training views that the 8-bit ranges were measured on; 0 for none.
        seconds: How long it took.
        onnxruntime: Version of ONNX Runtime that it was measured with.
        weights_sha256: SHA-256 of the weights that the files were made from.
        data_sha256: Digest of the data; empty without.
        warnings: What the user should know.
    """

    model: str
    title: str
    files: tuple[ExportedFile, ...]
    recommended: Path
    max_difference: float
    images: int
    compared_on: str
    torch_val_accuracy: float | None
    calibration_images: int
    seconds: float
    onnxruntime: str
    weights_sha256: str
    data_sha256: str
    warnings: tuple[str, ...]

    @property
    def int8(self) -> ExportedFile | None:
        """The 8-bit file, if there is one."""
        return next((file for file in self.files if file.precision == "int8"), None)

    def plain(self) -> dict[str, Any]:
        """Return what ``model.export.json`` holds: files by name, for the folder may move."""
        content: dict[str, Any] = to_plain(self)
        for entry, file in zip(content["files"], self.files, strict=True):
            entry["path"] = file.path.name
        return {"format_version": 1, **content, "recommended": self.recommended.name}


def better_file(files: Sequence[ExportedFile]) -> tuple[ExportedFile, str]:
    """Return which file to use, and what to warn of; empty for nothing.

    Args:
        files: The float32 file, then the 8-bit one if there is one.
    """
    fp32, small = files[0], files[-1]
    if small.val_accuracy is None or fp32.val_accuracy is None:
        return fp32, ""
    if fp32.val_accuracy - small.val_accuracy > LARGEST_LOSS + 1e-9:
        return fp32, (
            f"THE 8-BIT FILE LOSES {100 * (fp32.val_accuracy - small.val_accuracy):.1f} POINTS: "
            f"{small.val_accuracy:.1%} on validation instead of {fp32.val_accuracy:.1%}; use the "
            "float32 file"
        )
    return small, ""


def publish(report: ExportReport, files: Sequence[Path], *, record: Path) -> None:
    """Put the files in their places; those of an earlier export that are not replaced go."""
    names = {file.path.name for file in report.files}
    if record.is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a damaged one names nothing
            earlier = json.loads(record.read_text(encoding="utf-8"))["files"]
            for name in {Path(str(entry["path"])).name for entry in earlier} - names:
                if name.endswith(".onnx"):
                    (record.parent / name).unlink(missing_ok=True)
    for made, file in zip(files, report.files, strict=True):
        made.replace(file.path)
    write_json(record, report.plain())
