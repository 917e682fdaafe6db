"""From a saved network to ONNX files, measured on validation images; the test split stays shut."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fersearch.data.dataset import Dataset
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy, Views
from fersearch.deploy.exported import ExportedFile, ExportReport, better_file, publish
from fersearch.deploy.extra import missing, require
from fersearch.deploy.graph import multiplies_without_saturation, set_metadata, to_int8, to_onnx
from fersearch.deploy.metadata import measured, to_metadata
from fersearch.deploy.model_info import ModelInfo
from fersearch.deploy.onnx_model import OnnxPredictor
from fersearch.deploy.opening import export_record, model_name
from fersearch.deploy.torch_model import bundle_info
from fersearch.environment import installed_version
from fersearch.errors import FersearchError, InputError
from fersearch.files import ensure_folder
from fersearch.models import BundleConfig, load_bundle
from fersearch.models.bundle import CONFIG_FILE

__all__ = ["export_bundle", "export_winner"]

LARGEST_DIFFERENCE = 1e-4
# Of the largest logit: float32 sums in another order differ by several 1e-7 of it.
LARGEST_SHARE = 1e-5
CALIBRATION_IMAGES = 512
CALIBRATION_SEED = 0
RANDOM_IMAGES = 64
BATCH = 64

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A saved network, read."""

    network: nn.Module
    config: BundleConfig
    info: ModelInfo
    weights_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trial:
    """What both files are compared on: images ``(N, C, S, S)``, labels, PyTorch's logits."""

    images: Pixels
    labels: Labels | None
    expected: NDArray[np.float32]

    def accuracy(self, logits: NDArray[np.float32]) -> float | None:
        """Return the top-1 accuracy in 0-1; None without labels."""
        if self.labels is None:
            return None
        return float((logits.argmax(axis=1) == self.labels).mean())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """Files in the making, and what was measured on them."""

    files: Sequence[ExportedFile]
    trial: Trial
    difference: float
    calibration_images: int = 0


def export_bundle(
    folder: Path,
    *,
    out: Path | None = None,
    int8: bool = False,
    dataset: Dataset | None = None,
    trained_on: str = "",
    title: str = "",
    tell: Callable[[str], None] = lambda text: None,
) -> ExportReport:
    """Write a saved network as ONNX, and compare the files with it.

    The float32 file must give PyTorch's logits within 1e-4 (within 1e-5 of the largest logit where
    that exceeds 10), pre-processing included, on every validation image; the accuracy of the 8-bit
    file is measured on the same images. The test split is not read. Beside the files lies
    ``model.export.json`` with the report; the files that an earlier one names are replaced, all of
    them. After an error everything is as it was.

    Args:
        folder: The bundle.
        out: The float32 file; ``FOLDER.onnx`` beside the bundle by default. The 8-bit file's name
            ends in ``.int8.onnx``.
        int8: Write the 8-bit file too.
        dataset: The data that the network was trained on, at its image size: the validation split
            is compared on, and training views calibrate the 8-bit file. Without, random images are
            compared on.
        trained_on: Digest of the data that the network was trained on, to warn about others.
        title: What to call the model; the folder's name by default.
        tell: Told what is being done.

    Raises:
        InputError: The folder is no bundle, the data do not fit it, the network cannot be exported,
            a package is missing, or the 8-bit file is asked for without data.
        FersearchError: The float32 file does not do what the network does.
    """
    require()
    started = time.monotonic()
    if int8 and dataset is None:
        raise InputError(
            "an 8-bit file is calibrated and measured on faces, and no data were given",
            "add --data DATA: what the network was trained on",
        )
    source = _read(folder, title)
    target = folder.resolve().with_name(f"{folder.resolve().name}.onnx") if out is None else out
    if target.suffix != ".onnx" or target.is_dir():
        raise InputError(f"{target} cannot be the name of an ONNX file", "end it in .onnx")
    warnings = _about_data(dataset, source.config, trained_on)
    ensure_folder(target.parent)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        made = _make(source, dataset, Path(scratch) / target.name, int8=int8, tell=tell)
        recommended, loss = better_file(made.files)
        report = ExportReport(
            model=source.info.model,
            title=source.info.title,
            files=tuple(replace(file, path=target.parent / file.path.name) for file in made.files),
            recommended=target.parent / recommended.path.name,
            max_difference=made.difference,
            images=len(made.trial.images),
            compared_on="random images" if dataset is None else "validation images",
            torch_val_accuracy=made.trial.accuracy(made.trial.expected),
            calibration_images=made.calibration_images,
            seconds=time.monotonic() - started,
            onnxruntime=installed_version("onnxruntime") or "",
            weights_sha256=source.weights_sha256,
            data_sha256="" if dataset is None else dataset.info.sha256,
            warnings=tuple(filter(None, [*warnings, loss])),
        )
        publish(report, [file.path for file in made.files], record=export_record(target))
    return report


def export_winner(
    bundle: Path, *, dataset: Dataset, out: Path, title: str = "", int8: bool = False
) -> ExportReport | None:
    """Write a study's final network as ONNX, where the packages for it are there.

    Args:
        bundle: The network.
        dataset: The data that it was trained on.
        out: The file.
        title: The study's name.
        int8: Write the 8-bit file too.

    Returns:
        What was measured; None where the extra ``export`` is not installed.

    Raises:
        FersearchError: See :func:`export_bundle`.
    """
    if missing():
        return None
    return export_bundle(
        bundle,
        out=out,
        int8=int8,
        dataset=dataset,
        trained_on=dataset.info.sha256,
        title=title,
    )


