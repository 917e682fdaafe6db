"""Reading studies back from MLflow: what reports are made of, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fersearch.errors import InputError
from fersearch.evaluations import EVALUATION_FOLDER
from fersearch.track.connection import connect, one_line, opening, store_errors
from fersearch.track.location import masked_uri, resolve_tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["TrackedRun", "TrackedStudy", "read_studies"]

PAGE = 1000
NOT_SETTINGS = {"model", "seed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """One training run as MLflow has it.

    Attributes:
        run_id: MLflow's id.
        name: Its name in the study: ``trial-0007``.
        role: ``trial``, ``teacher``, ``distilled``, ...
        state: ``complete``, ``pruned`` or ``failed``.
        model: timm name.
        params: Its settings; numbers as floats.
        metrics: Final figures by name, without their prefix.
    """

    run_id: str
    name: str
    role: str
    state: str
    model: str
    params: dict[str, str | float]
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedStudy:
    """A study, a grid or a run of baselines as MLflow has it.

    Attributes:
        run_id: MLflow's id of the parent run.
        name: Name of the study.
        status: MLflow's status: ``RUNNING``, ``FINISHED``, ``KILLED``, ``FAILED``.
        started: Milliseconds since 1970.
        runs: The runs below it.
        evaluation: Local copy of its evaluation's folder; None when there is none.
        problem: Why there is none; empty when there is one.
    """

    run_id: str
    name: str
    status: str
    started: int
    runs: tuple[TrackedRun, ...]
    evaluation: Path | None
    problem: str = ""


def read_studies(
    workspace: Path, tracking_uri: str | None, *, experiment: str, folder: Path
) -> tuple[str, tuple[TrackedStudy, ...]]:
    """Read all studies of an experiment, the oldest first.

    Args:
        workspace: Folder of everything that runs write.
        tracking_uri: MLflow tracking URI; None for the default.
        experiment: Name of the MLflow experiment.
        folder: Where the evaluations are copied to.

    Returns:
        Where they were read from, without a password, and the studies.

    Raises:
        InputError: The store cannot be reached, or holds no study.
    """
    location = resolve_tracking(workspace.expanduser().resolve(), tracking_uri)
    shown = masked_uri(location.uri)
    if location.database is not None and not location.database.exists():
        raise InputError(
            f"there are no tracked runs in {shown}",
            "run: fersearch study distill, or name another --workspace or --tracking-uri",
        )
    client = connect(location)
    with opening(location):
        found = client.get_experiment_by_name(experiment)
        parents = [] if found is None else list(_search(client, found.experiment_id, "study"))
    if found is None or not parents:
        raise InputError(
            f"there is no study in {shown}",
            "run: fersearch study distill, or name another --workspace or --tracking-uri",
        )
    with opening(location):
        return shown, tuple(
            _study(client, found.experiment_id, parent, folder)
            for parent in sorted(parents, key=lambda run: run.info.start_time)
        )


def _search(client: MlflowClient, experiment: str, role: str, parent: str = "") -> Iterator[Run]:
    condition = f"tags.`fersearch.role` = '{role}'" if role else ""
    if parent:
        condition = f"tags.`mlflow.parentRunId` = '{parent}'"
    token = None
    while True:
        page = client.search_runs([experiment], condition, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _study(client: MlflowClient, experiment: str, parent: Run, folder: Path) -> TrackedStudy:
    run_id = parent.info.run_id
    evaluation, problem = _evaluation(client, parent, folder / run_id)
    return TrackedStudy(
        run_id=run_id,
        name=parent.data.tags.get("fersearch.study", parent.info.run_name),
        status=parent.info.status,
        started=parent.info.start_time,
        runs=tuple(_run(run) for run in _search(client, experiment, "", run_id)),
        evaluation=evaluation,
        problem=problem,
    )


def _evaluation(client: MlflowClient, parent: Run, target: Path) -> tuple[Path | None, str]:
    """Copy the evaluation of a study; return its folder, or why there is none."""
    run_id = parent.info.run_id
    tested = any(name.startswith("final/test_") for name in parent.data.metrics)
    try:
        names: Sequence[str] = [item.path for item in client.list_artifacts(run_id)]
        if EVALUATION_FOLDER in names:
            target.mkdir(parents=True, exist_ok=True)
            return Path(client.download_artifacts(run_id, EVALUATION_FOLDER, str(target))), ""
    except store_errors() as error:
        return None, f"its artifacts cannot be read ({one_line(error)})"
    if tested:
        return None, "it was tested, but the artifacts that its figures come from are gone"
    if parent.info.status == "RUNNING":
        return None, "it is still running, or was killed: there are no test figures yet"
    return None, "it has no test figures: it was interrupted, or failed"


def _run(run: Run) -> TrackedRun:
    tags, data = run.data.tags, run.data
    return TrackedRun(
        run_id=run.info.run_id,
        name=tags.get("fersearch.run_id", run.info.run_name),
        role=tags.get("fersearch.role", ""),
        state=tags.get("fersearch.state", ""),
        model=data.params.get("model", ""),
        params={
            name: _number(text) for name, text in data.params.items() if name not in NOT_SETTINGS
        },
        metrics={
            name.removeprefix("final/"): value
            for name, value in data.metrics.items()
            if name.startswith("final/")
        },
    )


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
