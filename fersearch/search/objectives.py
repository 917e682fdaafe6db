"""Objectives: how the settings of a trial become training jobs.

A study file names its objective as ``module:function``. An objective is a pure function from
(:class:`StudyContext`, settings, seed) to a :class:`RunPlan`.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fersearch.data.dataset import DataInfo
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import LossSettings, TrainJob, make_recipe
from fersearch.errors import InputError
from fersearch.models import get_baseline
from fersearch.spec import (
    LOSS_PARAMETERS,
    Scalar,
    StudySpec,
    check_loss_space,
    require_parameters,
)

__all__ = [
    "Objective",
    "RunPlan",
    "StudyContext",
    "alone",
    "baseline",
    "distillation",
    "is_paper_setting",
    "loss_of",
    "resolve_objective",
    "student_of",
]

# Where a study does not search a parameter, the paper's best setting of Table I stands in.
PAPER = {"temperature": 6.0, "alpha": 0.4, "ffe_splits": 4, "learning_rate": 0.01}
# What else a study may search of the student itself.
STUDENT = ("student", "input_size")
# The two that the paper calls best, in its text and in its Table I.
PAPER_SETTINGS = ({**PAPER, "temperature": 8.0}, PAPER)
PAPER_LOSS = "kd"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyContext:
    """What all runs of a study share.

    Attributes:
        spec: The study.
        info: The data set.
        preprocessing: How pixels become network input.
        policy: How far training views differ from their images.
        teacher_weights: File with initial weights of the teacher, or empty.
        teacher_weights_sha256: Digest of that file, or empty.
    """

    spec: StudySpec
    info: DataInfo
    preprocessing: Preprocessing
    policy: ViewPolicy
    teacher_weights: str = ""
    teacher_weights_sha256: str = ""

    def job(self, *, seed: int, learning_rate: float, **changes: Any) -> TrainJob:
        """Return the job that trains the bare student; ``changes`` replace the job's fields."""
        budget, training = self.spec.budget, self.spec.training
        fields: dict[str, Any] = {
            "data_sha256": self.info.sha256,
            "model": training.student,
            "model_options": dict(training.student_options),
            "recipe": make_recipe(
                training.recipe,
                epochs=budget.epochs,
                batch_size=budget.batch_size,
                learning_rate=learning_rate,
                dropout=training.dropout,
                label_smoothing=training.label_smoothing,
            ),
            "policy": self.policy,
            "preprocessing": self.preprocessing,
            "seed": seed,
            "metric": self.spec.search.metric,
        }
        return TrainJob(**{**fields, **changes})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What it takes to run one setting once.

    Attributes:
        job: The student's training job.
        teacher: The job of the teacher, or of the companion of a baseline's loss; None when
            there is neither.
    """

    job: TrainJob
    teacher: TrainJob | None


def student_of(
    context: StudyContext, params: Mapping[str, Scalar]
) -> tuple[str, dict[str, Scalar]]:
    """Return timm name and options of the student that a setting stands for.

    Args:
        context: The study.
        params: ``student`` and ``input_size`` where the study searches them. Another student does
            not inherit the options of the study's own.
    """
    training = context.spec.training
    name = str(params.get("student", training.student))
    options = dict(training.student_options) if name == training.student else {}
    size = params.get("input_size", context.info.image_size)
    if size != context.info.image_size:
        options["input_size"] = size
    return name, options


def loss_of(spec: StudySpec, params: Mapping[str, Scalar]) -> LossSettings:
    """Return the distillation loss that a setting stands for.

    Args:
        spec: The study.
        params: ``temperature`` and ``alpha``, else the paper's; ``loss``, else the study's own; and
            what the setting has of that loss's own parameters.
    """
    values = {**PAPER, **params}
    name = str(params.get("loss", spec.training.loss))
    return LossSettings(
        name=name,
        temperature=float(values["temperature"]),
        alpha=float(values["alpha"]),
        options={key: float(params[key]) for key in params if LOSS_PARAMETERS.get(key) == name},
    )


def is_paper_setting(params: Mapping[str, Scalar], *, loss: object) -> bool:
    """Tell whether a setting is one of those that the paper calls best, with the paper's loss.

    Which student it is for does not count.

    Args:
        params: The setting.
        loss: The study's loss; it counts where the setting has none.
    """
    others = {name: value for name, value in params.items() if name not in ("loss", *STUDENT)}
    return others in PAPER_SETTINGS and params.get("loss", loss) == PAPER_LOSS


Objective = Callable[[StudyContext, Mapping[str, Scalar], int], RunPlan]


def distillation(context: StudyContext, params: Mapping[str, Scalar], seed: int) -> RunPlan:
    """Distil the student from the teacher with ``ffe_splits`` subsets (Eq 4-9).

    Args:
        context: The study.
        params: ``temperature``, ``alpha``, ``ffe_splits`` and ``learning_rate``; a missing one
            takes the paper's value. ``student`` and ``input_size`` name another student, ``loss``
            another loss than the study's, beside which that loss's own parameters may stand.
        seed: Seed of the student.
    """
    spec = context.spec
    values = {**PAPER, **spec.teacher.options, **params}
    options: dict[str, Scalar] = dict(spec.teacher.options)
    if "ffe_splits" in params or spec.teacher.model == "eff_resnet18":
        options["ffe_splits"] = values["ffe_splits"]
    recipe = make_recipe(
        spec.training.recipe,
        epochs=spec.budget.teacher_epochs,
        batch_size=spec.budget.batch_size,
        learning_rate=spec.teacher.learning_rate,
        dropout=spec.training.dropout,
        label_smoothing=spec.training.label_smoothing,
    )
    teacher = context.job(
        seed=spec.teacher.seed,
        learning_rate=spec.teacher.learning_rate,
        model=spec.teacher.model,
        model_options=options,
        recipe=recipe,
        weights=context.teacher_weights,
        weights_sha256=context.teacher_weights_sha256,
    )
    student, student_options = student_of(context, params)
    job = context.job(
        seed=seed,
        learning_rate=float(values["learning_rate"]),
        model=student,
        model_options=student_options,
        loss=loss_of(spec, params),
        teacher=teacher.digest(),
    )
    return RunPlan(job=job, teacher=teacher)


def alone(context: StudyContext, params: Mapping[str, Scalar], seed: int) -> RunPlan:
    """Train the bare student at ``learning_rate``, without a teacher: the control.

    Args:
        context: The study.
        params: ``learning_rate``, and ``student`` and ``input_size`` where they are searched.
        seed: Seed of the student.
    """
    student, options = student_of(context, params)
    job = context.job(
        seed=seed,
        learning_rate=float(params["learning_rate"]),
        model=student,
        model_options=options,
    )
    return RunPlan(job=job, teacher=None)


def baseline(context: StudyContext, params: Mapping[str, Scalar], seed: int) -> RunPlan:
    """Train the baseline that the study has as its student, with its own loss.

    Args:
        context: The study.
        params: ``learning_rate`` and ``weight_decay``; a missing rate is the teacher's, a missing
            weight decay the recipe's.
        seed: Seed of the run. The companion that a loss may ask for has the teacher's seed and
            learning rate, and the same epochs as all others.
    """
    spec = context.spec
    known = get_baseline(spec.training.student)
    fixed = spec.teacher.learning_rate
    companion = None
    if known.companion:
        companion = context.job(
            seed=spec.teacher.seed, learning_rate=fixed, model=known.companion, model_options={}
        )
    job = context.job(
        seed=seed,
        learning_rate=float(params.get("learning_rate", fixed)),
        baseline=known.name,
        baseline_sha256=known.file_sha256,
        teacher="" if companion is None else companion.digest(),
    )
    if "weight_decay" in params:
        recipe = dataclasses.replace(job.recipe, weight_decay=float(params["weight_decay"]))
        job = dataclasses.replace(job, recipe=recipe)
    return RunPlan(job=job, teacher=companion)


def resolve_objective(spec: StudySpec) -> Objective:
    """Return the function that a study file names, and check that it knows the parameters.

    Raises:
        InputError: There is no such function, or it does not know a searched parameter.
    """
    module, _, name = spec.objective.partition(":")
    try:
        function: Objective = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"the objective {spec.objective} of study {spec.name} cannot be imported: {error}",
            "write it as module:function of an installed module",
        ) from error
    if function is distillation:
        require_parameters(spec, allowed=(*PAPER, *STUDENT, "loss", *LOSS_PARAMETERS))
        check_loss_space(spec)
    if function is baseline:
        require_parameters(spec, allowed=("learning_rate", "weight_decay"))
    return function
