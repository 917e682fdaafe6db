"""Searched parameters: their ranges, their conditions, and the points of the space they span."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fersearch.errors import suggestion
from fersearch.spec.losses import LOSSES
from fersearch.spec.rules import (
    Place,
    Rule,
    Scalar,
    boolean,
    integer,
    number,
    one_of,
    parse_fields,
    require_table,
    same_value,
    setting,
    text,
)

__all__ = [
    "CategoricalParameter",
    "Conditions",
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "check_point",
    "is_active",
    "parse_space",
]

Conditions = Mapping[str, tuple[Scalar, ...]]
"""Other parameters by name, each with the values at which a conditional parameter is searched."""

# What the training code accepts of the parameters it knows, whatever range a file gives them.
_DOMAINS: dict[str, Rule[Any]] = {
    "temperature": number(above=0),
    "alpha": number(at_least=0, at_most=1),
    "learning_rate": number(above=0),
    "ffe_splits": integer(at_least=1),
    "student": text(r"\S+", rule="the name of a model"),
    "input_size": integer(at_least=16, at_most=1024),
    "loss": one_of(*LOSSES),
    **{
        parameter.name: parameter.check
        for description in LOSSES.values()
        for parameter in description.parameters
    },
}


# What is built, measured and checked for every value before anything is trained.
_CATEGORICAL = ("student", "input_size")


def _choices(value: object, place: Place) -> tuple[Scalar, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise place.broken("a list of at least one value", value)
    for index, item in enumerate(value):
        if not isinstance(item, str | int | float):
            raise place.child(index).broken("a text, a number, true or false", item)
        if isinstance(item, float) and not math.isfinite(item):
            raise place.child(index).broken("a finite number", item)
        # Optuna compares choices with ==, to which 1, 1.0 and true are one value.
        if item in value[:index]:
            raise place.broken("different values", list(value))
    return tuple(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatParameter:
    """A real number between two limits.

    Attributes:
        name: Its name in Optuna, MLflow and the objective.
        low: Smallest value, inclusive.
        high: Largest value, inclusive; above ``low``.
        log: Search on a logarithmic scale; ``low`` must then be above 0.
        when: Conditions under which it is searched; empty for always.
    """

    name: str
    low: float = setting(number())
    high: float = setting(number())
    log: bool = setting(boolean(), False)
    when: Conditions = field(default_factory=dict)

    def contains(self, value: object) -> bool:
        """Tell whether ``value`` is a number within the limits."""
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )

    def describe(self) -> str:
        """Return the values as a clause of an error message."""
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntParameter:
    """A whole number between two limits.

    Attributes:
        name: Its name in Optuna, MLflow and the objective.
        low: Smallest value, inclusive.
        high: Largest value, inclusive; above ``low`` by a whole number of steps.
        step: Distance between neighbouring values.
        log: Search on a logarithmic scale; ``low`` must then be above 0 and ``step`` 1.
        when: Conditions under which it is searched; empty for always.
    """

    name: str
    low: int = setting(integer())
    high: int = setting(integer())
    step: int = setting(integer(at_least=1), 1)
    log: bool = setting(boolean(), False)
    when: Conditions = field(default_factory=dict)

    def contains(self, value: object) -> bool:
        """Tell whether ``value`` is a whole number within the limits and on a step."""
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
            and (value - self.low) % self.step == 0
        )

    def describe(self) -> str:
        """Return the values as a clause of an error message."""
        steps = f" in steps of {self.step}" if self.step > 1 else ""
        return f"a whole number from {self.low} to {self.high}{steps}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoricalParameter:
    """One of a few values.

    Attributes:
        name: Its name in Optuna, MLflow and the objective.
        choices: The values: at least one, all different.
        when: Conditions under which it is searched; empty for always.
    """

    name: str
    choices: tuple[Scalar, ...] = setting(_choices)
    when: Conditions = field(default_factory=dict)

    def contains(self, value: object) -> bool:
        """Tell whether ``value`` is one of the choices, of the same type."""
        return any(same_value(value, choice) for choice in self.choices)

    def describe(self) -> str:
        """Return the values as a clause of an error message."""
        return f"one of {', '.join(map(str, self.choices))}"


Parameter = FloatParameter | IntParameter | CategoricalParameter

_KINDS: dict[str, type[Any]] = {
    "float": FloatParameter,
    "int": IntParameter,
    "categorical": CategoricalParameter,
}


def parse_space(value: object, place: Place) -> tuple[Parameter, ...]:
    """Read the table ``[space]``.

    Returns:
        The parameters in the order of the file, except that each comes after those its
        conditions name: proposing them one by one in this order never meets an open condition.

    Raises:
        InputError: The space is empty, a parameter breaks a rule, or conditions go in a circle.
    """
    table = require_table(value, place)
    if not table:
        raise place.error("holds no parameter", "add a table such as [space.temperature]")
    space = {name: _parse_parameter(name, item, place.child(name)) for name, item in table.items()}
    for parameter in space.values():
        _check_conditions(parameter, space, place.child(parameter.name).child("when"))
    return _conditions_first(space, place)


def _parse_parameter(name: str, value: object, place: Place) -> Parameter:
    if not name.isidentifier():
        raise place.error(
            "is no name of a parameter", "use letters, digits and underscores, no digit first"
        )
    table = require_table(value, place)
    if "kind" not in table:
        raise place.child("kind").error("is missing", f"known kinds: {', '.join(_KINDS)}")
    kind = _KINDS[one_of(*_KINDS)(table["kind"], place.child("kind"))]
    if name in _CATEGORICAL and kind is not CategoricalParameter:
        raise place.child("kind").broken('"categorical"', table["kind"])
    values = parse_fields(kind, table, place, also=("kind", "when"))
    if "when" in table:
        values["when"] = _parse_conditions(table["when"], place.child("when"))
    parameter: Parameter = kind(name=name, **values)
    if isinstance(parameter, CategoricalParameter):
        _check_domain(name, parameter.choices, place.child("choices"))
    else:
        _check_range(parameter, place)
    return parameter


def _check_domain(name: str, choices: Iterable[Scalar], place: Place) -> None:
    if name in _DOMAINS:
        for index, choice in enumerate(choices):
            _DOMAINS[name](choice, place.child(index))


def _check_range(parameter: FloatParameter | IntParameter, place: Place) -> None:
    name, low, high = parameter.name, parameter.low, parameter.high
    if name in _DOMAINS:
        _DOMAINS[name](low, place.child("low"))
        _DOMAINS[name](high, place.child("high"))
    if low >= high:
        raise place.child("low").broken(f"below high ({high:g})", low)
    if parameter.log and low <= 0:
        raise place.child("low").broken("above 0 on a logarithmic scale", low)
    if isinstance(parameter, IntParameter):
        if (parameter.high - parameter.low) % parameter.step:
            raise place.child("high").broken(
                f"low ({low}) plus a multiple of step ({parameter.step})", high
            )
        if parameter.log and parameter.step > 1:
            raise place.child("step").broken("1 on a logarithmic scale", parameter.step)


def _parse_conditions(value: object, place: Place) -> dict[str, tuple[Scalar, ...]]:
    table = require_table(value, place)
    return {
        other: _choices(
            values if isinstance(values, list | tuple) else [values], place.child(other)
        )
        for other, values in table.items()
    }


def _check_conditions(parameter: Parameter, space: Mapping[str, Parameter], place: Place) -> None:
    for other, values in parameter.when.items():
        if other not in space:
            raise place.child(other).error(
                "is not a parameter of the space", suggestion(other, space)
            )
        for value in values:
            if not space[other].contains(value):
                raise place.child(other).broken(space[other].describe(), value)


def _conditions_first(space: Mapping[str, Parameter], place: Place) -> tuple[Parameter, ...]:
    """Order the parameters so that each comes after those it depends on, else as they came."""
    ordered: dict[str, Parameter] = {}
    waiting = dict(space)
    while waiting:
        ready = next((name for name, item in waiting.items() if set(item.when) <= set(ordered)), "")
        if not ready:
            circle = ", ".join(sorted(waiting))
            raise place.error(f"has conditions that wait for each other: {circle}")
        ordered[ready] = waiting.pop(ready)
    return tuple(ordered.values())


def is_active(parameter: Parameter, point: Mapping[str, Scalar]) -> bool:
    """Tell whether a parameter is searched, given the parameters before it that are.

    A parameter whose condition names one that is not searched is not searched either.

    >>> beta = FloatParameter(name="beta", low=1.0, high=8.0, when={"loss": ("dkd",)})
    >>> is_active(beta, {"loss": "dkd"}), is_active(beta, {"loss": "kd"}), is_active(beta, {})
    (True, False, False)
    """
    return all(
        other in point and point[other] in values for other, values in parameter.when.items()
    )


def check_point(space: Sequence[Parameter], value: object, place: Place) -> dict[str, Scalar]:
    """Check one point of the space: every active parameter within its range, and nothing else.

    Returns:
        The point with its parameters in the order of the space, floats as floats.

    Raises:
        InputError: A name is unknown, inactive or missing, or a value is outside its range.
    """
    table = require_table(value, place)
    known = {parameter.name: parameter for parameter in space}
    for name in table:
        if name not in known:
            raise place.child(name).error(
                "is not a parameter of the space", suggestion(name, known)
            )
    point: dict[str, Scalar] = {}
    for parameter in space:
        name = parameter.name
        here = place.child(name)
        if not is_active(parameter, point):
            if name in table:
                raise here.error("is not searched at this point", "take it out, or mend its when")
            continue
        if name not in table:
            raise here.error("is missing", "a point names every parameter that is searched there")
        item = table[name]
        if not parameter.contains(item) or not isinstance(item, str | int | float):
            raise here.broken(parameter.describe(), item)
        point[name] = float(item) if isinstance(parameter, FloatParameter) else item
    return point
