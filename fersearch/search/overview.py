"""What the studies of a workspace are and how far they have come."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import TrialState

from fersearch.records import to_plain
from fersearch.search.folder import BACKBONES, NAME, StudyFolder
from fersearch.search.goals import metric_of
from fersearch.search.storage import load_study, study_names

# The user attribute that tells the search of a baseline from a study.
KIND = "fersearch_kind"

__all__ = ["study_detail", "study_overviews"]


def _overview(study: Study, folder: StudyFolder) -> dict[str, Any]:
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best = max(complete, key=lambda trial: (metric_of(trial) or 0.0, -trial.number), default=None)
    states = [trial.state for trial in trials]
    ended = {
        "complete": len(complete),
        "pruned": states.count(TrialState.PRUNED),
        "failed": states.count(TrialState.FAIL),
    }
    result = folder.load_result()
    # A finished study that is being extended is unfinished again.
    finished = result is not None and result.get("trials") == ended
    plain: dict[str, Any] = to_plain(
        {
            "name": study.study_name,
            "state": "finished" if finished else "unfinished",
            "trials": {**ended, "running": states.count(TrialState.RUNNING)},
            "best_value": None if best is None else metric_of(best),
            "best_params": {} if best is None else best.params,
        }
    )
    return plain


def _summaries(workspace: Path) -> list[dict[str, Any]]:
    """Return the overviews of the studies of several students, which no storage knows."""
    found: list[dict[str, Any]] = []
    for path in sorted((workspace / "studies").glob("*/result.json")):
        if not re.fullmatch(NAME, path.parent.name):
            continue  # put there by hand
        result = StudyFolder(workspace, path.parent.name).load_result() or {}
        if result.get("kind") == BACKBONES:
            found.append(
                {
                    "name": path.parent.name,
                    "state": "finished",
                    "students": [row["study"] for row in result["students"]],
                    "trials": {},
                    "best_value": None,
                    "best_params": {},
                }
            )
    return found


def study_overviews(storage: RDBStorage, workspace: Path) -> list[dict[str, Any]]:
    """Return name, state, trial counts and best value of every study of a storage.

    A study of several students comes last, with the names of theirs (``students``) and without
    trials of its own.
    """
    summaries = _summaries(workspace)
    taken = {summary["name"] for summary in summaries}
    studies = [load_study(storage, name) for name in study_names(storage) if name not in taken]
    overviews = [
        _overview(study, StudyFolder(workspace, study.study_name))
        for study in studies
        if study.user_attrs.get(KIND) != "baseline"  # the search of a tuned baseline
    ]
    return [*overviews, *summaries]


def study_detail(storage: RDBStorage, workspace: Path, name: str) -> dict[str, Any]:
    """Return a study's overview and, when it is finished, its ``result.json``.

    Raises:
        InputError: There is no study of that name.
    """
    folder = StudyFolder(workspace, name)
    for summary in _summaries(workspace):
        if summary["name"] == name:
            return {**summary, "result": folder.load_result()}
    overview = _overview(load_study(storage, name), folder)
    finished = overview["state"] == "finished"
    return {**overview, "result": folder.load_result() if finished else None}
