"""The library as a notebook uses it; the command line is a thin layer over these functions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fersearch.data import Dataset
from fersearch.data import load_data as load_store
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy, Views
from fersearch.distill import (
    Execution,
    LossSettings,
    RunLabel,
    TeacherTask,
    TrainJob,
    TrainTask,
    execute,
    make_recipe,
    predict_logits,
    teacher_folder,
)
from fersearch.distill.tasks import Progress
from fersearch.environment import resolve_device, usable_cores
from fersearch.errors import FersearchError, InputError
from fersearch.models import BundleConfig, create, load_bundle, load_weights, read_weights
from fersearch.plugins import load_installed_plugins, load_plugin
from fersearch.records import RunRecord
from fersearch.report import write_study_report
from fersearch.search import (
    Listener,
    StudyFolder,
    StudyProgress,
    StudySettings,
    ignore_progress,
)
from fersearch.search import run_study as run_engine
from fersearch.spec import CategoricalParameter, StudySpec, load_study, override
from fersearch.stats import TestMetrics
from fersearch.stats import evaluate as evaluate_logits
from fersearch.track import NullTracker, Sink, Tracker

__all__ = [
    "Network",
    "StudyResult",
    "default_workspace",
    "distil",
    "evaluate",
    "load_data",
    "load_network",
    "run_study",
    "train_student",
    "train_teacher",
]

EXPERIMENT = "fersearch"
OnEpoch = Callable[[Progress], bool]


def default_workspace(workspace: str | Path | None = None) -> Path:
    """Return the workspace: the argument, else ``$FERSEARCH_WORKSPACE``, else ``./workspace``."""
    return Path(workspace or os.environ.get("FERSEARCH_WORKSPACE") or "workspace")


def load_data(
    data: str = "synthetic",
    *,
    image_size: int | None = None,
    split_seed: int = 0,
    workspace: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Open a data set; the first time it is decoded into the workspace's cache.

    Args:
        data: ``synthetic[:train=4000,seed=0,...]`` (drawn faces), a path whose layout is
            recognised, or ``KIND:PATH[?rule=majority&limit=2000]``.
        image_size: Side of the images in pixels; by default the data's own, 112 for photographs.
        split_seed: Seed of the 6:2:2 split of data that comes without one.
        workspace: Where the cache is; see :func:`default_workspace`.
        progress: Called with (images decoded, images in all) while decoding.

    Raises:
        InputError: The data cannot be found, recognised or read.
    """
    return load_store(
        data,
        cache=default_workspace(workspace) / "cache",
        image_size=image_size,
        split_seed=split_seed,
        progress=progress,
    )


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


def _weights(path: str | Path | None) -> tuple[str, str]:
    """Check a weights file and return its path and digest."""
    if path is None or str(path) == "":
        return "", ""
    file = Path(path).expanduser().resolve()
    read_weights(file)
    return str(file), hashlib.sha256(file.read_bytes()).hexdigest()


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
    path, sha256 = _weights(weights)
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
    **training: Any,
) -> Network:
    """Train a student on a teacher's soft labels, which are computed once and replayed.

    Args:
        data: The data set that the teacher was trained on.
        teacher: Who teaches, from :func:`train_teacher`.
        temperature: T > 0 of Eq 4-6.
        alpha: Weight of the soft term, in 0-1 (Eq 9).
        loss: ``kd``, ``dkd``, ``logit_std`` or ``dist``.
        **training: As for :func:`train_student`.
    """
    settings = LossSettings(name=loss, temperature=temperature, alpha=alpha)
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


def _record(result: RunRecord | None) -> RunRecord:
    assert result is not None  # only prediction tasks return nothing
    return result


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A finished study.

    Attributes:
        content: What ``result.json`` holds.
        folder: The study's folder, with the report and the network to deploy.
        warnings: What did not stop the study but should be known.
    """

    content: dict[str, Any]
    folder: Path
    warnings: tuple[str, ...] = ()

    @property
    def report(self) -> Path:
        """The study's Markdown report."""
        return self.folder / "REPORT.md"

    @property
    def model(self) -> Path:
        """Folder of the distilled student to deploy: weights and config."""
        return self.folder / "model"

    def __str__(self) -> str:
        """Return the summary table."""
        from fersearch.report import summary_text

        return summary_text(self.content)


