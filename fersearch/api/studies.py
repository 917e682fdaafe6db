"""Whole studies: check everything that can be checked first, then search, confirm, test, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersearch.api.inputs import checked_weights
from fersearch.api.setup import Place, Prepared, load_plugins, open_tracker, prepare
from fersearch.api.stacking import check_vectorize, trials_together
from fersearch.api.students import (
    count_parameters,
    searched_sizes,
    searches_students,
    size_notes,
    student_patterns,
    with_students,
)
from fersearch.errors import InputError
from fersearch.models import create, load_weights
from fersearch.models.students import WILDCARDS
from fersearch.report import grid_text, summary_text, write_grid_report, write_study_report
from fersearch.search import (
    Listener,
    StudyFolder,
    StudyProgress,
    grid_cells,
    ignore_progress,
    run_grid,
    warm_started,
)
from fersearch.search import run_study as run_engine
from fersearch.spec import (
    CategoricalParameter,
    StudySpec,
    load_study,
    override,
    with_loss,
)

__all__ = ["StudyResult", "run_study"]


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
    def model(self) -> Path | None:
        """Folder of the distilled student to deploy; None for a grid, which picks nothing."""
        return None if "cells" in self.content else self.folder / "model"

    def __str__(self) -> str:
        """Return the summary table."""
        return grid_text(self.content) if "cells" in self.content else summary_text(self.content)


def run_study(
    study: str | Path = "distill",
    *,
    settings: Mapping[str, object] | None = None,
    teacher_weights: str | Path | None = None,
    warm_start: str | None = None,
    listener: Listener = ignore_progress,
    **place: Any,
) -> StudyResult:
    """Run a study from beginning to end, or continue it.

    A study whose sampler is ``grid`` trains and tests every cell of its grid.

    Args:
        study: A shipped study's name or the path of a study file.
        settings: Changes to the study file by dotted path: ``{"budget.trials": 20}``.
        teacher_weights: Initial weights of the teachers.
        warm_start: Name of an earlier study in the same storage, with the same space: its best
            three settings are tried after the study's own points.
        listener: Told of the study's progress.
        **place: Where and how it runs: the fields of :class:`fersearch.api.Place` (``data``,
            ``workspace``, ``name``, ``device``, ``jobs``, ``vectorize``, ``threads``, ``storage``,
            ``tracking_uri``, ``track``, ``timeout``, ``plugins``, ...).

    Raises:
        InputError: A setting, the data, the storage or the tracking URI is wrong.
        FersearchError: The study cannot be finished.
    """
    where = Place(**place)
    load_plugins(where.plugins)
    changes = dict(settings or {})
    loaded = load_study(study)
    if loaded.training.students and "training.students" not in changes:
        raise InputError(
            f"the study {loaded.name} runs once for each of its students",
            "call fersearch.run_backbones, or name the students to search among in the settings",
        )
    spec = with_settings(loaded, changes)
    grid = spec.search.sampler == "grid"
    if grid:
        grid_cells(spec)
        if "budget.trials" in changes:
            raise InputError(
                f"the study {spec.name} is a grid: it has cells, no trials",
                "leave --trials out, or take another --sampler",
            )
    check_vectorize(where.vectorize, spec, compiles=where.compile)
    weights, weights_sha256 = checked_weights(teacher_weights)
    teachers = [(spec.teacher.model, options) for options in _teacher_options(spec)]
    check_objectives(spec)
    warmed = []
    if warm_start is not None:
        if grid:
            raise InputError(f"the study {spec.name} is a grid: it has no points to try first")
        spec, note = warm_started(
            spec,
            source=warm_start,
            name=where.name or spec.name,
            workspace=where.home,
            storage=where.storage,
        )
        warmed.append(note)
    several = searches_students(spec)
    own = [] if several else [(spec.training.student, spec.training.student_options)]
    prepared = prepare(spec, where, models=[*own, *teachers], dropout=spec.training.dropout)
    notes = [*warmed, *_weight_notes(spec, prepared, weights)]
    if several:
        spec, left_out = with_students(spec, prepared.dataset.info)
        notes += left_out
        check_objectives(spec)
    notes += _size_notes(spec, prepared)
    together, how = trials_together(
        where.vectorize,
        spec,
        prepared.dataset.info,
        device=prepared.settings.execution.device,
        records=prepared.settings.execution.records,
        compiles=where.compile,
    )
    for note in [*notes, how] if how else notes:
        listener(StudyProgress(phase="search", message=note))
    engine = dataclasses.replace(
        prepared.settings,
        together=together,
        teacher_weights=weights,
        teacher_weights_sha256=weights_sha256,
        notes=tuple(notes),
    )
    run = run_grid if grid else run_engine
    with open_tracker(where) as tracker:
        result = run(spec, prepared.dataset, engine, tracker=tracker, listener=listener)
        home = StudyFolder(where.home, where.name or spec.name)
        if grid:
            report = write_grid_report(home.path, result)
        else:
            figures = [(title, file) for title, file in result["figures"]]
            report = write_study_report(home.path, result, figures=figures)
        artifacts = [path for path in (report, home.result, home.evaluation) if path.exists()]
        tracker.finish_study(_figures(result), artifacts)
        tracker.flush(60)
        warnings = tracker.warnings
    return StudyResult(result, home.path, warnings)


def check_objectives(spec: StudySpec) -> None:
    """Refuse a limit without costs, a grid with them, and costs that are the same for all trials.

    Raises:
        InputError: As said.
    """
    search = spec.search
    if search.patience is not None and (search.costs or search.sampler == "grid"):
        kind = "Pareto search has no best trial" if search.costs else "grid has no trials"
        raise InputError(f"patience is not for this study: a {kind}", "leave --patience out")
    if search.max_latency_ms is not None and not search.costs:
        raise InputError(
            "a limit on the latency needs a Pareto search",
            "give --objective accuracy --objective latency as well",
        )
    if not search.costs:
        return
    if search.sampler == "grid":
        raise InputError(
            f"the study {spec.name} is a grid: it searches nothing, so it has no front",
            "take another --sampler, or leave the costs out of --objective",
        )
    patterns = student_patterns(spec)
    several = (
        len(patterns) > 1
        or any(WILDCARDS.search(name) for name in patterns)
        or len(searched_sizes(spec)) > 1
    )
    if not several:
        raise InputError(
            f"{' and '.join(search.costs)} would be the same for every trial: "
            "this study has one student at one size",
            "give --student or --input-size several times, or a pattern such as "
            "--student 'shufflenet_v2_*'",
        )


def _weight_notes(spec: StudySpec, prepared: Prepared, weights: str) -> list[str]:
    """Say how many tensors of the teacher's weights file fit."""
    if not weights:
        return []
    info = prepared.dataset.info
    network = create(
        spec.teacher.model,
        num_classes=len(info.classes),
        image_size=info.image_size,
        **dict[str, Any](spec.teacher.options),
    )
    return [f"teacher weights: {load_weights(network, Path(weights)).summary}"]


