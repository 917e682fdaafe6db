"""What studies and baseline runs do before anything is trained: check, decode, open the tracker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fersearch.api.inputs import default_workspace, load_data
from fersearch.data import Dataset
from fersearch.distill import Execution
from fersearch.environment import resolve_device, usable_cores
from fersearch.errors import InputError
from fersearch.models import create
from fersearch.models.trainable import check_trainable
from fersearch.plugins import load_installed_plugins, load_plugin
from fersearch.search import StudySettings, check_storage
from fersearch.spec import StudySpec
from fersearch.track import NullTracker, Sink, Tracker

__all__ = ["EXPERIMENT", "Place", "Prepared", "load_plugins", "open_tracker", "prepare"]

EXPERIMENT = "fersearch"
Models = Sequence[tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and how something runs, as a user gives it.

    Attributes:
        data: The data set; None for the study file's own.
        workspace: Where everything is written; None for the default.
        name: Name in the workspace; empty for the study file's.
        device: ``auto``, ``cpu`` or ``cuda``.
        jobs: Runs at a time; 0 takes one per core on a CPU (at most four) and one on a GPU.
        vectorize: Trials of a study that are trained in one program: ``auto``, 1, or how many at
            most. Baselines and confirmations are always trained each on its own.
        threads: CPU threads of each run; 0 shares the cores among the jobs.
        compile: Compile training steps with ``torch.compile``; baselines are not compiled.
        storage: URL of the study storage; SQLite in the workspace when empty.
        tracking_uri: MLflow tracking URI; SQLite in the workspace when None.
        track: Whether MLflow is written to at all.
        timeout: Seconds after which no new trial is started.
        plugins: Files that register models of the user's own.
        export: Whether a study's student is exported to ONNX, where the packages for it are there.
        on_decode: Told of the data's decoding, (images done, images in all).
        on_data: Told of the data set once it is open.
        command: What to show as the command that reproduces the result.
    """

    data: str | None = None
    workspace: str | Path | None = None
    name: str = ""
    device: str = "auto"
    jobs: int = 0
    vectorize: int | str = "auto"
    threads: int = 0
    compile: bool = False
    storage: str = ""
    tracking_uri: str | None = None
    track: bool = True
    timeout: float | None = None
    plugins: Sequence[str | Path] = ()
    export: bool = True
    on_decode: Callable[[int, int], None] | None = None
    on_data: Callable[[Dataset], None] | None = None
    command: str = ""

    @property
    def home(self) -> Path:
        """The workspace's folder."""
        return default_workspace(self.workspace).resolve()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that was checked and opened.

    Attributes:
        dataset: The data.
        settings: Where and how the engine runs.
    """

    dataset: Dataset
    settings: StudySettings


def load_plugins(plugins: Sequence[str | Path]) -> None:
    """Load the plug-ins of installed distributions and the given files."""
    load_installed_plugins()
    for plugin in plugins:
        load_plugin(plugin)


def prepare(
    spec: StudySpec, place: Place, *, models: Models, dropout: float | None = None
) -> Prepared:
    """Check everything that can be checked before training, and open the data.

    Args:
        spec: The study.
        place: Where and how it runs.
        models: Names and options of all networks that will be built.
        dropout: Dropout rate that they are trained with, by plain cross entropy; None for models
            that bring a loss of their own, which are built and not tried.

    Raises:
        InputError: A setting, a network, the storage or the data is wrong.
    """
    lag = spec.search.lag
    jobs, threads = place.jobs, place.threads
    if jobs < 0 or jobs > lag:
        raise InputError(
            f"jobs must be from 1 to {lag} but got {jobs}",
            f"this study proposes a trial from results at least {lag} trials back (search.lag)",
        )
    chosen = resolve_device(place.device)
    jobs = jobs or (min(usable_cores(), lag) if chosen == "cpu" else 1)
    if threads < 0:
        raise InputError(f"threads must be at least 1 but got {threads}")
    if chosen == "cpu":
        threads = threads or max(1, usable_cores() // jobs)
    # Before anything is decoded: a mistyped name or address should not cost the decoding.
    check_storage(place.storage, place.home)
    check_models(models)
    dataset = load_data(
        place.data or spec.data.default,
        image_size=spec.data.image_size,
        split_seed=spec.data.split_seed,
        workspace=place.home,
        progress=place.on_decode,
    )
    if place.on_data is not None:
        place.on_data(dataset)
    classes, size = len(dataset.info.classes), dataset.info.image_size
    if dropout is None:
        check_models(models, classes=classes, image_size=size)
    else:
        for name, options in models:
            check_trainable(
                name, classes=classes, image_size=size, dropout=dropout, options=options
            )
    settings = StudySettings(
        workspace=place.home,
        name=place.name,
        storage=place.storage,
        jobs=jobs,
        execution=Execution(
            device=chosen,
            threads=threads,
            compile_cache=str(place.home / "cache" / "compiled") if place.compile else "",
        ),
        timeout=place.timeout,
        plugins=tuple(str(plugin) for plugin in place.plugins),
        export=place.export,
        command=place.command,
    )
    return Prepared(dataset=dataset, settings=settings)


def check_models(models: Models, *, classes: int = 2, image_size: int | None = None) -> None:
    """Fail before anything is trained when a model cannot be built, at no cost of memory."""
    for name, options in models:
        with torch.device("meta"):
            create(name, num_classes=classes, image_size=image_size, **options)


def open_tracker(place: Place) -> Sink:
    """Open the tracking store, unless nothing is to be tracked."""
    if not place.track:
        return NullTracker()
    return Tracker.open(
        workspace=place.home, tracking_uri=place.tracking_uri, experiment=EXPERIMENT
    )