def run_study(
    study: str | Path = "distill",
    *,
    data: str | None = None,
    workspace: str | Path | None = None,
    name: str = "",
    device: str = "auto",
    jobs: int = 0,
    threads: int = 0,
    storage: str = "",
    tracking_uri: str | None = None,
    track: bool = True,
    teacher_weights: str | Path | None = None,
    timeout: float | None = None,
    plugins: Sequence[str | Path] = (),
    settings: Mapping[str, object] | None = None,
    listener: Listener = ignore_progress,
    on_decode: Callable[[int, int], None] | None = None,
    on_data: Callable[[Dataset], None] | None = None,
    command: str = "",
) -> StudyResult:
    """Run a study from beginning to end, or continue it.

    Args:
        study: A shipped study's name or the path of a study file.
        data: The data set, as for :func:`load_data`; the study file's own when None.
        workspace: Where everything is written.
        name: Name of the study in the workspace; the study file's when empty.
        device: ``auto``, ``cpu`` or ``cuda``.
        jobs: Runs at a time; 0 takes one per core on a CPU (at most four) and one on a GPU.
        threads: CPU threads of each run; 0 shares the cores among the jobs. More or fewer threads
            change results by rounding, more or fewer jobs do not change them.
        storage: URL of the study storage; SQLite in the workspace when empty.
        tracking_uri: MLflow tracking URI; SQLite in the workspace when None.
        track: Whether MLflow is written to at all.
        teacher_weights: Initial weights of the teachers.
        timeout: Seconds after which no new trial is started.
        plugins: Files that register models of the user's own.
        settings: Changes to the study file by dotted path: ``{"budget.trials": 20}``.
        listener: Told of the study's progress.
        on_decode: Told of the data's decoding, (images done, images in all).
        on_data: Told of the data set once it is open.
        command: What to show as the command that reproduces the study.

    Raises:
        InputError: A setting, the data, the storage or the tracking URI is wrong.
        FersearchError: The study cannot be finished.
    """
    load_installed_plugins()
    for plugin in plugins:
        load_plugin(plugin)
    spec = _with_settings(load_study(study), dict(settings or {}))
    lag = spec.search.lag
    if jobs < 0 or jobs > lag:
        raise InputError(
            f"jobs must be from 1 to {lag} but got {jobs}",
            f"this study proposes a trial from results at least {lag} trials back (search.lag)",
        )
    chosen = resolve_device(device)
    jobs = jobs or (min(usable_cores(), lag) if chosen == "cpu" else 1)
    if threads < 0:
        raise InputError(f"threads must be at least 1 but got {threads}")
    if chosen == "cpu":
        threads = threads or max(1, usable_cores() // jobs)
    weights, weights_sha256 = _weights(teacher_weights)
    home = default_workspace(workspace).expanduser().resolve()
    # Before anything is decoded: a mistyped name should not cost the decoding.
    _check_model(spec.training.student, spec.training.student_options)
    for options in _teacher_options(spec):
        _check_model(spec.teacher.model, options)
    dataset = load_data(
        data or spec.data.default,
        image_size=spec.data.image_size,
        split_seed=spec.data.split_seed,
        workspace=home,
        progress=on_decode,
    )
    if on_data is not None:
        on_data(dataset)
    size = dataset.info.image_size
    _check_model(spec.training.student, spec.training.student_options, image_size=size)
    for options in _teacher_options(spec):
        _check_model(spec.teacher.model, options, image_size=size)
    notes: list[str] = []
    if weights:
        network = create(
            spec.teacher.model,
            num_classes=len(dataset.info.classes),
            image_size=size,
            **dict[str, Any](spec.teacher.options),
        )
        notes.append(f"teacher weights: {load_weights(network, Path(weights)).summary}")
        listener(StudyProgress(phase="search", message=notes[0]))
    engine = StudySettings(
        workspace=home,
        name=name,
        storage=storage,
        jobs=jobs,
        execution=Execution(device=chosen, threads=threads),
        timeout=timeout,
        teacher_weights=weights,
        teacher_weights_sha256=weights_sha256,
        plugins=tuple(str(plugin) for plugin in plugins),
        notes=tuple(notes),
        command=command,
    )
    tracker: Sink = NullTracker()
    if track:
        tracker = Tracker.open(workspace=home, tracking_uri=tracking_uri, experiment=EXPERIMENT)
    with tracker:
        result = run_engine(spec, dataset, engine, tracker=tracker, listener=listener)
        folder = StudyFolder(home, name or spec.name).path
        report = write_study_report(
            folder, result, figures=[(title, file) for title, file in result["figures"]]
        )
        tracker.finish_study(_figures(result), [report, folder / "result.json"])
        tracker.flush(60)
        warnings = tracker.warnings
    return StudyResult(result, folder, warnings)


def _with_settings(spec: StudySpec, settings: dict[str, object]) -> StudySpec:
    """Change a study's settings; another teacher does not inherit the options of the file's."""
    changes = dict(settings)
    if settings.get("teacher.model", spec.teacher.model) != spec.teacher.model:
        changes.setdefault("teacher.options", {})
        if any(parameter.name == "ffe_splits" for parameter in spec.space):
            # The number of splits is a property of EFF-ResNet18: no other teacher has it.
            changes["enqueue"] = [
                {name: value for name, value in point.items() if name != "ffe_splits"}
                for point in spec.enqueue
            ]
            changes["space.ffe_splits"] = None
    return override(spec, changes, source="the options")


def _teacher_options(spec: StudySpec) -> list[dict[str, Any]]:
    """Return the options of every teacher that the study may ask for."""
    for parameter in spec.space:
        if parameter.name == "ffe_splits" and isinstance(parameter, CategoricalParameter):
            return [{**spec.teacher.options, "ffe_splits": n} for n in parameter.choices]
    return [dict(spec.teacher.options)]


def _check_model(name: str, options: Mapping[str, Any], *, image_size: int | None = None) -> None:
    """Fail before anything is trained when a model cannot be built, at no cost of memory."""
    with torch.device("meta"):
        create(name, num_classes=2, image_size=image_size, **options)


def _figures(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a finished study that the tracker shows on its parent run."""
    figures = {
        f"test_{role}_{name}": block[name]
        for role, block in result["test"].items()
        for name in ("accuracy", "macro_f1", "balanced_accuracy", "auc", "ece")
        if block[name] is not None
    }
    return {
        **figures,
        "gain_accuracy": result["gain"]["accuracy"],
        "gain_p_value": result["gain"]["p_value"],
    }
