"""Studies: what is searched, read from strict TOML files into frozen dataclasses."""

from fersearch.spec.load import load_study, override, parse_study
from fersearch.spec.parameters import (
    CategoricalParameter,
    Conditions,
    FloatParameter,
    IntParameter,
    Parameter,
    is_active,
)
from fersearch.spec.rules import Scalar
from fersearch.spec.study import (
    LOSSES,
    METRICS,
    PRUNERS,
    RECIPES,
    SAMPLERS,
    Budget,
    DataSettings,
    SearchSettings,
    StudySpec,
    TeacherSettings,
    TrainingSettings,
    require_parameters,
    study_hash,
)

__all__ = [
    "LOSSES",
    "METRICS",
    "PRUNERS",
    "RECIPES",
    "SAMPLERS",
    "Budget",
    "CategoricalParameter",
    "Conditions",
    "DataSettings",
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "Scalar",
    "SearchSettings",
    "StudySpec",
    "TeacherSettings",
    "TrainingSettings",
    "is_active",
    "load_study",
    "override",
    "parse_study",
    "require_parameters",
    "study_hash",
]
