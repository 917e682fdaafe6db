"""What was run and what was measured, as frozen dataclasses with one canonical JSON form.

A :class:`RunRecord` is the truth about one training run; the tracker and the reports are written
from it and can be written again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fersearch.errors import FersearchError
from fersearch.files import write_json

__all__ = [
    "EpochRecord",
    "RunRecord",
    "canonical_json",
    "digest",
    "load_record",
    "save_record",
    "to_plain",
]

ParameterValue = str | int | float | bool | None


def to_plain(value: object) -> Any:
    """Turn dataclasses, tuples, paths and numbers into what JSON knows; NaN and infinity into null.

    >>> to_plain({"a": (1, float("nan"))})
    {'a': [1, None]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: to_plain(getattr(value, item.name)) for item in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return to_plain(value.tolist())
    raise TypeError(f"cannot write {type(value).__name__} as JSON: {value!r}")


def canonical_json(value: object) -> str:
    """Return the one JSON text of ``value``: keys sorted, no spaces, no NaN.

    >>> canonical_json({"b": 1, "a": 0.5})
    '{"a":0.5,"b":1}'
    """
    return json.dumps(
        to_plain(value),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
        allow_nan=False,
    )


def digest(value: object, length: int = 16) -> str:
    """Return the first ``length`` hex digits of the SHA-256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What one epoch of training measured.

    Attributes:
        epoch: Number of the epoch, from 0.
        learning_rate: Learning rate at the end of the epoch.
        train_loss: Mean training loss over the epoch's batches.
        train_accuracy: Top-1 accuracy on the augmented training views, in 0-1.
        val_loss: Mean cross entropy on the validation split; NaN when there is none.
        val_accuracy: Top-1 accuracy on the validation split, in 0-1.
        val_macro_f1: Unweighted mean of the per-class F1 on the validation split, in 0-1.
        images: Number of training images seen in the epoch.
        seconds: Wall-clock seconds of the epoch, evaluation included; of a run that was trained
            in a stack, divided by the number of students that were in it at that time.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_macro_f1: float
    images: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One training run, from its settings to its result.

    Attributes:
        run_id: Unique in its study: ``trial-0007``, ``teacher-n4``, ``confirm-1-seed-2``, ...
        study: Name of the study it belongs to.
        role: ``trial``, ``teacher``, ``distilled``, ``student_alone`` or ``baseline``.
        state: ``complete``, ``pruned`` or ``failed``.
        reason: Why it was pruned or failed; empty when complete.
        model: timm name of the trained network.
        parameters: Hyperparameters of the run (temperature, alpha, ffe_splits, learning_rate, ...).
        seed: Seed of its initial weights, data order, views and dropout.
        protocol_hash: Digest of the comparison protocol it ran under.
        data_sha256: Digest of the data it saw.
        best_epoch: Epoch that validation picked; -1 when no epoch finished.
        metrics: Measured figures by name (``val_accuracy``, ``test_accuracy``, ...).
        epochs: One record per finished epoch.
        seconds: Wall-clock seconds of the run's epochs. A run that was trained in a stack, which
            its notes say, has its share: each epoch's divided by the students then in the stack.
        started: UTC time of the start, ISO 8601.
        environment: Versions, device, precision, thread count and host of the run.
        notes: What a reader must know of how it was trained.
    """

    run_id: str
    study: str
    role: str
    state: str
    reason: str = ""
    model: str
    parameters: dict[str, ParameterValue] = field(default_factory=dict)
    seed: int
    protocol_hash: str
    data_sha256: str
    best_epoch: int = -1
    metrics: dict[str, float] = field(default_factory=dict)
    epochs: tuple[EpochRecord, ...] = ()
    seconds: float = 0.0
    started: str = ""
    environment: dict[str, ParameterValue] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def save_record(record: RunRecord, path: Path) -> None:
    """Write ``record`` as JSON to ``path``, whole or not at all."""
    write_json(path, to_plain(record))


def _epoch_record(plain: dict[str, Any]) -> EpochRecord:
    fields: dict[str, Any] = {
        key: math.nan if item is None else item for key, item in plain.items()
    }
    return EpochRecord(**fields)


def load_record(path: Path) -> RunRecord:
    """Read a record that :func:`save_record` wrote.

    Raises:
        FersearchError: The file is not a run record.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        epochs = tuple(_epoch_record(epoch) for epoch in content.pop("epochs"))
        notes = tuple(content.pop("notes", ()))
        return RunRecord(epochs=epochs, notes=notes, **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FersearchError(
            f"{path} is not a run record: {error}", "delete the file and run the command again"
        ) from error
