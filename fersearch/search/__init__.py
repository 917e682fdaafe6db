"""The search: ask, train, prune, tell; then confirm over seeds and test once."""

from fersearch.search.folder import StudyFolder
from fersearch.search.objectives import RunPlan, StudyContext, distillation
from fersearch.search.progress import Listener, StudyProgress, ignore_progress
from fersearch.search.protocol import Protocol, make_protocol
from fersearch.search.run import StudySettings, run_study
from fersearch.search.storage import (
    check_storage,
    default_storage_url,
    load_study,
    open_storage,
    study_names,
)

__all__ = [
    "Listener",
    "Protocol",
    "RunPlan",
    "StudyContext",
    "StudyFolder",
    "StudyProgress",
    "StudySettings",
    "check_storage",
    "default_storage_url",
    "distillation",
    "ignore_progress",
    "load_study",
    "make_protocol",
    "open_storage",
    "run_study",
    "study_names",
]
