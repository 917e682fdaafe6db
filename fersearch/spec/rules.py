"""Rules for values of a study file: each checks one value and says what is wrong in one clause."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fersearch.errors import InputError, suggestion

__all__ = [
    "Place",
    "Rule",
    "Scalar",
    "boolean",
    "integer",
    "number",
    "one_of",
    "options",
    "parse_fields",
    "require_table",
    "same_value",
    "setting",
    "several",
    "text",
]

Scalar = str | int | float | bool

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: the dotted path of its key, and the file or the option it came from."""

    source: str
    path: str = ""

    def child(self, key: str | int) -> Place:
        """Return the place of ``key`` in the table (or of an index in the array) that is here."""
        if isinstance(key, int):
            return Place(self.source, f"{self.path}[{key}]")
        return Place(self.source, f"{self.path}.{key}" if self.path else key)

    @property
    def name(self) -> str:
        """Last part of the path: what the value is called."""
        return self.path.rpartition(".")[2] or "the study"

    def error(self, problem: str, hint: str = "") -> InputError:
        """Return the error that says ``problem`` about the value that stands here."""
        where = " in ".join(
            part for part in (self.path if self.path != self.name else "", self.source) if part
        )
        return InputError(f"{self.name} {problem}" + (f" ({where})" if where else ""), hint)

    def broken(self, rule: str, value: object, hint: str = "") -> InputError:
        """Return the error of a ``value`` that breaks ``rule``."""
        return self.error(f"must be {rule} but got {_shown(value)}", hint)


Rule = Callable[[object, Place], T]
"""Takes a value and its place, and returns the value in its one form or raises InputError."""


def _shown(value: object) -> str:
    """Return ``value`` as a study file spells it, cut to a readable length."""
    if isinstance(value, float):
        return str(value)
    written = json.dumps(value, ensure_ascii=False, default=str)
    return written if len(written) <= 80 else f"{written[:77]}..."


def same_value(left: object, right: object) -> bool:
    """Tell whether two values are equal and of one type, so that 1, 1.0 and true differ."""
    return type(left) is type(right) and left == right


def integer(*, at_least: int | None = None, at_most: int | None = None) -> Rule[int]:
    """Return the rule of a whole number, which may have limits, both inclusive."""

    def check(value: object, place: Place) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise place.broken("a whole number", value)
        if at_least is not None and value < at_least:
            raise place.broken(f"at least {at_least}", value)
        if at_most is not None and value > at_most:
            raise place.broken(f"at most {at_most}", value)
        return value

    return check


def number(
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> Rule[float]:
    """Return the rule of a finite number within limits; whole numbers become floats."""
    low = f"above {above:g}" if at_least < above else f"at least {at_least:g}"
    high = f"below {below:g}" if below < at_most else f"at most {at_most:g}"
    limits = [
        limit
        for limit, bounded in (
            (low, max(above, at_least) > -math.inf),
            (high, min(below, at_most) < math.inf),
        )
        if bounded
    ]

    def check(value: object, place: Place) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise place.broken("a number", value)
        if not math.isfinite(value):
            raise place.broken("a finite number", value)
        if not (above < value < below and at_least <= value <= at_most):
            raise place.broken(" and ".join(limits), value)
        return float(value)

    return check


def text(pattern: str = "", *, rule: str = "a text") -> Rule[str]:
    """Return the rule of a text that matches the whole of ``pattern``, described by ``rule``."""

    def check(value: object, place: Place) -> str:
        if not isinstance(value, str) or (pattern and not re.fullmatch(pattern, value)):
            raise place.broken(rule, value)
        return value

    return check


def boolean() -> Rule[bool]:
    """Return the rule of true or false."""

    def check(value: object, place: Place) -> bool:
        if not isinstance(value, bool):
            raise place.broken("true or false", value)
        return value

    return check


def one_of(*names: str) -> Rule[str]:
    """Return the rule of a text out of ``names``."""

    def check(value: object, place: Place) -> str:
        if not isinstance(value, str) or value not in names:
            hint = suggestion(value, names) if isinstance(value, str) else ""
            # The rule lists every name already; only a near one adds anything.
            raise place.broken(
                f"one of {', '.join(names)}", value, hint if hint.startswith("did") else ""
            )
        return value

    return check


def several(rule: Rule[T]) -> Rule[tuple[T, ...]]:
    """Return the rule of a list of different values that each keep ``rule``."""

    def check(value: object, place: Place) -> tuple[T, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise place.broken("a list", value)
        checked = tuple(rule(item, place.child(index)) for index, item in enumerate(value))
        if len(set(checked)) < len(checked):
            raise place.broken("a list of different values", list(value))
        return checked

    return check


def options() -> Rule[dict[str, Scalar]]:
    """Return the rule of a table of plain values: the keyword options of a model."""

    def check(value: object, place: Place) -> dict[str, Scalar]:
        table = require_table(value, place)
        checked: dict[str, Scalar] = {}
        for key, item in table.items():
            if not isinstance(item, str | int | float):  # bool is an int
                raise place.child(key).broken("a text, a number, true or false", item)
            if isinstance(item, float) and not math.isfinite(item):
                raise place.child(key).broken("a finite number", item)
            checked[key] = item
        return checked

    return check


def require_table(value: object, place: Place) -> Mapping[str, object]:
    """Return the entries of the table ``value``, without those that are None (taken out).

    Raises:
        InputError: It is something else than a table.
    """
    if not isinstance(value, Mapping):
        raise place.broken("a table", value)
    return {key: item for key, item in value.items() if item is not None}


def setting(rule: Rule[Any], default: object = None, *, optional: bool = False) -> Any:
    """Declare a field of a section: its rule and its default, required when there is neither.

    Args:
        rule: What the field's value is checked by.
        default: The value where the file says nothing.
        optional: The file may say nothing, and the value is then None.
    """
    metadata = {"rule": rule}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    if default is None and not optional:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse_fields(
    section: type[Any], table: object, place: Place, *, also: Collection[str] = ()
) -> dict[str, Any]:
    """Check a table against the fields of a section that :func:`setting` declared.

    Args:
        section: The dataclass of the section.
        table: What the file holds.
        place: Where the table stands.
        also: Further keys that may stand in the table; the caller reads them.

    Returns:
        The keyword arguments of the section, without the fields that the file does not name.

    Raises:
        InputError: A key is unknown, a required one is missing, or a value breaks its rule.
    """
    content = require_table(table, place)
    declared = {item.name: item for item in dataclasses.fields(section) if "rule" in item.metadata}
    known = [*declared, *also]
    assert isinstance(table, Mapping)  # narrows the type; require_table has refused all else
    for key in table:  # not of content: a name that is taken out has to be known too
        if key not in known:
            raise place.child(key).error("is not a known key", suggestion(key, known))
    values: dict[str, Any] = {}
    for name, item in declared.items():
        if name in content:
            values[name] = item.metadata["rule"](content[name], place.child(name))
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise place.child(name).error("is missing")
    return values
