"""The distillation losses: their names, the parameters of their own, and where they come from.

What they compute stands in :mod:`fersearch.distill.losses`. Here is what a study file, and whoever
checks one, has to know of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fersearch.errors import InputError, suggestion
from fersearch.spec.rules import Place, Rule, number, one_of

__all__ = [
    "ALL_LOSSES",
    "LOSSES",
    "LOSS_PARAMETERS",
    "LossDescription",
    "LossParameter",
    "loss_description",
    "one_loss",
]

ALL_LOSSES = "all"
"""What is said instead of a loss, where a study is started, to search the loss as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossParameter:
    """A parameter of one loss, beside the temperature and alpha that all of them have.

    Attributes:
        name: Its name in Optuna, MLflow and study files; begins with the name of its loss.
        meaning: What it is, as a clause.
        default: Its value where nothing else is said.
        low: Smallest value that ``--loss`` searches, inclusive.
        high: Largest value that ``--loss`` searches, inclusive.
        log: Whether it is searched on a logarithmic scale.
        at_least: Smallest value that the loss accepts at all.
        searched: Whether ``--loss`` searches it. Of two weights only the second is: alpha scales
            both, so their ratio is all that there is to find.
        source: Where the default and the range come from.
    """

    name: str
    meaning: str
    default: float
    low: float
    high: float
    log: bool = True
    at_least: float = 0.0
    searched: bool = True
    source: str

    def check(self, value: object, place: Place) -> float:
        """Return ``value`` as a float.

        Raises:
            InputError: It is no finite number, or the loss does not accept it.
        """
        return number(at_least=self.at_least)(value, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossDescription:
    """What is known of a loss without computing it.

    Attributes:
        name: Its name in study files and after ``--loss``.
        title: What its authors call it.
        source: Their paper.
        parameters: The parameters of its own.
    """

    name: str
    title: str
    source: str
    parameters: tuple[LossParameter, ...] = ()

    @property
    def defaults(self) -> dict[str, float]:
        """The loss's own parameters at their defaults."""
        return {parameter.name: parameter.default for parameter in self.parameters}

    def check(self, options: Mapping[str, object], place: Place) -> dict[str, float]:
        """Check values of the loss's own parameters, and return them as floats.

        Args:
            options: Values by name; a parameter that is not there keeps its default.
            place: Where they stand.

        Raises:
            InputError: A name is not one of this loss's, or a value is outside its domain.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in options:
            if name not in known:
                raise place.child(name).error(
                    f"is not a parameter of the loss {self.name}",
                    suggestion(name, known) if known else f"{self.name} has none of its own",
                )
        return {name: known[name].check(options[name], place.child(name)) for name in options}


LOSSES: Mapping[str, LossDescription] = {
    description.name: description
    for description in (
        LossDescription(
            name="kd",
            title="knowledge distillation",
            source="Hinton, Vinyals & Dean, Distilling the Knowledge in a Neural Network, 2015 "
            "(arXiv:1503.02531); Eq 4-9 of Xie & Huang (T-SNet)",
        ),
        LossDescription(
            name="dkd",
            title="decoupled knowledge distillation",
            source="Zhao et al., Decoupled Knowledge Distillation, CVPR 2022 (arXiv:2203.08679)",
            parameters=(
                LossParameter(
                    name="dkd_target_weight",
                    meaning="weight of the divergence between target class and all others",
                    default=1.0,
                    low=0.5,
                    high=8.0,
                    searched=False,
                    source="the paper's alpha, 1 throughout",
                ),
                LossParameter(
                    name="dkd_other_weight",
                    meaning="weight of the divergence among the other classes",
                    default=2.0,
                    low=0.5,
                    high=8.0,
                    source="the paper's beta, 8 for the 100 classes of CIFAR-100; with seven or "
                    "eight classes 1-2 is the place to start",
                ),
            ),
        ),
        LossDescription(
            name="logit_std",
            title="logit standardisation",
            source="Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024 "
            "(arXiv:2403.01427)",
        ),
        LossDescription(
            name="dist",
            title="DIST, relations between and within classes",
            source="Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022 "
            "(arXiv:2205.10536)",
            parameters=(
                LossParameter(
                    name="dist_between_weight",
                    meaning="weight of the relation between the classes of an image",
                    default=1.0,
                    low=0.25,
                    high=4.0,
                    searched=False,
                    source="the paper's beta, the weight of its inter-class relation",
                ),
                LossParameter(
                    name="dist_within_weight",
                    meaning="weight of the relation between the images of a batch within a class",
                    default=1.0,
                    low=0.25,
                    high=4.0,
                    source="the paper's gamma, the weight of its intra-class relation, equal to "
                    "beta there; searched to a factor of four either way",
                ),
            ),
        ),
    )
}
"""Every loss by name, the paper's own first."""

LOSS_PARAMETERS: Mapping[str, str] = {
    parameter.name: name
    for name, description in LOSSES.items()
    for parameter in description.parameters
}
"""The loss that each parameter of a loss belongs to."""


def loss_description(name: str) -> LossDescription:
    """Return what is known of a loss.

    Raises:
        InputError: There is no such loss.

    >>> loss_description("dkd").defaults
    {'dkd_target_weight': 1.0, 'dkd_other_weight': 2.0}
    """
    if name not in LOSSES:
        raise InputError(f"unknown loss {name!r}", suggestion(name, LOSSES))
    return LOSSES[name]


def one_loss() -> Rule[str]:
    """Return the rule of the loss of a study file, which spells out what it searches."""

    def check(value: object, place: Place) -> str:
        if value == ALL_LOSSES:
            hint = 'search it: add [space.loss] with kind = "categorical", or give --loss all'
            raise place.broken(f"one of {', '.join(LOSSES)}", value, hint)
        return one_of(*LOSSES)(value, place)

    return check
