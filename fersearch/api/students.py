"""Students that a study searches among: patterns become names, what cannot be trained is out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch

from fersearch.data import DataInfo
from fersearch.errors import InputError
from fersearch.models import create, parameter_count
from fersearch.models.students import resolve_students
from fersearch.models.trainable import check_trainable
from fersearch.spec import CategoricalParameter, Scalar, StudySpec, override

__all__ = [
    "check_works_at",
    "count_parameters",
    "searched_sizes",
    "searches_students",
    "size_notes",
    "student_patterns",
    "with_students",
]


def student_patterns(spec: StudySpec) -> tuple[str, ...]:
    """Return the names and patterns of the students that a study is to search among."""
    if spec.training.students:
        return spec.training.students
    for parameter in spec.space:
        if parameter.name == "student" and isinstance(parameter, CategoricalParameter):
            return tuple(map(str, parameter.choices))
    return ()


def searched_sizes(spec: StudySpec) -> tuple[int, ...]:
    """Return the sizes in pixels that students may work at; empty where that is not searched."""
    for parameter in spec.space:
        if parameter.name == "input_size" and isinstance(parameter, CategoricalParameter):
            return tuple(int(choice) for choice in parameter.choices)
    return ()


def searches_students(spec: StudySpec) -> bool:
    """Tell whether the student, or the size that it works at, is searched."""
    return bool(student_patterns(spec) or searched_sizes(spec))


def with_students(spec: StudySpec, info: DataInfo) -> tuple[StudySpec, tuple[str, ...]]:
    """Put the students into the space of a study that searches among them.

    Points that are tried first get the first student, at the largest size.

    Args:
        spec: The study.
        info: The data: its classes and image size.

    Returns:
        The study, and a note for each student that was left out.

    Raises:
        InputError: No student is left, or one cannot work at a size that is searched.
    """
    patterns = student_patterns(spec)
    notes: list[str] = []
    changes: dict[str, object] = {"training.students": ()}
    first: dict[str, Scalar] = {}
    names: Sequence[str] = (spec.training.student,)
    if patterns:
        students = resolve_students(
            patterns,
            classes=len(info.classes),
            image_size=info.image_size,
            dropout=spec.training.dropout,
        )
        names = [student.name for student in students.accepted]
        notes = [f"left out: {name}: {reason}" for name, reason in students.refused.items()]
        changes["space.student"] = {"kind": "categorical", "choices": names}
        first["student"] = names[0]
    sizes = searched_sizes(spec)
    if sizes:
        first["input_size"] = max(sizes)
    changes["enqueue"] = [{**first, **point} for point in spec.enqueue]
    training = spec.training
    for name, size in product(names, sizes):
        # Another student does not inherit the options of the study's own.
        own = training.student_options if name == training.student else {}
        check_works_at(name, size, info, dropout=training.dropout, options=own)
    return override(spec, changes, source="the options"), tuple(notes)


def check_works_at(
    name: str, size: int, info: DataInfo, *, dropout: float, options: Mapping[str, Any]
) -> None:
    """Refuse a student that cannot be trained at a size that is searched.

    Args:
        name: Its timm name.
        size: ``input_size`` in pixels.
        info: The data: classes and image size.
        dropout: Dropout rate before the classifier.
        options: Its other options.

    Raises:
        InputError: It cannot.
    """
    try:
        check_trainable(
            name,
            classes=len(info.classes),
            image_size=info.image_size,
            dropout=dropout,
            options={**options, "input_size": size},
        )
    except InputError as error:
        raise InputError(
            f"{name} cannot work at {size} px: {error.message}",
            "leave that size or that student out",
        ) from error


def size_notes(sizes: Mapping[str, int], spec: StudySpec, info: DataInfo) -> list[str]:
    """Return a note for each student that has more parameters than its teacher.

    Args:
        sizes: Parameters of the students, by timm name.
        spec: The study.
        info: The data: classes and image size.
    """
    teacher = spec.teacher
    most = count_parameters(teacher.model, teacher.options, info)
    return [
        f"{name} has more parameters ({count:,}) than the teacher {teacher.model} ({most:,})"
        for name, count in sizes.items()
        if count > most
    ]


def count_parameters(name: str, options: Mapping[str, Any], info: DataInfo) -> int:
    """Return how many parameters a network for these data has, at no cost of memory."""
    with torch.device("meta"):
        network = create(
            name,
            num_classes=len(info.classes),
            image_size=info.image_size,
            **dict[str, Any](options),
        )
    return parameter_count(network)
