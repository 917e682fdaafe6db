"""fersearch: AutoML search and fair benchmarks for light facial-expression-recognition models.

The names below are loaded when they are first used, so that ``import fersearch`` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fersearch.api import (
        BackbonesResult,
        BaselineResult,
        Network,
        StudyResult,
        distil,
        evaluate,
        export,
        load_data,
        load_network,
        open_model,
        predict,
        run_backbones,
        run_baselines,
        run_study,
        train_student,
        train_teacher,
    )
    from fersearch.errors import FersearchError, InputError

__all__ = [
    "BackbonesResult",
    "BaselineResult",
    "FersearchError",
    "InputError",
    "Network",
    "StudyResult",
    "__version__",
    "distil",
    "evaluate",
    "export",
    "load_data",
    "load_network",
    "open_model",
    "predict",
    "run_backbones",
    "run_baselines",
    "run_study",
    "train_student",
    "train_teacher",
]

__version__ = "0.1.0"

_HOMES = {
    "BackbonesResult": "fersearch.api",
    "BaselineResult": "fersearch.api",
    "FersearchError": "fersearch.errors",
    "InputError": "fersearch.errors",
    "Network": "fersearch.api",
    "StudyResult": "fersearch.api",
    "distil": "fersearch.api",
    "evaluate": "fersearch.api",
    "export": "fersearch.api",
    "load_data": "fersearch.api",
    "load_network": "fersearch.api",
    # Not by way of the API: an ONNX file is opened and asked without PyTorch.
    "open_model": "fersearch.deploy.opening",
    "predict": "fersearch.deploy.predicting",
    "run_backbones": "fersearch.api",
    "run_baselines": "fersearch.api",
    "run_study": "fersearch.api",
    "train_student": "fersearch.api",
    "train_teacher": "fersearch.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fersearch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
