"""Units of work that a worker process can do: each is plain data in and plain data out."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fersearch.data.dataset import Dataset
from fersearch.data.views import Views
from fersearch.distill.evaluation import predict_logits
from fersearch.distill.job import Execution, TrainJob
from fersearch.distill.precision import uses_bfloat16
from fersearch.distill.soft_labels import (
    ReplayedTeacher,
    compute_soft_labels,
    soft_label_folder,
)
from fersearch.distill.trainer import TrainOutcome, runs_in_bfloat16, train
from fersearch.environment import describe_environment
from fersearch.errors import FersearchError
from fersearch.files import atomic_path, file_lock
from fersearch.models import BundleConfig, load_bundle, save_bundle
from fersearch.records import (
    EpochRecord,
    ParameterValue,
    RunRecord,
    load_record,
    save_record,
    to_plain,
)

__all__ = [
    "PredictTask",
    "Progress",
    "RunLabel",
    "Task",
    "TeacherTask",
    "TrainTask",
    "execute",
    "teacher_folder",
    "teacher_parameters",
    "teacher_run_id",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step forward of a task.

    Attributes:
        run_id: Which run.
        stage: ``train`` or ``soft labels``.
        done: Epochs done, from 1.
        total: Epochs in all.
        record: What the epoch measured; None for soft labels.
    """

    run_id: str
    stage: str
    done: int
    total: int
    record: EpochRecord | None = None


