"""Whole studies: check everything that can be checked first, then search, confirm, test, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fersearch.api.inputs import checked_weights, default_workspace, load_data
from fersearch.data import Dataset
from fersearch.distill import Execution
from fersearch.environment import resolve_device, usable_cores
from fersearch.errors import InputError
from fersearch.models import create, load_weights
from fersearch.plugins import load_installed_plugins, load_plugin
from fersearch.report import summary_text, write_study_report
from fersearch.search import (
    Listener,
    StudyFolder,
    StudyProgress,
    StudySettings,
    check_storage,
    ignore_progress,
)
from fersearch.search import run_study as run_engine
from fersearch.spec import CategoricalParameter, StudySpec, load_study, override
from fersearch.track import NullTracker, Sink, Tracker

__all__ = ["StudyResult", "run_study"]

EXPERIMENT = "fersearch"


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
    weights, weights_sha256 = checked_weights(teacher_weights)
    home = default_workspace(workspace).resolve()
    # Before anything is decoded: a mistyped name or address should not cost the decoding.
    check_storage(storage, home)
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
