"""What a test gave: the tested networks' logits and all that a table says of them.

An :class:`Evaluation` is written once, when the test split is opened, as a folder of two files
(``evaluation.json``, ``logits.npz``). The tracker keeps it with the run it belongs to, and every
report is made from it: figures, intervals and tests are functions of the logits.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fersearch.errors import FersearchError
from fersearch.files import atomic_path, write_json
from fersearch.records import canonical_json, to_plain

__all__ = [
    "EVALUATION_FOLDER",
    "GRAD_CAM_FILE",
    "Evaluation",
    "GradCams",
    "TestedRow",
    "load_evaluation",
    "load_grad_cams",
    "save_evaluation",
    "save_grad_cams",
]

EVALUATION_FOLDER = "evaluation"
GRAD_CAM_FILE = "gradcam.npz"
JSON_FILE = "evaluation.json"
LOGITS_FILE = "logits.npz"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TestedRow:
    """One tested model: a row of a table.

    Attributes:
        key: Unique in its evaluation: ``distilled``, ``student_alone``, ``teacher``, the name of a
            baseline, ``T=6 alpha=0.4``.
        model: timm name.
        model_options: Options that the network was built with.
        title: Name in tables; the model's when empty.
        role: ``teacher``, ``student``, ``distilled`` or ``baseline``.
        seeds: Training seeds, in the order of the logits.
        runs: Names of the training runs, one a seed, as in their records.
        settings: What was chosen for it: learning rate, temperature, ...
        val_accuracy: Validation accuracy of each seed.
        params: Parameters of the network at inference.
        training_params: Parameters that were trained, auxiliary parts included.
        macs: Multiply-accumulates of one image; None when they could not be counted.
        macs_not_counted: Operators that were met and not counted.
        file_mb: Size of the saved weights in megabytes (1e6 bytes).
        source: Where the model was published; empty for our own.
        notes: What a reader must know about the row.
        train_seconds: Wall-clock seconds of training, all seeds.
        command: The command that reproduces the row; the evaluation's when empty.
        deployed: What the ONNX files of one of its networks give, tested in the same opening of
            the test split; None where none was exported. ``int8_accuracy`` and ``fp32_accuracy``
            on the test split, ``int8_val_accuracy`` and ``fp32_val_accuracy`` on validation, all
            in 0-1; ``int8_file_mb`` and ``onnx_file_mb`` in megabytes (1e6 bytes). Any may be
            missing, and texts may stand beside them.
    """

    __test__ = False

    key: str
    model: str
    model_options: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    role: str
    seeds: tuple[int, ...]
    runs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    val_accuracy: tuple[float, ...] = ()
    params: int
    training_params: int
    macs: int | None
    macs_not_counted: tuple[str, ...] = ()
    file_mb: float
    source: str = ""
    notes: tuple[str, ...] = ()
    train_seconds: float = 0.0
    command: str = ""
    deployed: Mapping[str, float | str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """One opening of a test split.

    Attributes:
        name: Name of the study or baseline run.
        kind: ``study``, ``ablation`` or ``baselines``.
        protocol: Everything that decided the numbers, as in ``result.json``.
        protocol_hash: Digest of the part that rows of one table share.
        study_hash: Digest of all of it.
        classes: Names of the classes, in the order of the logits.
        rows: The tested models.
        labels: int64 ``(N,)``, true classes of the test images.
        logits: float32 ``(S, N, C)`` by row key.
        pairs: Row keys to compare, first minus second: ``("distilled", "student_alone")``.
        command: The command that reproduces it.
        failed: Why a model has no row, by its title.
        test_reads: How often this run had opened the test split when this was written.
        environment: Versions, device and host.
        created: UTC time, ISO 8601.
    """

    name: str
    kind: str
    protocol: Mapping[str, Any]
    protocol_hash: str
    study_hash: str
    classes: tuple[str, ...]
    rows: tuple[TestedRow, ...]
    labels: NDArray[np.int64]
    logits: Mapping[str, NDArray[np.float32]]
    pairs: tuple[tuple[str, str], ...] = ()
    command: str = ""
    failed: Mapping[str, str] = field(default_factory=dict)
    test_reads: int = 1
    environment: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""


def save_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write ``evaluation`` into ``folder``; each file whole or not at all, the JSON last."""
    arrays: dict[str, Any] = {
        f"logits_{number}": np.asarray(evaluation.logits[row.key], dtype=np.float32)
        for number, row in enumerate(evaluation.rows)
    }
    with atomic_path(folder / LOGITS_FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, labels=np.asarray(evaluation.labels, dtype=np.int64), **arrays)
    content = {
        item.name: to_plain(getattr(evaluation, item.name))
        for item in dataclasses.fields(evaluation)
        if item.name not in {"labels", "logits"}
    }
    write_json(folder / JSON_FILE, {"format_version": FORMAT_VERSION, **content})