Emit = Callable[[Progress], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLabel:
    """What a run is called and what it belongs to."""

    run_id: str
    study: str
    role: str
    protocol_hash: str
    parameters: dict[str, ParameterValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherTask:
    """Train a teacher unless the cache has it, and compute its soft labels for some seeds.

    Attributes:
        label: Name of the run.
        job: The teacher's training job.
        dataset: Folder of the decoded data.
        cache: The workspace's cache.
        seeds: Seeds of the views to answer to.
        epochs: Epochs to answer to, per seed.
        execution: Device, threads, precision.
    """

    label: RunLabel
    job: TrainJob
    dataset: Path
    cache: Path
    seeds: tuple[int, ...] = ()
    epochs: int = 0
    execution: Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainTask:
    """Train one student or baseline.

    Attributes:
        label: Name of the run.
        job: The training job; its ``teacher`` names the teacher whose soft labels are replayed.
        teacher_job: Job of that teacher, or None.
        dataset: Folder of the decoded data.
        cache: The workspace's cache.
        checkpoint: File to continue from and to write to.
        bundle: Folder that the trained network is saved to, or None to keep only the record.
        execution: Device, threads, precision.
    """

    label: RunLabel
    job: TrainJob
    teacher_job: TrainJob | None
    dataset: Path
    cache: Path
    checkpoint: Path
    bundle: Path | None = None
    execution: Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictTask:
    """Compute the logits of saved networks on one split and write them to a file.

    Attributes:
        bundles: Folders of the networks, by name.
        split: ``val`` or ``test``.
        dataset: Folder of the decoded data.
        output: ``.npz`` file: one float32 ``(N, classes)`` array a network, and ``labels``.
        execution: Device, threads, precision.
    """

    bundles: dict[str, Path]
    split: str
    dataset: Path
    output: Path
    execution: Execution


Task = TeacherTask | TrainTask | PredictTask


def teacher_folder(cache: Path, job: TrainJob) -> Path:
    """Return where the teacher that ``job`` trains is kept."""
    return cache / "teachers" / job.digest()


def teacher_run_id(job: TrainJob) -> str:
    """Return the name of a teacher's run: ``teacher-n4``, or the model's name without splits."""
    splits = job.model_options.get("ffe_splits")
    return f"teacher-n{splits}" if splits is not None else f"teacher-{job.model}"


def teacher_parameters(job: TrainJob) -> dict[str, ParameterValue]:
    """Return the parameters that a teacher's record shows."""
    recipe = job.recipe
    return {
        "learning_rate": recipe.learning_rate,
        "epochs": recipe.epochs,
        **job.model_options,
    }


def _open(folder: Path, job: TrainJob) -> Dataset:
    """Open the data of a job; an index of one data set means nothing in another."""
    dataset = Dataset.open(folder)
    if dataset.info.sha256 != job.data_sha256:
        raise FersearchError(f"{folder} holds other data than the job was made for")
    return dataset


def execute(task: Task, emit: Emit) -> RunRecord | None:
    """Do a task; ``emit`` is told of every epoch and may stop a training run by returning False."""
    if task.execution.threads:
        torch.set_num_threads(task.execution.threads)
    if isinstance(task, TeacherTask):
        return _teacher(task, emit)
    if isinstance(task, TrainTask):
        return _train(task, emit)
    _predict(task)
    return None


def _train_record(
    label: RunLabel, job: TrainJob, outcome: TrainOutcome, *, started: str, execution: Execution
) -> RunRecord:
    metrics: dict[str, float] = {}
    if outcome.best_epoch >= 0:
        best = outcome.epochs[outcome.best_epoch]
        metrics = {
            "val_accuracy": best.val_accuracy,
            "val_macro_f1": best.val_macro_f1,
            "val_loss": best.val_loss,
        }
    environment = describe_environment(execution.device, execution.threads)
    precision = "bfloat16" if uses_bfloat16(outcome.model, execution) else "float32"
    return RunRecord(
        run_id=label.run_id,
        study=label.study,
        role=label.role,
        state=outcome.state,
        reason=outcome.reason,
        model=job.model,
        parameters=label.parameters,
        seed=job.seed,
        protocol_hash=label.protocol_hash,
        data_sha256=job.data_sha256,
        best_epoch=outcome.best_epoch,
        metrics=metrics,
        epochs=outcome.epochs,
        seconds=outcome.seconds,
        started=started,
        environment={**environment, "precision": precision},
    )


def _silent(progress: Progress) -> bool:
    return True


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _bundle_config(job: TrainJob, dataset: Dataset, record: RunRecord) -> BundleConfig:
    return BundleConfig(
        model=job.model,
        model_options=dict(job.model_options),
        classes=dataset.info.classes,
        image_size=dataset.info.image_size,
        preprocessing=to_plain(job.preprocessing),
        protocol_hash=record.protocol_hash,
        metrics=dict(record.metrics),
    )


def _epoch_emitter(emit: Emit, run_id: str, total: int) -> Callable[[EpochRecord], bool]:
    def on_epoch(record: EpochRecord) -> bool:
        done = record.epoch + 1
        return emit(Progress(run_id=run_id, stage="train", done=done, total=total, record=record))

    return on_epoch


def _teacher(task: TeacherTask, emit: Emit) -> RunRecord:
    dataset = _open(task.dataset, task.job)
    record = _ensure_teacher(task, dataset, emit)
    for seed in task.seeds:
        _ensure_soft_labels(task, dataset, seed=seed, emit=emit)
    return record


def _ensure_soft_labels(task: TeacherTask, dataset: Dataset, *, seed: int, emit: Emit) -> Path:
    """Compute what is missing of the soft labels for one seed; return their folder."""
    job, execution = task.job, task.execution
    bfloat16 = runs_in_bfloat16(job, len(dataset.info.classes), execution)

    def load_teacher() -> torch.nn.Module:
        model, _ = load_bundle(teacher_folder(task.cache, job))
        return model.to(execution.device).to(memory_format=torch.channels_last)

    def on_epoch(epoch: int) -> None:
        emit(
            Progress(
                run_id=task.label.run_id, stage="soft labels", done=epoch + 1, total=task.epochs
            )
        )

    folder = soft_label_folder(task.cache, job, teacher=job.digest(), seed=seed, bfloat16=bfloat16)
    views = Views(
        dataset.train.images,
        preprocessing=job.preprocessing,
        policy=job.policy,
        seed=seed,
        device=execution.device,
    )
    compute_soft_labels(
        folder,
        load_teacher=load_teacher,
        views=views,
        epochs=task.epochs,
        execution=execution,
        on_epoch=on_epoch,
    )
    return folder


def _ensure_teacher(task: TeacherTask, dataset: Dataset, emit: Emit) -> RunRecord:
    """Return the record of the teacher; train it first unless the cache has it."""
    folder = teacher_folder(task.cache, task.job)
    record_file = folder / "record.json"
    with file_lock(folder.with_name(f"{folder.name}.lock")):
        if not record_file.exists():
            started = _now()
            checkpoint = folder.with_name(f"{folder.name}.partial")
            outcome = train(
                task.job,
                dataset,
                execution=task.execution,
                checkpoint=checkpoint,
                on_epoch=_epoch_emitter(emit, task.label.run_id, task.job.recipe.epochs),
            )
            record = _train_record(
                task.label, task.job, outcome, started=started, execution=task.execution
            )
            if outcome.state != "complete":
                raise FersearchError(
                    f"the teacher {task.label.run_id} failed: {outcome.reason}",
                    "lower its learning rate in the study file's [teacher]",
                )
            save_bundle(folder, outcome.model, _bundle_config(task.job, dataset, record))
            # Written last: a folder without it is an unfinished teacher.
            save_record(record, record_file)
            checkpoint.unlink(missing_ok=True)
    # The cache serves many studies: here the teacher goes by this task's name.
    return dataclasses.replace(
        load_record(record_file),
        run_id=task.label.run_id,
        study=task.label.study,
        protocol_hash=task.label.protocol_hash,
        parameters=task.label.parameters,
    )


def _train(task: TrainTask, emit: Emit) -> RunRecord:
    dataset = _open(task.dataset, task.job)
    teacher = None
    if task.teacher_job is not None:
        _open(task.dataset, task.teacher_job)
        # Usually both are there already; a cache that was deleted meanwhile is filled again.
        supply = TeacherTask(
            label=dataclasses.replace(
                task.label,
                run_id=teacher_run_id(task.teacher_job),
                role="teacher",
                parameters=teacher_parameters(task.teacher_job),
            ),
            job=task.teacher_job,
            dataset=task.dataset,
            cache=task.cache,
            epochs=task.job.recipe.epochs,
            execution=task.execution,
        )
        _ensure_teacher(supply, dataset, _silent)
        folder = _ensure_soft_labels(supply, dataset, seed=task.job.seed, emit=_silent)
        teacher = ReplayedTeacher(folder, device=task.execution.device)
    started = _now()
    outcome = train(
        task.job,
        dataset,
        execution=task.execution,
        teacher=teacher,
        checkpoint=task.checkpoint,
        on_epoch=_epoch_emitter(emit, task.label.run_id, task.job.recipe.epochs),
    )
    record = _train_record(task.label, task.job, outcome, started=started, execution=task.execution)
    if task.bundle is not None and outcome.state == "complete":
        save_bundle(task.bundle, outcome.model, _bundle_config(task.job, dataset, record))
    return record


def _predict(task: PredictTask) -> None:
    dataset = Dataset.open(task.dataset)
    split = dataset.split(task.split)
    arrays: dict[str, Any] = {"labels": np.array(split.labels)}
    for name, folder in task.bundles.items():
        model, config = load_bundle(folder)
        model = model.to(task.execution.device).to(memory_format=torch.channels_last)
        views = Views.for_evaluation(
            split.images, preprocessing=config.preprocessing, device=task.execution.device
        )
        arrays[name] = predict_logits(model, views, execution=task.execution)
    with atomic_path(task.output) as temporary:
        np.savez(temporary, **arrays)
