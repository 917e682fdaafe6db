"""Doing the units of work: plain data in, a record and files out."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fersearch.data.dataset import Dataset
from fersearch.data.views import Views
from fersearch.deploy.onnx_model import OnnxPredictor
from fersearch.distill.evaluation import predict_logits
from fersearch.distill.job import Execution, TrainJob
from fersearch.distill.outcomes import TrainOutcome
from fersearch.distill.precision import trains_in_bfloat16
from fersearch.distill.soft_labels import (
    ReplayedTeacher,
    compute_soft_labels,
    soft_label_folder,
)
from fersearch.distill.stack import Student, train_stack
from fersearch.distill.tasks import (
    Emit,
    ExplainTask,
    PredictTask,
    Progress,
    RunLabel,
    StackTask,
    Task,
    TeacherTask,
    TrainTask,
    teacher_folder,
    teacher_parameters,
    teacher_run_id,
)
from fersearch.distill.trainer import runs_in_bfloat16, train
from fersearch.environment import describe_environment
from fersearch.errors import FersearchError, InputError
from fersearch.evaluations import GradCams, save_grad_cams
from fersearch.files import atomic_path, file_lock
from fersearch.models import (
    CHOICE_RULE,
    BundleConfig,
    choose_images,
    grad_cam,
    load_bundle,
    place,
    save_bundle,
    train_fast_on_cpu,
)
from fersearch.records import (
    EpochRecord,
    RunRecord,
    load_record,
    save_record,
    to_plain,
)

__all__ = ["execute"]


def _open(folder: Path, job: TrainJob) -> Dataset:
    """Open the data of a job; an index of one data set means nothing in another."""
    dataset = Dataset.open(folder)
    if dataset.info.sha256 != job.data_sha256:
        raise FersearchError(f"{folder} holds other data than the job was made for")
    return dataset


def execute(task: Task, emit: Emit) -> RunRecord | tuple[RunRecord, ...] | None:
    """Do a task; ``emit`` is told of every epoch and may stop a training run by returning False.

    Returns:
        The record of a training run, one for each student of a stack, or None.
    """
    if task.execution.threads:
        torch.set_num_threads(task.execution.threads)
    if isinstance(task, TeacherTask):
        return _teacher(task, emit)
    if isinstance(task, TrainTask):
        return _train(task, emit)
    if isinstance(task, StackTask):
        return _train_stack(task, emit)
    if isinstance(task, ExplainTask):
        _explain(task)
    else:
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
    metrics["training_params"] = outcome.training_params
    environment = describe_environment(execution.device, execution.threads)
    size = job.preprocessing.image_size
    bfloat16 = trains_in_bfloat16(outcome.model, execution, image_size=size)
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
        environment={**environment, "precision": "bfloat16" if bfloat16 else "float32"},
        notes=outcome.notes,
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
        # Rounding is nothing to soft labels, which all students read alike.
        model = train_fast_on_cpu(model, in_evaluation=True)
        return place(model, execution.device)

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
    teacher, companion = _supplied(task, dataset)
    started = _now()
    outcome = train(
        task.job,
        dataset,
        execution=task.execution,
        teacher=teacher,
        companion=companion,
        checkpoint=task.checkpoint,
        on_epoch=_epoch_emitter(emit, task.label.run_id, task.job.recipe.epochs),
    )
    return _trained(task, dataset, outcome, started=started)


def _train_stack(task: StackTask, emit: Emit) -> tuple[RunRecord, ...]:
    dataset = _open(task.tasks[0].dataset, task.tasks[0].job)
    teachers: dict[str, ReplayedTeacher | None] = {}
    students = []
    for part in task.tasks:
        if part.job.teacher not in teachers:
            teachers[part.job.teacher], _ = _supplied(part, dataset)
        student = Student(
            job=part.job,
            teacher=teachers[part.job.teacher],
            checkpoint=part.checkpoint,
            on_epoch=_epoch_emitter(emit, part.label.run_id, part.job.recipe.epochs),
        )
        students.append(student)
    started = _now()
    outcomes = train_stack(students, dataset, execution=task.execution)
    return tuple(
        _trained(part, dataset, outcome, started=started)
        for part, outcome in zip(task.tasks, outcomes, strict=True)
    )


def _supplied(task: TrainTask, dataset: Dataset) -> tuple[ReplayedTeacher | None, nn.Module | None]:
    """Return the soft labels or the companion that a run needs; usually they are there already."""
    if task.teacher_job is None:
        return None, None
    _open(task.dataset, task.teacher_job)
    # A cache that was deleted meanwhile is filled again.
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
    if task.job.loss is None:
        return None, _companion(task)
    folder = _ensure_soft_labels(supply, dataset, seed=task.job.seed, emit=_silent)
    return ReplayedTeacher(folder, device=task.execution.device), None


def _trained(
    task: TrainTask, dataset: Dataset, outcome: TrainOutcome, *, started: str
) -> RunRecord:
    """Return the record of a run, and save its network where it is wanted."""
    record = _train_record(task.label, task.job, outcome, started=started, execution=task.execution)
    if task.bundle is not None and outcome.state == "complete":
        save_bundle(task.bundle, outcome.model, _bundle_config(task.job, dataset, record))
    return record


def _companion(task: TrainTask) -> nn.Module:
    """Return the trained network that a baseline's loss asked for, frozen, on the device."""
    assert task.teacher_job is not None
    network, _ = load_bundle(teacher_folder(task.cache, task.teacher_job))
    network.requires_grad_(False)
    return place(network, task.execution.device)


