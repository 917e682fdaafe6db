"""Single networks: train a teacher, distil a student, measure, predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fersearch.api.inputs import checked_weights, default_workspace
from fersearch.data import Dataset
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy, Views
from fersearch.distill import (
    Execution,
    LossSettings,
    Progress,
    RunLabel,
    TeacherTask,
    TrainJob,
    TrainTask,
    execute,
    make_recipe,
    predict_logits,
    teacher_folder,
)
from fersearch.environment import resolve_device
from fersearch.errors import FersearchError, InputError
from fersearch.models import BundleConfig, load_bundle
from fersearch.plugins import load_installed_plugins
from fersearch.records import RunRecord
from fersearch.stats import TestMetrics
from fersearch.stats import evaluate as evaluate_logits

__all__ = ["Network", "distil", "evaluate", "load_network", "train_student", "train_teacher"]

OnEpoch = Callable[[Progress], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A trained network and how it came about.

    Attributes:
        model: The network in evaluation mode, ``(B, 3, S, S)`` float32 to ``(B, classes)`` logits.
        config: Its model name and options, classes, image size and preprocessing.
        record: The training run.
        job: The training job; equal jobs give equal networks.
        workspace: Where it is kept.
    """

    model: torch.nn.Module
    config: BundleConfig
    record: RunRecord
    job: TrainJob
    workspace: Path

    @property
    def val_accuracy(self) -> float:
        """Top-1 accuracy of the picked epoch on the validation split, in 0-1."""
        return self.record.metrics["val_accuracy"]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return class probabilities ``(N, classes)`` of uint8 images ``(N, C, S, S)``."""
        logits = _logits(self.model, self.config, images)
        return torch.from_numpy(logits).softmax(dim=1).numpy()


def _logits(model: torch.nn.Module, config: BundleConfig, images: np.ndarray) -> np.ndarray:
    device = str(next(model.parameters()).device)
    views = Views.for_evaluation(images, preprocessing=config.preprocessing, device=device)
    return predict_logits(model, views, execution=Execution(device=device))


def load_network(folder: str | Path) -> tuple[torch.nn.Module, BundleConfig]:
    """Load a saved network and its config, for example ``workspace/studies/distill/model``.

    Raises:
        InputError: The folder holds no network.
    """
    return load_bundle(Path(folder))


def evaluate(network: Network, data: Dataset, *, split: str = "val") -> TestMetrics:
    """Measure a network on a split, with 95 % intervals.

    Args:
        network: What to measure.
        data: The data set.
        split: ``train``, ``val`` or ``test``. Decide on ``val``; open ``test`` once, at the end.
    """
    part = data.split(split)
    logits = _logits(network.model, network.config, part.images)
    return evaluate_logits(
        logits[None], np.array(part.labels), data.info.classes, seeds=(network.record.seed,)
    )


def _train_job(
    data: Dataset,
    model: str,
    model_options: Mapping[str, Any],
    *,
    recipe: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    **fields: Any,
) -> TrainJob:
    return TrainJob(
        data_sha256=data.info.sha256,
        model=model,
        model_options=dict(model_options),
        recipe=make_recipe(
            recipe, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate
        ),
        policy=ViewPolicy(),
        preprocessing=Preprocessing.of_training_images(data.train.images),
        seed=seed,
        **fields,
    )


def _execution(device: str) -> Execution:
    return Execution(device=resolve_device(device))


def train_teacher(
    data: Dataset,
    *,
    ffe_splits: int = 4,
    model: str = "eff_resnet18",
    model_options: Mapping[str, Any] | None = None,
    epochs: int = 10,
    learning_rate: float = 0.05,
    batch_size: int = 64,
    recipe: str = "default",
    seed: int = 0,
    weights: str | Path | None = None,
    device: str = "auto",
    workspace: str | Path | None = None,
    on_epoch: OnEpoch = lambda progress: True,
) -> Network:
    """Train a teacher, or take it from the cache when the same one was trained before.

    Args:
        data: The data set.
        ffe_splits: n, the number of subsets of the FFE blocks (EFF-ResNet18 only).
        model: timm name of the teacher.
        model_options: Further options of the model, such as ``{"layout": "manet"}``.
        epochs: Passes over the training split.
        learning_rate: Peak learning rate.
        batch_size: Images a step.
        recipe: ``default`` or ``paper``.
        seed: Seed of weights, order, views and dropout.
        weights: File of initial weights: a state dict or safetensors.
        device: ``auto``, ``cpu`` or ``cuda``.
        workspace: Where it is kept.
        on_epoch: Called after every epoch.
    """
    options = dict(model_options or {})
    if model == "eff_resnet18":
        options.setdefault("ffe_splits", ffe_splits)
    load_installed_plugins()
    path, sha256 = checked_weights(weights)
    job = _train_job(
        data,
        model,
        options,
        recipe=recipe,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        weights=path,
        weights_sha256=sha256,
    )
    home = default_workspace(workspace)
    task = TeacherTask(
        label=RunLabel(
            run_id=f"teacher-{job.digest()}", study="", role="teacher", protocol_hash=""
        ),
        job=job,
        dataset=data.path,
        cache=home / "cache",
        execution=_execution(device),
    )
    record = _record(execute(task, on_epoch))
    network, config = load_bundle(teacher_folder(home / "cache", job))
    return Network(network.to(task.execution.device), config, record, job, home)


def distil(
    data: Dataset,
    teacher: Network,
    *,
    temperature: float = 6.0,
    alpha: float = 0.4,
    loss: str = "kd",
    loss_options: Mapping[str, float] | None = None,
    **training: Any,
) -> Network:
    """Train a student on a teacher's soft labels, which are computed once and replayed.

    Args:
        data: The data set that the teacher was trained on.
        teacher: Who teaches, from :func:`train_teacher`.
        temperature: T > 0 of Eq 4-6.
        alpha: Weight of the soft term, in 0-1 (Eq 9).
        loss: ``kd``, ``dkd``, ``logit_std`` or ``dist``.
        loss_options: The loss's own parameters, such as ``{"dkd_other_weight": 4.0}``; a missing
            one keeps its default.
        **training: As for :func:`train_student`.
    """
    settings = LossSettings(
        name=loss, temperature=temperature, alpha=alpha, options=dict(loss_options or {})
    )
    if teacher.job.data_sha256 != data.info.sha256:
        raise InputError(
            "the teacher was trained on other data than the student is given",
            "train a teacher on this data set",
        )
    if not training.get("workspace"):
        training["workspace"] = teacher.workspace
    return _student(data, teacher, settings, **training)


def train_student(data: Dataset, **training: Any) -> Network:
    """Train a student alone: the control that every distillation is compared with.

    Args:
        data: The data set.
        **training: ``model`` (default ``shufflenet_v2_x1_0``), ``model_options``, ``epochs`` (8),
            ``learning_rate`` (0.05), ``batch_size`` (64), ``recipe``, ``seed``, ``device``,
            ``workspace``, ``on_epoch``, as for :func:`train_teacher`.
    """
    return _student(data, None, None, **training)


def _student(
    data: Dataset,
    teacher: Network | None,
    loss: LossSettings | None,
    *,
    model: str = "shufflenet_v2_x1_0",
    model_options: Mapping[str, Any] | None = None,
    epochs: int = 8,
    learning_rate: float = 0.05,
    batch_size: int = 64,
    recipe: str = "default",
    seed: int = 0,
    device: str = "auto",
    workspace: str | Path | None = None,
    on_epoch: OnEpoch = lambda progress: True,
) -> Network:
    load_installed_plugins()
    job = _train_job(
        data,
        model,
        model_options or {},
        recipe=recipe,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        loss=loss,
        teacher=teacher.job.digest() if teacher else "",
    )
    home = default_workspace(workspace)
    run_id = f"{'distilled' if teacher else 'alone'}-{job.digest()}"
    role = "distilled" if teacher else "student_alone"
    folder = home / "networks" / run_id
    checkpoint = home / "cache" / "checkpoints" / f"{run_id}.pt"
    task = TrainTask(
        label=RunLabel(run_id=run_id, study="", role=role, protocol_hash=""),
        job=job,
        teacher_job=teacher.job if teacher else None,
        dataset=data.path,
        cache=home / "cache",
        checkpoint=checkpoint,
        bundle=folder,
        execution=_execution(device),
    )
    record = _record(execute(task, on_epoch))
    if record.state != "complete":
        raise FersearchError(f"the training did not finish: {record.reason}")
    checkpoint.unlink(missing_ok=True)
    network, config = load_bundle(folder)
    return Network(network.to(task.execution.device), config, record, job, home)


def _record(result: RunRecord | tuple[RunRecord, ...] | None) -> RunRecord:
    assert isinstance(result, RunRecord)  # the result of a task that trains one network
    return result
