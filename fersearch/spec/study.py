"""What a study is: frozen dataclasses, one for each section of a study file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fersearch.errors import InputError, suggestion
from fersearch.records import digest, to_plain
from fersearch.spec.losses import one_loss
from fersearch.spec.parameters import Parameter
from fersearch.spec.rules import (
    Scalar,
    integer,
    number,
    one_of,
    options,
    setting,
    several,
    text,
)

__all__ = [
    "COSTS",
    "METRICS",
    "PRUNERS",
    "RECIPES",
    "SAMPLERS",
    "Budget",
    "DataSettings",
    "SearchSettings",
    "StudySpec",
    "TeacherSettings",
    "TrainingSettings",
    "require_parameters",
    "study_hash",
]

SAMPLERS = ("tpe", "gp", "random", "nsga2", "grid")
PRUNERS = ("hyperband", "median", "none")
METRICS = ("accuracy", "macro_f1")
COSTS = ("latency", "macs", "params", "file_mb")
RECIPES = ("default", "paper")

_FILLED = text(r"\S(.*\S)?", rule="a text that is not empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much is run.

    Attributes:
        trials: Finished trials in all, pruned ones included; at least 1.
        epochs: Epochs of a trial, and of the student in the final comparison; at least 1.
        batch_size: Images per training step; at least 2, as batch normalisation needs.
        teacher_epochs: Epochs of a teacher; at least 1.
        seeds: Seeds of the confirmation and of the final comparison; at least 1.
        confirm_top: Settings that are confirmed over the seeds; at least 1.
    """

    trials: int = setting(integer(at_least=1), 50)
    epochs: int = setting(integer(at_least=1), 8)
    batch_size: int = setting(integer(at_least=2), 64)
    teacher_epochs: int = setting(integer(at_least=1), 10)
    seeds: int = setting(integer(at_least=1), 5)
    confirm_top: int = setting(integer(at_least=1), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How settings are proposed and stopped early.

    Attributes:
        sampler: ``tpe``, ``gp``, ``random`` or ``nsga2``; or ``grid``, which searches nothing:
            every combination of the choices is trained over the seeds and tested.
        pruner: ``hyperband``, ``median`` or ``none``.
        metric: Validation metric that is maximised: ``accuracy`` or ``macro_f1``.
        costs: What is minimised beside it, for a Pareto search: some of ``latency`` (median of one
            image, in milliseconds), ``macs``, ``params`` and ``file_mb``; empty for one objective.
        max_latency_ms: The slowest student that may be taken from the front, in milliseconds;
            None for no limit. Needs ``costs``.
        seed: Seed of the study; proposals, data order and views follow from it.
        patience: The search ends when this many trials in a row, beyond those that were under way,
            did not better the best metric; None to run them all. Not for Pareto searches.
        lag: A trial is proposed from the results of the trials that lie at least this far back,
            so that up to ``lag`` jobs at once propose what one job does; at least 1.
    """

    sampler: str = setting(one_of(*SAMPLERS), "tpe")
    pruner: str = setting(one_of(*PRUNERS), "hyperband")
    metric: str = setting(one_of(*METRICS), "accuracy")
    costs: tuple[str, ...] = setting(several(one_of(*COSTS)), ())
    max_latency_ms: float | None = setting(number(above=0), optional=True)
    seed: int = setting(integer(at_least=0), 0)
    patience: int | None = setting(integer(at_least=1), optional=True)
    lag: int = setting(integer(at_least=1), 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How the student is trained.

    Attributes:
        recipe: ``default`` or ``paper``.
        student: timm name of the student.
        students: timm names or wildcard patterns of several students. A study that searches the
            student has them in its space; one that does not runs once for each.
        student_options: Keyword options of the student's model.
        loss: Distillation loss: ``kd``, ``dkd``, ``logit_std`` or ``dist``.
        dropout: Dropout rate before the classifier, in [0, 1).
        label_smoothing: Label smoothing of the hard labels, in [0, 1).
    """

    recipe: str = setting(one_of(*RECIPES), "default")
    student: str = setting(_FILLED, "shufflenet_v2_x1_0")
    students: tuple[str, ...] = setting(several(_FILLED), ())
    student_options: Mapping[str, Scalar] = setting(options(), {})
    loss: str = setting(one_loss(), "kd")
    dropout: float = setting(number(at_least=0, below=1), 0.5)
    label_smoothing: float = setting(number(at_least=0, below=1), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherSettings:
    """Which teacher is trained, and how.

    Attributes:
        model: timm name of the teacher.
        options: Keyword options of the teacher's model.
        learning_rate: Peak learning rate; above 0.
        seed: Seed of the teacher's initial weights, data order and views.
    """

    model: str = setting(_FILLED, "eff_resnet18")
    options: Mapping[str, Scalar] = setting(options(), {})
    learning_rate: float = setting(number(above=0), 0.05)
    seed: int = setting(integer(at_least=0), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Which data the study runs on when the command does not say.

    Attributes:
        default: Data specification, such as ``synthetic`` or ``ferplus:faces?rule=majority``.
        image_size: Side of the square images in pixels, at least 16; None keeps the data's own.
        split_seed: Seed of the 6:2:2 split of data that comes without one.
    """

    default: str = setting(_FILLED, "synthetic")
    image_size: int | None = setting(integer(at_least=16), optional=True)
    split_seed: int = setting(integer(at_least=0), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySpec:
    """A study: what is searched, with which objective, and how much of it.

    Attributes:
        name: Its name in the storage and in the workspace.
        description: One paragraph for people; not part of the hash.
        objective: The code that runs a trial, as ``module:function``; not imported here.
        budget: How much is run.
        search: How settings are proposed and stopped early.
        training: How the student is trained.
        teacher: Which teacher is trained, and how.
        data: Which data it runs on.
        space: The searched parameters, each after those that its conditions name.
        enqueue: Points of the space that are tried first.
    """

    name: str = setting(
        text(
            r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
            rule="at most 64 letters, digits, dots, dashes and underscores",
        )
    )
    objective: str = setting(
        text(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", rule="written as module:function")
    )
    description: str = setting(text(), "")
    budget: Budget = field(default_factory=Budget)
    search: SearchSettings = field(default_factory=SearchSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    data: DataSettings = field(default_factory=DataSettings)
    space: tuple[Parameter, ...] = ()
    enqueue: tuple[Mapping[str, Scalar], ...] = ()


def study_hash(spec: StudySpec) -> str:
    """Return 16 hex digits that stand for everything in ``spec`` except its description.

    The order of the parameters counts, as samplers draw them in that order; comments, blanks,
    the order of other keys, and defaults written out or left out do not.
    """
    content = to_plain(spec)
    del content["description"]
    for parameter, written in zip(spec.space, content["space"], strict=True):
        written["kind"] = type(parameter).__name__
    return digest(content)


def require_parameters(
    spec: StudySpec, *, required: Iterable[str] = (), allowed: Iterable[str]
) -> None:
    """Check that an objective understands the parameters that ``spec`` searches.

    Args:
        spec: The study.
        required: Names that the objective cannot do without.
        allowed: Every name that it understands.

    Raises:
        InputError: A parameter is not allowed, or a required one is missing.
    """
    known = list(allowed)
    names = [parameter.name for parameter in spec.space]
    for name in names:
        if name not in known:
            raise InputError(
                f"{name} is not a parameter of {spec.objective}"
                f" (space.{name} of study {spec.name})",
                suggestion(name, known),
            )
    for name in required:
        if name not in names:
            raise InputError(
                f"{name} is missing from the space of study {spec.name}",
                f"{spec.objective} needs it: add a table [space.{name}]",
            )
