"""Reports from tracked runs alone: a leaderboard, and the source paper beside what was measured."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from fersearch.api.inputs import default_workspace
from fersearch.api.latencies import chosen_runtimes, session_latencies
from fersearch.api.setup import EXPERIMENT, load_plugins
from fersearch.errors import FersearchError, InputError, suggestion
from fersearch.evaluations import GRAD_CAM_FILE, GradCams, load_grad_cams
from fersearch.report.leaderboard.board import Board, Leaderboard
from fersearch.report.leaderboard.collect import (
    Source,
    architectures,
    load_sources,
    make_leaderboard,
)
from fersearch.report.leaderboard.write import LEADERBOARD_FORMATS, write_leaderboard
from fersearch.report.paper.build import Paper, paper_report
from fersearch.report.paper.formats import write_paper
from fersearch.search.folder import NAME
from fersearch.track import read_studies

__all__ = ["ReportResult", "leaderboard", "paper"]

Tell = Callable[[str], None]
Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class ReportResult(Generic[Content]):
    """A report that was written.

    Attributes:
        content: What was shown.
        files: The files.
        warnings: What was left out, and why; one sentence each.
    """

    content: Content
    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()


def leaderboard(
    *,
    workspace: str | Path | None = None,
    tracking_uri: str | None = None,
    studies: Sequence[str] = (),
    formats: Sequence[str] = LEADERBOARD_FORMATS,
    out: str | Path | None = None,
    name: str = "leaderboard",
    latency: bool = True,
    runtimes: Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    command: str = "",
    tell: Tell = lambda text: None,
) -> ReportResult[Leaderboard]:
    """Write the leaderboard of all tracked studies and baselines.

    Args:
        workspace: Folder whose MLflow store is read; see :func:`fersearch.api.default_workspace`.
        tracking_uri: MLflow tracking URI; the workspace's SQLite file when None.
        studies: Names of the studies and baseline runs to show; all when empty.
        formats: Some of ``html``, ``md``, ``csv``, ``json`` and ``tex``.
        out: Folder to write to; ``reports/NAME`` in the workspace when None.
        name: Name of the report.
        latency: Whether latencies that were not measured on this machine yet are measured now.
        runtimes: What latencies are shown, the main one first, by name in
            :data:`fersearch.deploy.runtimes.RUNTIMES`. When empty: ONNX Runtime in float32 and in
            8 bits; PyTorch in eager mode where the packages for that are not installed.
        plugins: Files that register models, or runtimes, of the user's own.
        command: What to show as the command that makes the report.
        tell: Told what is being done.

    Raises:
        InputError: The store cannot be reached, holds no tested study, or an option is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="fersearch-") as scratch:
        home = default_workspace(workspace).resolve()
        target = _target(home, out, name)
        check_formats(formats)
        load_plugins(plugins)
        names, warnings = chosen_runtimes(runtimes)
        tracked = _read(home, Path(scratch), tracking_uri=tracking_uri, names=studies, tell=tell)
        measured = session_latencies(
            architectures(tracked.sources),
            home,
            runtimes=names,
            measure=latency,
            plugins=plugins,
            tell=tell,
        )
        board = make_leaderboard(
            tracked.sources,
            left_out=tracked.left_out,
            latencies=measured.latencies,
            runtimes=names,
            tracking=tracked.shown,
            command=command,
        )
    files = write_leaderboard(board, target, formats)
    said = (*warnings, *measured.warnings) if latency or measured.latencies else ()
    return ReportResult(board, tuple(files), (*board.left_out, *said))


