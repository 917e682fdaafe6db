"""Studies: what is searched, read from strict TOML files into frozen dataclasses."""

from fersearch.spec.load import load_study, override, parse_study
from fersearch.spec.loss_space import check_loss_space, studied_losses, with_loss
from fersearch.spec.losses import (
    ALL_LOSSES,
    LOSS_PARAMETERS,
    LOSSES,
    LossDescription,
    LossParameter,
    loss_description,
)
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
    COSTS,
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
    "ALL_LOSSES",
    "COSTS",
    "LOSSES",
    "LOSS_PARAMETERS",
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
    "LossDescription",
    "LossParameter",
    "Parameter",
    "Scalar",
    "SearchSettings",
    "StudySpec",
    "TeacherSettings",
    "TrainingSettings",
    "check_loss_space",
    "is_active",
    "load_study",
    "loss_description",
    "override",
    "parse_study",
    "require_parameters",
    "studied_losses",
    "study_hash",
    "with_loss",
]
