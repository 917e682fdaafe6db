"""The search: ask, train, prune, tell; then confirm over seeds and test once."""

from fersearch.search.baselines import BUDGETS, BaselinePlan, run_baselines
from fersearch.search.folder import StudyFolder
from fersearch.search.grid import grid_cells, run_grid
from fersearch.search.importance import parameter_importances
from fersearch.search.objectives import RunPlan, StudyContext, distillation
from fersearch.search.pareto import TooSlowError
from fersearch.search.progress import Listener, StudyProgress, ignore_progress
from fersearch.search.protocol import Protocol, make_protocol
from fersearch.search.run import run_study
from fersearch.search.session import StudySettings
from fersearch.search.storage import (
    check_storage,
    default_storage_url,
    load_study,
    open_storage,
    study_names,
)
from fersearch.search.warm_start import warm_started

__all__ = [
    "BUDGETS",
    "BaselinePlan",
    "Listener",
    "Protocol",
    "RunPlan",
    "StudyContext",
    "StudyFolder",
    "StudyProgress",
    "StudySettings",
    "TooSlowError",
    "check_storage",
    "default_storage_url",
    "distillation",
    "grid_cells",
    "ignore_progress",
    "load_study",
    "make_protocol",
    "open_storage",
    "parameter_importances",
    "run_baselines",
    "run_grid",
    "run_study",
    "study_names",
    "warm_started",
]