def _read(folder: Path, title: str) -> Source:
    network, config = load_bundle(folder)
    content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return Source(
        network=network,
        config=config,
        info=bundle_info(config, title=title or model_name(folder)),
        weights_sha256=str(content["weights_sha256"]),
    )


def _about_data(dataset: Dataset | None, config: BundleConfig, trained_on: str) -> list[str]:
    """Return what to warn of in the data.

    Raises:
        InputError: Labels or images are not of the network's kind.
    """
    if dataset is None:
        return ["compared on random images; give --data to compare on faces"]
    info = dataset.info
    channels = Preprocessing.from_plain(config.preprocessing).channels
    for what, given, wanted in (
        ("classes", ", ".join(info.classes), ", ".join(config.classes)),
        ("image size", f"{info.image_size} px", f"{config.image_size} px"),
        ("channels", str(info.channels), str(channels)),
    ):
        if given != wanted:
            raise InputError(
                f"{what} of {info.spec}: {given}; of the network: {wanted}",
                "give the data that it was trained on",
            )
    if trained_on in {"", info.sha256}:
        return []
    return [
        f"{info.spec} is not what the network was trained on (digest {info.sha256[:16]} instead of "
        f"{trained_on[:16]}): these accuracies are not its study's"
    ]


def _make(
    source: Source,
    dataset: Dataset | None,
    fp32: Path,
    *,
    int8: bool,
    tell: Callable[[str], None],
) -> Made:
    """Write the files, the 8-bit one beside the float32 one, and measure them."""
    tell("writing the float32 file")
    entries = to_metadata(source.info, weights_sha256=source.weights_sha256)
    to_onnx(source.network, fp32, image_size=source.info.image_size, metadata=entries)
    tell("comparing it with the network")
    trial = _trial(source, dataset)
    logits = _logits(fp32, trial.images)
    difference = _checked_difference(logits, trial.expected)
    files = [_measured(fp32, "fp32", trial, logits)]
    if not int8 or dataset is None:
        return Made(files=files, trial=trial, difference=difference)
    tell("writing and measuring the 8-bit file")
    calibration = _calibration(source, dataset)
    small = fp32.with_suffix(".int8.onnx")
    to_int8(fp32, small, calibration=calibration)
    logits = _logits(small, trial.images)
    # The float32 network's figures are not this file's.
    metrics = measured({"val_accuracy": trial.accuracy(logits)})
    info = replace(source.info, precision="int8", metrics=metrics)
    bits = "8" if multiplies_without_saturation() else "7"
    entries = to_metadata(info, weights_sha256=source.weights_sha256, weight_bits=bits)
    set_metadata(small, entries)
    files.append(_measured(small, "int8", trial, logits))
    return Made(
        files=files, trial=trial, difference=difference, calibration_images=len(calibration)
    )


def _measured(
    path: Path, precision: str, trial: Trial, logits: NDArray[np.float32]
) -> ExportedFile:
    return ExportedFile(
        path=path,
        precision=precision,
        megabytes=path.stat().st_size / 1e6,
        val_accuracy=trial.accuracy(logits),
    )


def _trial(source: Source, dataset: Dataset | None) -> Trial:
    """Run the network in PyTorch on what the files are then compared on."""
    if dataset is None:
        side = source.info.image_size
        images = np.random.default_rng(0).integers(
            0, 256, (RANDOM_IMAGES, source.info.channels, side, side), dtype=np.uint8
        )
        labels = None
    else:
        images, labels = dataset.val.images, dataset.val.labels
    preprocessing = Preprocessing.from_plain(source.config.preprocessing)
    answers = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.array(images[start : start + BATCH]))
            answers.append(source.network(preprocessing(batch)).float().numpy())
    return Trial(images=images, labels=labels, expected=np.concatenate(answers))


def _logits(file: Path, images: Pixels) -> NDArray[np.float32]:
    """Return what an ONNX file answers to images ``(N, C, S, S)``, by the way that users take."""
    predictor = OnnxPredictor(file)
    answers = []
    for start in range(0, len(images), BATCH):
        batch = np.moveaxis(np.asarray(images[start : start + BATCH]), 1, 3)
        answers.append(predictor.logits(predictor.info.network_input(batch)))
    return np.concatenate(answers)


def _checked_difference(logits: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference.

    Raises:
        FersearchError: It is too large, or not a number.
    """
    difference = float(np.abs(logits - expected).max())
    largest = max(LARGEST_DIFFERENCE, LARGEST_SHARE * float(np.abs(expected).max()))
    if not difference <= largest:
        raise FersearchError(
            f"the ONNX file gives other logits than the network, by up to {difference:.2g} "
            f"(rounding explains {largest:.2g}); nothing was written",
            "ONNX holds fixed graphs: the forward pass must not depend on the values of its input",
        )
    return difference


def _calibration(source: Source, dataset: Dataset) -> NDArray[np.float32]:
    """Return views of evenly spaced training images, float32 ``(N, 3, S, S)``."""
    views = Views(
        dataset.train.images,
        preprocessing=Preprocessing.from_plain(source.config.preprocessing),
        policy=ViewPolicy(),
        seed=CALIBRATION_SEED,
    )
    count = min(CALIBRATION_IMAGES, len(dataset.train))
    indices = np.linspace(0, len(dataset.train) - 1, count).round().astype(np.int64)
    starts = range(0, count, BATCH)
    parts = [views.training(0, indices[start : start + BATCH]).numpy() for start in starts]
    return np.ascontiguousarray(np.concatenate(parts))
