"""Study files: from TOML to a checked :class:`~fersearch.spec.study.StudySpec`, and overrides."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from fersearch.errors import InputError, suggestion
from fersearch.plugins import list_shipped, shipped
from fersearch.spec.parameters import (
    CategoricalParameter,
    FloatParameter,
    Parameter,
    check_point,
    parse_space,
)
from fersearch.spec.rules import Place, parse_fields, require_table
from fersearch.spec.study import (
    Budget,
    DataSettings,
    SearchSettings,
    StudySpec,
    TeacherSettings,
    TrainingSettings,
)

__all__ = ["load_study", "override", "parse_study"]

_SECTIONS: dict[str, type[Any]] = {
    "budget": Budget,
    "search": SearchSettings,
    "training": TrainingSettings,
    "teacher": TeacherSettings,
    "data": DataSettings,
}


def load_study(path_or_name: str | Path) -> StudySpec:
    """Load a study that ships with the package, or anyone's study file.

    Args:
        path_or_name: A shipped study's name such as ``distill``, or the path of a TOML file.

    Raises:
        InputError: There is no such study or file, or the file breaks a rule.

    >>> load_study("distill").budget.trials
    50
    """
    names = list_shipped("studies", ".toml")
    written = str(path_or_name)
    if isinstance(path_or_name, str) and written in names:
        path = shipped("studies", f"{written}.toml")
    else:
        path = Path(path_or_name)
        if not path.exists() and not written.endswith(".toml") and os.sep not in written:
            raise InputError(
                f"there is no study {written!r}",
                suggestion(written, names) or "name a shipped study or a TOML file",
            )
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot read the study file {path}: {error.strerror}",
            f"name a TOML file, or a shipped study: {', '.join(names)}",
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"the study file {path} is not UTF-8 text", "save it as UTF-8") from error
    return parse_study(content, str(path))


def parse_study(text: str, source: str = "") -> StudySpec:
    """Read the text of a study file.

    Args:
        text: TOML.
        source: Where the text came from, for error messages.

    Raises:
        InputError: The text is not TOML, or it breaks a rule; the message names the key's path.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source or 'the study'} is not valid TOML: {error}") from error
    return _build(content, source)


def override(spec: StudySpec, changes: Mapping[str, object], *, source: str = "") -> StudySpec:
    """Return ``spec`` with some settings changed, checked by the same rules as a file.

    Args:
        spec: The study.
        changes: New values by dotted path: ``{"budget.trials": 20, "training.student":
            "resnet18", "teacher.options.layout": "manet", "space.alpha.high": 0.9}``. None takes
            a setting out, which brings back its default; a list of points replaces ``enqueue``.
        source: Where the changes came from, for error messages.

    Raises:
        InputError: A path is unknown or a value breaks its rule.

    >>> override(load_study("distill"), {"budget.trials": 20}).budget.trials
    20
    """
    content = _to_table(spec)
    for path, value in changes.items():
        _put(content, path, value, source=source)
    return _build(content, source)


def _build(content: Mapping[str, object], source: str) -> StudySpec:
    top = Place(source)
    values = parse_fields(StudySpec, content, top, also=(*_SECTIONS, "space", "enqueue"))
    content = require_table(content, top)
    for name, section in _SECTIONS.items():
        values[name] = section(**parse_fields(section, content.get(name, {}), top.child(name)))
    if "space" not in content:
        raise top.child("space").error("is missing", "add a table such as [space.temperature]")
    space = parse_space(content["space"], top.child("space"))
    points = content.get("enqueue", [])
    here = top.child("enqueue")
    if not isinstance(points, list | tuple):
        raise here.broken("a list of points", points, "write [[enqueue]] above each point")
    values["enqueue"] = tuple(
        check_point(space, point, here.child(index)) for index, point in enumerate(points)
    )
    return StudySpec(space=space, **values)


def _to_table(spec: StudySpec) -> dict[str, Any]:
    """Return the table that :func:`_build` reads as ``spec``."""
    table: dict[str, Any] = {
        "name": spec.name,
        "objective": spec.objective,
        "description": spec.description,
        "space": {parameter.name: _parameter_table(parameter) for parameter in spec.space},
        "enqueue": [dict(point) for point in spec.enqueue],
    }
    for name, section in _SECTIONS.items():
        values = {item.name: getattr(getattr(spec, name), item.name) for item in fields(section)}
        table[name] = {
            key: dict(value) if isinstance(value, Mapping) else value
            for key, value in values.items()
        }
    return table


def _parameter_table(parameter: Parameter) -> dict[str, Any]:
    table: dict[str, Any] = {"kind": "categorical"}
    if isinstance(parameter, CategoricalParameter):
        table["choices"] = list(parameter.choices)
    else:
        table |= {
            "kind": "float" if isinstance(parameter, FloatParameter) else "int",
            "low": parameter.low,
            "high": parameter.high,
            "log": parameter.log,
        }
        if not isinstance(parameter, FloatParameter):
            table["step"] = parameter.step
    if parameter.when:
        table["when"] = {name: list(values) for name, values in parameter.when.items()}
    return table


def _put(content: dict[str, Any], path: str, value: object, *, source: str) -> None:
    """Set the value at a dotted path; what the path may be is checked when the study is built."""
    *parents, key = path.split(".")
    table = content
    for depth, parent in enumerate(parents):
        inner = table.setdefault(parent, {})
        if not isinstance(inner, dict):
            here = Place(source, ".".join(parents[: depth + 1]))
            raise here.error("holds no further keys", f"it has a plain value, {inner}")
        table = inner
    table[key] = value
