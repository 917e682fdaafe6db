"""Points that an earlier study found, to be tried first by a new one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fersearch.errors import InputError
from fersearch.files import ensure_folder
from fersearch.search.goals import top_trials
from fersearch.search.protocol import PROTOCOL
from fersearch.search.storage import default_storage_url, load_study, open_storage, study_names
from fersearch.spec import StudySpec, override

__all__ = ["warm_started"]

POINTS = 3


def warm_started(
    spec: StudySpec, *, source: str, name: str, workspace: Path, storage: str = ""
) -> tuple[StudySpec, str]:
    """Put the best settings of an earlier study behind the points that a study tries first.

    They are chosen once: a study that has begun keeps the points that it began with, whatever the
    earlier study found since.

    Args:
        spec: The study.
        source: Name of the earlier study, in the same storage.
        name: Name that the study itself runs under.
        workspace: The workspace's folder.
        storage: URL of the storage; the workspace's own when empty.

    Returns:
        The study, and a line that says what was taken.

    Raises:
        InputError: There is no such study, it has no complete trial, or none of its best settings
            is a point of this study's space.
    """
    if source == name:
        raise InputError(
            f"the study {name!r} cannot start from itself", "running it again continues it"
        )
    lock = ensure_folder(workspace) / "optuna.lock"
    opened = open_storage(storage or default_storage_url(workspace), lock=lock)
    try:
        if name in study_names(opened):
            begun = load_study(opened, name).user_attrs.get(PROTOCOL)
            if begun is not None:
                points = _new_points(spec, begun["enqueue"])
                return override(spec, {"enqueue": [*spec.enqueue, *points]}), (
                    f"warm start: the points that this study began with, {len(points)} of them "
                    "from an earlier one"
                )
        best = top_trials(load_study(opened, source).get_trials(deepcopy=False), POINTS)
    finally:
        opened.remove_session()
        opened.engine.dispose()
    if not best:
        raise InputError(f"the study {source!r} has no complete trial", "leave --warm-start out")
    points, reason = [], ""
    for point in _new_points(spec, [trial.params for trial in best]):
        try:
            override(spec, {"enqueue": [point]}, source=f"the study {source}")
        except InputError as error:
            reason = str(error)
            continue
        points.append(point)
    if reason and not points:
        raise InputError(f"the best settings of {source!r} do not fit this study: {reason}")
    return override(spec, {"enqueue": [*spec.enqueue, *points]}), (
        f"warm start: {len(points)} of the best {len(best)} settings of {source} are tried first"
    )


def _new_points(
    spec: StudySpec, points: list[Mapping[str, Any]] | list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return those points that the study does not try first already."""
    own = [dict(point) for point in spec.enqueue]
    return [dict(point) for point in points if dict(point) not in own]