def _size_notes(spec: StudySpec, prepared: Prepared) -> list[str]:
    """Say which students are larger than their teacher."""
    info, training = prepared.dataset.info, spec.training
    names = student_patterns(spec) or (training.student,)
    own = {training.student: training.student_options}
    sizes = {name: count_parameters(name, own.get(name, {}), info) for name in names}
    return size_notes(sizes, spec, info)


def with_settings(spec: StudySpec, settings: dict[str, object]) -> StudySpec:
    """Change a study's settings; another teacher does not inherit the options of the file's."""
    changes = dict(settings)
    if changes.get("training.loss") is not None:
        grid = changes.get("search.sampler", spec.search.sampler) == "grid"
        loss = changes.pop("training.loss")
        spec = with_loss(spec, loss, own_parameters=not grid, source="the options")
    points = [dict(point) for point in spec.enqueue]
    students: Any = settings.get("training.students", ())
    if len(students) == 1 and not WILDCARDS.search(students[0]):
        changes |= {"training.student": students[0], "training.students": ()}
        changes["space.student"] = None
        for point in points:
            point.pop("student", None)
    if changes.get("training.student", spec.training.student) != spec.training.student:
        changes.setdefault("training.student_options", {})
    sizes = settings.get("space.input_size")
    if isinstance(sizes, Mapping) and sizes.get("choices"):
        points = [{**point, "input_size": max(sizes["choices"])} for point in points]
    if settings.get("teacher.model", spec.teacher.model) != spec.teacher.model:
        changes.setdefault("teacher.options", {})
        if any(parameter.name == "ffe_splits" for parameter in spec.space):
            # The number of splits is a property of EFF-ResNet18: no other teacher has it.
            for point in points:
                point.pop("ffe_splits", None)
            changes["space.ffe_splits"] = None
    changes.setdefault("enqueue", points)
    return override(spec, changes, source="the options")


def _teacher_options(spec: StudySpec) -> list[dict[str, Any]]:
    """Return the options of every teacher that the study may ask for."""
    for parameter in spec.space:
        if parameter.name == "ffe_splits" and isinstance(parameter, CategoricalParameter):
            return [{**spec.teacher.options, "ffe_splits": n} for n in parameter.choices]
    return [dict(spec.teacher.options)]


def _figures(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of a finished study that the tracker shows on its parent run."""
    # Other points of a front are in the evaluation: they may not be there the next time.
    roles = ("distilled", "student_alone", "teacher")
    blocks = {role: block for role, block in result.get("test", {}).items() if role in roles}
    for cell in result.get("cells", ()):
        blocks[cell["key"]] = cell["test"]
    figures = {
        f"test_{role}_{name}": block[name]
        for role, block in blocks.items()
        for name in ("accuracy", "macro_f1", "balanced_accuracy", "auc", "ece")
        if block[name] is not None
    }
    if "gain" in result:
        figures["gain_accuracy"] = result["gain"]["accuracy"]
        figures["gain_p_value"] = result["gain"]["p_value"]
    return figures
