"""Running a study, of one objective or several. Run it again and it continues."""

from __future__ import annotations

from typing import Any

from fersearch.data.dataset import Dataset
from fersearch.files import ensure_folder, file_lock
from fersearch.search.pareto import ParetoRunner
from fersearch.search.progress import Listener, ignore_progress
from fersearch.search.runner import StudyRunner
from fersearch.search.session import StudySettings
from fersearch.search.storage import default_storage_url, open_storage, open_study
from fersearch.spec import StudySpec
from fersearch.track import NullTracker, Sink

__all__ = ["run_study"]


def run_study(
    spec: StudySpec,
    dataset: Dataset,
    settings: StudySettings,
    *,
    tracker: Sink | None = None,
    listener: Listener = ignore_progress,
) -> dict[str, Any]:
    """Run a study, or what is left of it, and return the content of its ``result.json``.

    Args:
        spec: What is searched.
        dataset: The data.
        settings: Where and how it runs.
        tracker: Where run records go besides the study's folder.
        listener: Told of everything that happens.

    Raises:
        InputError: A study of that name has another protocol, or the storage cannot be opened.
        FersearchError: The study is being run by another process, or cannot be finished.
    """
    kind = ParetoRunner if spec.search.costs else StudyRunner
    runner = kind(spec, dataset, settings, tracker=tracker or NullTracker(), listener=listener)
    url = settings.storage or default_storage_url(settings.workspace)
    storage = open_storage(url, lock=ensure_folder(settings.workspace) / "optuna.lock")
    name = runner.folder.name
    busy = f"the study {name!r} is being run by another process"
    with file_lock(runner.folder.lock, wait=False, busy=busy):
        runner.check_folder()  # before anything is made in the storage
        study = open_study(storage, name, runner.goals.directions)
        runner.check_protocol(study)
        return runner.run(study)
