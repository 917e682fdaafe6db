"""The content of ``result.json``: protocol, choices, test figures, costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from fersearch.distill import Execution, teacher_folder
from fersearch.environment import describe_environment
from fersearch.models import create, macs, parameter_count
from fersearch.records import RunRecord, load_record, to_plain
from fersearch.search.confirm import Candidate, Confirmation, pick
from fersearch.search.final import TestOutcome
from fersearch.search.folder import StudyFolder
from fersearch.search.objectives import PAPER_SETTINGS, Objective, StudyContext
from fersearch.search.protocol import Protocol
from fersearch.search.trials import TrialBook, trial_run_id

__all__ = ["study_result"]


def study_result(
    confirmation: Confirmation,
    outcome: TestOutcome,
    *,
    context: StudyContext,
    objective: Objective,
    folder: StudyFolder,
    book: TrialBook,
    protocol: Protocol,
    execution: Execution,
) -> dict[str, Any]:
    """Return what ``result.json`` holds, as plain values."""
    best = pick(confirmation.distilled)
    alone = pick(confirmation.alone)
    top = book.best()
    everyone = book.top(len(book.trials()))
    chosen = next(trial for trial in everyone if trial.params == best.params)
    spec, info = context.spec, context.info
    classes, size = len(info.classes), info.image_size
    cost = _cost_block(
        spec.training.student,
        spec.training.student_options,
        classes=classes,
        image_size=size,
        bundle=folder.model,
    )
    teacher = objective(context, best.params, 0).teacher
    if teacher is not None:
        teacher_bundle = teacher_folder(folder.cache, teacher)
        cost["teacher"] = _cost_block(
            teacher.model,
            teacher.model_options,
            classes=classes,
            image_size=size,
            bundle=teacher_bundle,
        )
    plain: dict[str, Any] = to_plain(
        {
            "name": folder.name,
            "protocol": {**protocol.values, "layout": info.layout, "notes": info.notes},
            "protocol_hash": protocol.protocol_hash,
            "study_hash": protocol.study_hash,
            "trials": book.counts(),
            "best": {
                "params": best.params,
                "val_accuracy": best.mean_of("val_accuracy"),
                "val_macro_f1": best.mean_of("val_macro_f1"),
                "trial": chosen.number,
                "trial_val_accuracy": _trial_record(folder, chosen).metrics["val_accuracy"],
                "best_single_trial": None
                if top is None
                else {"trial": top.number, "value": top.value, "params": top.params},
            },
            "paper_settings": _paper_settings(book, folder),
            "confirmed": _confirmed_block(confirmation.distilled),
            "control": {
                "confirmed": _confirmed_block(confirmation.alone),
                "params": alone.params,
            },
            "test": outcome.metrics,
            "gain": outcome.gain,
            "cost": cost,
            "test_reads": outcome.reads,
            "model": str(folder.model.relative_to(folder.path)),
            "environment": describe_environment(execution.device, execution.threads),
        }
    )
    return plain


def _trial_record(folder: StudyFolder, trial: FrozenTrial) -> RunRecord:
    """Return the record of a finished trial."""
    return load_record(folder.record(trial_run_id(trial.number)))


def _paper_settings(book: TrialBook, folder: StudyFolder) -> list[dict[str, Any]]:
    """Return how the settings that the paper names did, each a trial of one seed."""
    rows = []
    for trial in book.finished():
        if trial.params in PAPER_SETTINGS:
            record = _trial_record(folder, trial)
            rows.append(
                {
                    "params": trial.params,
                    "trial": trial.number,
                    "val_accuracy": record.metrics.get("val_accuracy"),
                    "state": record.state,
                    "epochs": len(record.epochs),
                }
            )
    return rows


def _confirmed_block(candidates: tuple[Candidate, ...]) -> list[dict[str, Any]]:
    """Return the confirmed settings as they stand in ``result.json``."""
    return [
        {
            "params": dict(item.params),
            "seeds": [record.seed for record in item.records],
            "val_accuracy": [record.metrics.get("val_accuracy") for record in item.records],
            "val_macro_f1": [record.metrics.get("val_macro_f1") for record in item.records],
            "states": [record.state for record in item.records],
        }
        for item in candidates
    ]


def _cost_block(
    model: str, options: Mapping[str, Any], *, classes: int, image_size: int, bundle: Path
) -> dict[str, Any]:
    """Return what one network costs: parameters, multiply-adds of one image, bytes on disk."""
    network = create(model, num_classes=classes, image_size=image_size, **options)
    counted = macs(network, image_size)
    size = sum(path.stat().st_size for path in bundle.glob("*.safetensors"))
    plain: dict[str, Any] = to_plain(
        {
            "model": model,
            "params": parameter_count(network),
            "macs": counted.total,
            "macs_not_counted": list(counted.unsupported),
            "file_mb": round(size / 1e6, 3),
            "latency": None,
        }
    )
    return plain
