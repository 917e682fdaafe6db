"""The library as a notebook uses it; the command line is a thin layer over these functions."""

from fersearch.api.backbones import BackbonesResult, run_backbones
from fersearch.api.baselines import BaselineResult, run_baselines
from fersearch.api.deploy import export, open_model, predict
from fersearch.api.inputs import default_workspace, load_data
from fersearch.api.networks import (
    Network,
    distil,
    evaluate,
    load_network,
    train_student,
    train_teacher,
)
from fersearch.api.setup import Place
from fersearch.api.studies import StudyResult, run_study

__all__ = [
    "BackbonesResult",
    "BaselineResult",
    "Network",
    "Place",
    "StudyResult",
    "default_workspace",
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