def paper(
    *,
    workspace: str | Path | None = None,
    tracking_uri: str | None = None,
    studies: Sequence[str] = (),
    formats: Sequence[str] = LEADERBOARD_FORMATS,
    out: str | Path | None = None,
    name: str = "paper",
    plugins: Sequence[str | Path] = (),
    command: str = "",
    tell: Tell = lambda text: None,
) -> ReportResult[Paper]:
    """Write the source paper's tables and figure, claimed beside measured.

    Args:
        workspace: Folder whose MLflow store is read.
        tracking_uri: MLflow tracking URI; the workspace's SQLite file when None.
        studies: Names of the studies and baseline runs to use; all when empty.
        formats: Some of ``html``, ``md``, ``csv``, ``json`` and ``tex``.
        out: Folder to write to; ``reports/NAME`` in the workspace when None.
        name: Name of the report.
        plugins: Files that register models of the user's own.
        command: What to show as the command that makes the report.
        tell: Told what is being done.

    Raises:
        InputError: The store cannot be reached, holds no tested study, or an option is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="fersearch-") as scratch:
        home = default_workspace(workspace).resolve()
        target = _target(home, out, name)
        check_formats(formats)
        load_plugins(plugins)
        tracked = _read(home, Path(scratch), tracking_uri=tracking_uri, names=studies, tell=tell)
        board = make_leaderboard(
            tracked.sources, left_out=tracked.left_out, tracking=tracked.shown, command=command
        )
        cams, classes, problems = figure_panels(board, tracked.sources)
        content = paper_report(board, cams=cams, cam_classes=classes)
        files = write_paper(content, target, formats)
    return ReportResult(content, tuple(files), (*board.left_out, *problems))


def check_formats(formats: Sequence[str]) -> None:
    """Refuse unknown formats, and none at all, before anything is read."""
    if not formats:
        raise InputError("no report format was named", f"known: {', '.join(LEADERBOARD_FORMATS)}")
    for name in formats:
        if name not in LEADERBOARD_FORMATS:
            raise InputError(
                f"there is no report format {name!r}", suggestion(name, LEADERBOARD_FORMATS)
            )


def _target(home: Path, out: str | Path | None, name: str) -> Path:
    if not re.fullmatch(NAME, name):
        raise InputError(
            f"the name of a report cannot be {name!r}",
            "use at most 64 letters, digits, dots, dashes and underscores, no dot first",
        )
    return home / "reports" / name if out is None else Path(out).expanduser().resolve()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tracked:
    """What was read: studies with their evaluations, what has none and why, and where from."""

    sources: list[Source]
    left_out: list[str]
    shown: str


def _read(
    home: Path, scratch: Path, *, tracking_uri: str | None, names: Sequence[str], tell: Tell
) -> _Tracked:
    tell("reading the tracked runs")
    shown, tracked = read_studies(home, tracking_uri, experiment=EXPERIMENT, folder=scratch)
    known = list(dict.fromkeys(study.name for study in tracked))
    for wanted in names:
        if wanted not in known:
            raise InputError(
                f"there is no study {wanted!r} in {shown}",
                suggestion(wanted, known) or f"known: {', '.join(known)}",
            )
    sources, left_out = load_sources(tracked, names=names)
    if not sources:
        raise InputError(
            f"no study in {shown} has test figures: {'; '.join(left_out)}",
            "let one finish: fersearch study list shows how far they are",
        )
    return _Tracked(sources=sources, left_out=left_out, shown=shown)


def figure_panels(
    board: Leaderboard, sources: Sequence[Source]
) -> tuple[dict[str, tuple[GradCams, str]], tuple[str, ...], list[str]]:
    """Choose whose Grad-CAM maps Figure 6 shows, without looking at any answer.

    From the largest leaderboard, the first by name of its distilled students, of its baselines in
    the paper's order, and of its teachers.

    Returns:
        Maps and key by title, names of the classes, and what could not be read.
    """
    boards = [item for item in board.boards if item.kind == "leaderboard"]
    if not boards:
        return {}, (), []
    chosen = boards[0]
    panels: dict[str, tuple[GradCams, str]] = {}
    problems = []
    for study, key, title in _figure_rows(chosen):
        source = next(item for item in sources if item.evaluation.name == study)
        folder = source.study.evaluation
        try:
            assert folder is not None
            cams = load_grad_cams(folder / GRAD_CAM_FILE)
        except FersearchError as error:
            problems.append(f"{study}: {error}")
            continue
        if key in cams.maps:
            panels[title] = (cams, key)
        else:
            problems.append(f"{study}: no Grad-CAM maps of {title}: {cams.layers.get(key, 'none')}")
    return panels, chosen.classes, problems


def _figure_rows(board: Board) -> list[tuple[str, str, str]]:
    """Return study, key in its evaluation and title of the rows that Figure 6 shows."""
    order = {"resnet18": 0, "rcl_net": 1, "tfen": 2, "ecdnet": 3}
    rows = sorted(board.rows, key=lambda row: (order.get(row.model, 9), row.key))
    picked = []
    for role in ("distilled", "baseline", "teacher"):
        row = next((item for item in rows if item.role == role), None)
        if row is not None:
            picked.append((row.study, row.key.removeprefix(f"{row.study}/"), row.title))
    return picked