def _explain(task: ExplainTask) -> None:
    dataset = Dataset.open(task.dataset)
    split = dataset.split(task.split)
    chosen = choose_images(split.images, np.asarray(split.labels))
    maps, predictions, layers = {}, {}, {}
    for name, folder in task.bundles.items():
        network, config = load_bundle(folder)
        network = network.to(task.execution.device)
        views = Views.for_evaluation(
            split.images, preprocessing=config.preprocessing, device=task.execution.device
        )
        try:
            seen = grad_cam(network, views.evaluation(chosen))
        except InputError as error:  # a network without feature maps: the figure says so
            layers[name] = f"none: {error}"
            continue
        maps[name], predictions[name], layers[name] = seen.maps, seen.predictions, seen.layer
    save_grad_cams(
        task.output,
        GradCams(
            rule=CHOICE_RULE,
            images=np.asarray(split.images[chosen]),
            indices=chosen,
            labels=np.asarray(split.labels)[chosen],
            maps=maps,
            predictions=predictions,
            layers=layers,
        ),
    )


def _predict(task: PredictTask) -> None:
    dataset = Dataset.open(task.dataset)
    split = dataset.split(task.split)
    arrays: dict[str, Any] = {"labels": np.array(split.labels)}
    for name, folder in task.bundles.items():
        if folder.suffix == ".onnx":
            arrays[name] = _file_logits(folder, split.images, threads=task.execution.threads)
            continue
        model, config = load_bundle(folder)
        model = place(model, task.execution.device)
        views = Views.for_evaluation(
            split.images, preprocessing=config.preprocessing, device=task.execution.device
        )
        arrays[name] = predict_logits(model, views, execution=task.execution)
    with atomic_path(task.output) as temporary:
        np.savez(temporary, **arrays)


def _file_logits(file: Path, images: NDArray[np.uint8], *, threads: int) -> NDArray[np.float32]:
    """Return the logits that an ONNX file gives for images ``(N, C, S, S)``."""
    predictor = OnnxPredictor(file, threads=max(1, threads))
    parts = [
        predictor.logits(
            predictor.info.network_input(np.moveaxis(np.asarray(images[at : at + 256]), 1, 3))
        )
        for at in range(0, len(images), 256)
    ]
    return np.concatenate(parts)
