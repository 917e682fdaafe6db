"""The student that a study hands out as files: exported before the test, and tested with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fersearch.data.dataset import Dataset
from fersearch.deploy.export import export_winner
from fersearch.deploy.exported import ExportReport
from fersearch.errors import FersearchError
from fersearch.models.bundle import CONFIG_FILE
from fersearch.search.folder import StudyFolder

__all__ = ["deployed_figures", "export_student", "files_to_test", "withdraw_stale"]


def export_student(folder: StudyFolder, dataset: Dataset) -> tuple[ExportReport | None, str]:
    """Write ``model.onnx`` and ``model.int8.onnx`` from the study's model.

    Args:
        folder: The study's folder; its ``model`` is the network.
        dataset: The data: validation images are compared on, training views calibrate.

    Returns:
        What was exported, and a note; nothing and the reason where it was not: a network that
        cannot be exported is still a result.
    """
    try:
        report = export_winner(
            folder.model,
            dataset=dataset,
            out=folder.path / "model.onnx",
            title=folder.name,
            int8=True,
        )
    except FersearchError as error:
        return None, f"no ONNX file was written: {error}"
    if report is None:
        return None, (
            "no ONNX file was written: run pip install 'fersearch[export]', then "
            f"fersearch export {folder.name} --int8"
        )
    return report, "; ".join(report.warnings)


def withdraw_stale(folder: StudyFolder) -> None:
    """Remove the files that were exported from an earlier network of the study."""
    record = folder.path / "model.export.json"
    if not record.exists():
        return
    made_from = json.loads(record.read_text(encoding="utf-8")).get("weights_sha256")
    config = json.loads((folder.model / CONFIG_FILE).read_text(encoding="utf-8"))
    if made_from != config["weights_sha256"]:
        for name in ("model.onnx", "model.int8.onnx", record.name):
            (folder.path / name).unlink(missing_ok=True)


def files_to_test(report: ExportReport, run_id: str) -> dict[str, Path]:
    """Return the 8-bit file by the name of its test figures, which stands for this very file.

    The float32 file is not tested: its logits are those of the network but for rounding.
    """
    if report.int8 is None:
        return {}
    digest = hashlib.sha256(report.int8.path.read_bytes()).hexdigest()
    return {f"int8-{run_id}-{digest[:10]}": report.int8.path}


def deployed_figures(
    report: ExportReport,
    *,
    network: NDArray[np.float32],
    int8: NDArray[np.float32] | None,
    labels: NDArray[np.int64],
) -> dict[str, float | str]:
    """Return what the files of one network give beside the network itself.

    Args:
        report: What was exported.
        network: Test logits of the network, float32 ``(N, C)``.
        int8: Test logits of its 8-bit file, likewise; None where there is none.
        labels: True classes, int64 ``(N,)``.
    """
    figures: dict[str, Any] = {
        "fp32_accuracy": float((network.argmax(axis=1) == labels).mean()),
        "fp32_val_accuracy": report.files[0].val_accuracy,
        "onnx_file_mb": report.files[0].megabytes,
        "max_difference": report.max_difference,
        "recommended": report.recommended.name,
    }
    if report.int8 is not None and int8 is not None:
        figures |= {
            "int8_accuracy": float((int8.argmax(axis=1) == labels).mean()),
            "int8_val_accuracy": report.int8.val_accuracy,
            "int8_file_mb": report.int8.megabytes,
        }
    return {name: value for name, value in figures.items() if value is not None}