def load_evaluation(folder: Path) -> Evaluation:
    """Read what :func:`save_evaluation` wrote.

    Raises:
        FersearchError: The folder holds no evaluation, a damaged one, or one of another version.
    """
    try:
        content = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
        found = content.pop("format_version")
        if found != FORMAT_VERSION:
            raise ValueError(f"format version {found}, this program reads {FORMAT_VERSION}")
        content["rows"] = tuple(_row(row) for row in content["rows"])
        content["classes"] = tuple(content["classes"])
        content["pairs"] = tuple((first, second) for first, second in content["pairs"])
        with np.load(folder / LOGITS_FILE) as arrays:
            labels = arrays["labels"]
            logits = {
                row.key: arrays[f"logits_{number}"] for number, row in enumerate(content["rows"])
            }
        for row in content["rows"]:
            expected = (len(row.seeds), len(labels), len(content["classes"]))
            if logits[row.key].shape != expected:
                raise ValueError(f"the logits of {row.key} are {logits[row.key].shape}")
        return Evaluation(labels=labels, logits=logits, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise FersearchError(
            f"{folder} holds no readable evaluation: {error}", "run the study's command again"
        ) from error


def _row(plain: dict[str, Any]) -> TestedRow:
    lists = ("seeds", "runs", "val_accuracy", "macs_not_counted", "notes")
    return TestedRow(**{**plain, **{name: tuple(plain[name]) for name in lists}})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GradCams:
    """Where the tested networks looked, on a few test images chosen without looking at answers.

    Attributes:
        rule: How the images were chosen, in words.
        images: uint8 ``(K, channels, S, S)``.
        indices: int64 ``(K,)``, their numbers in the test split.
        labels: int64 ``(K,)``, their true classes.
        maps: float32 ``(K, S, S)`` in 0-1 by row key: Grad-CAM of the predicted class.
        predictions: int64 ``(K,)`` by row key.
        layers: Name of the layer that was looked at, with its side, by row key.
    """

    rule: str
    images: NDArray[np.uint8]
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    maps: Mapping[str, NDArray[np.float32]]
    predictions: Mapping[str, NDArray[np.int64]]
    layers: Mapping[str, str]


def save_grad_cams(path: Path, cams: GradCams) -> None:
    """Write ``cams`` to a ``.npz`` file, whole or not at all; maps are kept as float16."""
    keys = list(cams.maps)
    header = {"rule": cams.rule, "keys": keys, "layers": dict(cams.layers)}
    arrays: dict[str, Any] = {
        **{f"map_{number}": cams.maps[key].astype(np.float16) for number, key in enumerate(keys)},
        **{f"prediction_{number}": cams.predictions[key] for number, key in enumerate(keys)},
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            header=np.array(canonical_json(header)),
            images=cams.images,
            indices=cams.indices,
            labels=cams.labels,
            **arrays,
        )


def load_grad_cams(path: Path) -> GradCams:
    """Read what :func:`save_grad_cams` wrote.

    Raises:
        FersearchError: The file is missing or damaged.
    """
    try:
        with np.load(path) as content:
            header = json.loads(str(content["header"]))
            keys = list(enumerate(header["keys"]))
            return GradCams(
                rule=header["rule"],
                images=content["images"],
                indices=content["indices"],
                labels=content["labels"],
                maps={key: content[f"map_{n}"].astype(np.float32) for n, key in keys},
                predictions={key: content[f"prediction_{n}"] for n, key in keys},
                layers=header["layers"],
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise FersearchError(
            f"{path} holds no readable Grad-CAM maps: {error}", "run the study's command again"
        ) from error
