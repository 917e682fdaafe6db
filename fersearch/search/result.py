"""The content of ``result.json``: protocol, choices, test figures, costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial

from fersearch.evaluations import Evaluation, TestedRow
from fersearch.records import RunRecord, load_record, to_plain
from fersearch.search.confirm import Confirmation
from fersearch.search.folder import StudyFolder
from fersearch.search.goals import metric_of
from fersearch.search.objectives import is_paper_setting
from fersearch.search.protocol import Protocol
from fersearch.search.quality import time_to_quality
from fersearch.search.repeats import Candidate
from fersearch.search.trials import TrialBook, trial_run_id
from fersearch.stats import evaluate, paired_gain

__all__ = ["study_result"]


def study_result(
    confirmation: Confirmation,
    evaluation: Evaluation,
    *,
    folder: StudyFolder,
    book: TrialBook,
    protocol: Protocol,
    notes: Sequence[str],
) -> dict[str, Any]:
    """Return what ``result.json`` holds, as plain values; ``notes`` are those of the data."""
    best, alone = confirmation.best, confirmation.control
    top = book.best()
    everyone = book.top(len(book.trials()))
    chosen = next(trial for trial in everyone if trial.params == best.params)
    rows = {row.key: row for row in evaluation.rows}
    cost = _cost_block(rows["distilled"])
    if "teacher" in rows:
        cost["teacher"] = _cost_block(rows["teacher"])
    metrics = {
        key: evaluate(
            evaluation.logits[key], evaluation.labels, evaluation.classes, seeds=row.seeds
        )
        for key, row in rows.items()
    }
    gain = paired_gain(
        evaluation.logits["distilled"], evaluation.logits["student_alone"], evaluation.labels
    )
    plain: dict[str, Any] = to_plain(
        {
            "name": folder.name,
            "protocol": {**evaluation.protocol, "notes": notes},
            "protocol_hash": protocol.protocol_hash,
            "study_hash": protocol.study_hash,
            "trials": book.counts(),
            "time_to_quality": time_to_quality(book.trials()),
            "best": {
                "params": best.params,
                "val_accuracy": best.mean_of("val_accuracy"),
                "val_macro_f1": best.mean_of("val_macro_f1"),
                "trial": chosen.number,
                "trial_val_accuracy": _trial_record(folder, chosen).metrics["val_accuracy"],
                "best_single_trial": None
                if top is None
                else {"trial": top.number, "value": metric_of(top), "params": top.params},
            },
            "paper_settings": _paper_settings(book, folder, loss=protocol.values["loss"]),
            "deployed": rows["distilled"].deployed,
            "confirmed": _confirmed_block(confirmation.distilled),
            "control": {
                "confirmed": _confirmed_block(confirmation.alone),
                "params": alone.params,
            },
            "test": metrics,
            "gain": gain,
            "cost": cost,
            "test_reads": evaluation.test_reads,
            "model": str(folder.model.relative_to(folder.path)),
            "environment": evaluation.environment,
        }
    )
    return plain


def _trial_record(folder: StudyFolder, trial: FrozenTrial) -> RunRecord:
    """Return the record of a finished trial."""
    return load_record(folder.record(trial_run_id(trial.number)))


def _paper_settings(book: TrialBook, folder: StudyFolder, *, loss: object) -> list[dict[str, Any]]:
    """Return how the settings that the paper names did, each a trial of one seed."""
    rows = []
    for trial in book.finished():
        if is_paper_setting(trial.params, loss=loss):
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


def _cost_block(row: TestedRow) -> dict[str, Any]:
    """Return what one network costs: parameters, multiply-adds of one image, bytes on disk."""
    return {
        "model": row.model,
        "params": row.params,
        "macs": row.macs,
        "macs_not_counted": list(row.macs_not_counted),
        "file_mb": row.file_mb,
        "latency": None,
    }
