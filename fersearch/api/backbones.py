"""Backbones studies: the same study once for each of several students, and one table of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersearch.api.backbones_page import write_page
from fersearch.api.setup import Place, load_plugins, prepare
from fersearch.api.students import check_works_at, searched_sizes, size_notes
from fersearch.api.studies import run_study, with_settings
from fersearch.data import DataInfo
from fersearch.errors import FersearchError, InputError
from fersearch.files import file_lock, write_json
from fersearch.models.students import Students, match_students, read_count, resolve_students
from fersearch.records import to_plain
from fersearch.report.backbones import (
    RULE,
    backbones_text,
    naming,
    student_fronts,
    student_row,
    write_backbones_report,
)
from fersearch.search import (
    Listener,
    StudyFolder,
    StudyProgress,
    TooSlowError,
    ignore_progress,
)
from fersearch.search.folder import BACKBONES
from fersearch.spec import StudySpec, load_study

__all__ = ["BackbonesResult", "run_backbones"]


@dataclass(frozen=True, slots=True)
class BackbonesResult:
    """A finished backbones study.

    Attributes:
        content: What its ``result.json`` holds.
        folder: Its folder in the workspace, with that file and the report.
        page: The page with all figures and the Pareto plots; None when there is none.
        warnings: What did not stop it but should be known.
    """

    content: dict[str, Any]
    folder: Path
    page: Path | None = None
    warnings: tuple[str, ...] = ()

    @property
    def report(self) -> Path:
        """Its Markdown report."""
        return self.folder / "REPORT.md"

    def __str__(self) -> str:
        """Return the table."""
        return backbones_text(self.content)


def run_backbones(
    study: str | Path = "backbones",
    *,
    students: Sequence[str] | None = None,
    settings: Mapping[str, object] | None = None,
    max_params: float | str | None = None,
    max_macs: float | str | None = None,
    teacher_weights: str | Path | None = None,
    latency: bool = True,
    listener: Listener = ignore_progress,
    **place: Any,
) -> BackbonesResult:
    """Run a study once for each of several students, or what is left of it, and compare them.

    Every student gets a study of its own in the workspace, ``NAME-STUDENT``, with the same
    settings; teachers and soft labels come from the workspace's cache, so they are made once. A
    student that cannot be trained is named with the reason, and the others go on.

    Args:
        study: A shipped study's name or the path of a study file.
        students: timm names and wildcards such as ``mobilenetv3_*``; those of the study file
            (``training.students``) when None.
        settings: Changes to the study file by dotted path: ``{"budget.trials": 20}``.
        max_params: Most parameters of a student, such as ``6e6`` or ``"6M"``.
        max_macs: Most multiply-accumulates of one image, such as ``"50M"``.
        teacher_weights: Initial weights of the teachers.
        latency: Whether latencies that were not measured on this machine yet are measured now.
        listener: Told of the progress.
        **place: Where and how it runs: the fields of :class:`fersearch.api.Place`. ``timeout``
            counts for each student.

    Raises:
        InputError: A name, a limit, a setting, the data or the tracking URI is wrong, or not one
            of the models can be a student.
        FersearchError: Not one student's study could be finished.
    """
    where = Place(**place)
    load_plugins(where.plugins)
    loaded, changes = load_study(study), dict(settings or {})
    named: Any = changes.pop("training.students", ())
    patterns = tuple(students or named or loaded.training.students)
    changes["training.students"] = ()
    spec = with_settings(loaded, changes)
    patterns = patterns or (spec.training.student,)
    _check(spec, patterns, max_params, max_macs)
    home = StudyFolder(where.home, where.name or spec.name)
    if home.protocol.exists():
        raise InputError(
            f"{home.name!r} is the name of a study in this workspace",
            "give this one another --name",
        )
    busy = f"the study {home.name!r} is being run by another process"
    with file_lock(home.lock, wait=False, busy=busy):
        run = _Run(spec, where, home, listener)
        found = run.find(patterns, max_params=max_params, max_macs=max_macs)
        rows, failed = run.train(
            found, study=study, settings=changes, place=place, teacher_weights=teacher_weights
        )
        # Once before the page: measuring latencies takes a while, and may be interrupted.
        write_json(home.result, run.result(rows, found, failed, None))
        page, warnings = write_page(
            rows,
            {**found.refused, **failed},
            where=where,
            name=home.name,
            latency=latency,
            tell=run.tell,
        )
        result = run.result(rows, found, failed, page)
        write_json(home.result, result)
        write_backbones_report(home.path, result)
    told = tuple(dict.fromkeys([*run.warnings, *warnings]))
    return BackbonesResult(result, home.path, page, told)


def _check(spec: StudySpec, patterns: Sequence[str], *limits: float | str | None) -> None:
    """Refuse, before any data are opened, what no student could be trained with."""
    if spec.search.sampler == "grid":
        raise InputError(
            f"the study {spec.name} is a grid: it chooses no setting of a student",
            "take another --sampler",
        )
    if any(parameter.name == "student" for parameter in spec.space):
        raise InputError(
            f"the study {spec.name} searches the student itself",
            "run it as an ordinary study, or take [space.student] out of it",
        )
    if spec.search.costs and len(searched_sizes(spec)) < 2:
        raise InputError(
            f"{' and '.join(spec.search.costs)} would be the same for every trial: each of these "
            "students has a search of its own, at one size",
            "give --input-size several times, or search among them: fersearch study distill",
        )
    for value, what in zip(limits, ("max_params", "max_macs"), strict=True):
        read_count(value, what)
    match_students(patterns)


class _Run:
    """One invocation.

    Args:
        spec: The study, with the user's settings.
        where: Where and how it runs.
        home: Folder of the summary.
        listener: Told of the progress.
    """

    def __init__(
        self, spec: StudySpec, where: Place, home: StudyFolder, listener: Listener
    ) -> None:
        self.spec = spec
        self.where = where
        self.home = home
        self.listener = listener
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.protocol: dict[str, Any] = {}

    def tell(self, message: str) -> None:
        """Tell the listener something worth a line of its own."""
        self.listener(StudyProgress(phase="search", message=message))

    def note(self, message: str) -> None:
        """Tell it, and keep it in the result."""
        self.notes.append(message)
        self.tell(f"note: {message}")

    def find(
        self,
        patterns: Sequence[str],
        *,
        max_params: float | str | None,
        max_macs: float | str | None,
    ) -> Students:
        """Open the data and find out which models can be students of them."""
        training, teacher = self.spec.training, self.spec.teacher
        info = prepare(
            self.spec,
            self.where,
            models=[(teacher.model, teacher.options)],
            dropout=training.dropout,
        ).dataset.info
        found = resolve_students(
            patterns,
            classes=len(info.classes),
            image_size=info.image_size,
            max_params=max_params,
            max_macs=max_macs,
            dropout=training.dropout,
            options={training.student: training.student_options},
            adapt=True,
            tell=self.tell,
        )
        found = self.with_short_names(self.with_sizes(found, info))
        for name, reason in found.refused.items():
            self.tell(f"note: left out: {naming(name, reason)}")
        self.describe(found, info)
        return found

    def study_of(self, student: str) -> str:
        """Return the name of a student's study."""
        return f"{self.home.name}-{student}"

    def with_sizes(self, found: Students, info: DataInfo) -> Students:
        """Refuse students that cannot work at a size that is searched."""
        sizes, dropout = searched_sizes(self.spec), self.spec.training.dropout
        accepted, refused = [], dict(found.refused)
        for student in found.accepted:
            own = student.options
            try:
                for size in sizes:
                    check_works_at(student.name, size, info, dropout=dropout, options=own)
            except InputError as error:
                refused[student.name] = error.message
            else:
                accepted.append(student)
        if not accepted:
            raise InputError(
                f"no student can work at {' and '.join(map(str, sizes))} px: "
                f"{'; '.join(refused.values())}",
                "name another --input-size, or other students",
            )
        return dataclasses.replace(found, accepted=tuple(accepted), refused=refused)

    def with_short_names(self, found: Students) -> Students:
        """Refuse students whose study could not be named after them."""
        accepted, refused = [], dict(found.refused)
        for student in found.accepted:
            try:
                StudyFolder(self.home.workspace, self.study_of(student.name))
            except InputError as error:
                refused[student.name] = str(error)
            else:
                accepted.append(student)
        if not accepted:
            raise InputError(
                f"no study can be named {self.study_of(next(iter(refused)))!r}",
                "give this one a shorter --name",
            )
        return dataclasses.replace(found, accepted=tuple(accepted), refused=refused)

    def describe(self, found: Students, info: DataInfo) -> None:
        """Tell which students there are, and what is unusual about them."""
        self.tell(f"students: {', '.join(student.name for student in found.accepted)}")
        # Every student's own study tells of its size.
        sizes = {student.name: student.params for student in found.accepted}
        self.notes += size_notes(sizes, self.spec, info)
        for student in found.accepted:
            if not student.drops_out:
                self.note(f"{student.name} ignores drop_rate: it is trained without dropout")

    def train(
        self,
        found: Students,
        *,
        study: str | Path,
        settings: Mapping[str, object],
        place: Mapping[str, Any],
        teacher_weights: str | Path | None,
    ) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Run the study of every student.

        Returns:
            A row for each that has a result, and why others have none, by name.

        Raises:
            InputError: Something is wrong that would be wrong for every student.
            FersearchError: Not one has a result.
        """
        rows: list[dict[str, Any]] = []
        failed: dict[str, str] = {}
        for number, student in enumerate(found.accepted, start=1):
            macs = "" if student.macs is None else f", {student.macs / 1e6:.1f} M MACs"
            self.tell(
                f"student {number} of {len(found.accepted)}: {student.name} "
                f"({student.params / 1e6:.2f} M parameters{macs})"
            )
            name = self.study_of(student.name)
            try:
                result = run_study(
                    study,
                    settings={
                        **settings,
                        "training.student": student.name,
                        "training.student_options": dict(student.options),
                    },
                    teacher_weights=teacher_weights,
                    listener=self.listener,
                    **{**place, "name": name, "on_data": None, "on_decode": None},
                )
            except FersearchError as error:
                if isinstance(error, InputError) and not isinstance(error, TooSlowError):
                    raise
                failed[student.name] = str(error)
                self.tell(f"{student.name} has no result: {error}; the others go on")
                continue
            self.warnings += result.warnings
            self.protocol = result.content["protocol"]
            rows.append(student_row(student.name, name, result.content))
        if not rows:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise FersearchError(f"no student has a result: {reasons[:600]}")
        return rows, failed

    def result(
        self,
        rows: Sequence[Mapping[str, Any]],
        found: Students,
        failed: Mapping[str, str],
        page: Path | None,
    ) -> dict[str, Any]:
        """Return the content of ``result.json``."""
        own = ("student", "student_options")
        plain: dict[str, Any] = to_plain(
            {
                "kind": BACKBONES,
                "name": self.home.name,
                "rule": RULE,
                "students": rows,
                "fronts": student_fronts(rows),
                "refused": found.refused,
                "failed": failed,
                "over_limit": found.over_limit,
                "notes": self.notes,
                "protocol": {k: v for k, v in self.protocol.items() if k not in own},
                "page": "" if page is None else f"../../{page.relative_to(self.home.workspace)}",
                "command": self.where.command,
            }
        )
        return plain
