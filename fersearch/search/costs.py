"""What the students of a Pareto search cost: measured once, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from optuna.study import Study

from fersearch.deploy.latency import Architecture, Latency, measure_latencies
from fersearch.deploy.runtimes import DEPLOYED, EAGER, check_installed
from fersearch.errors import FersearchError, InputError
from fersearch.files import write_json
from fersearch.models import create, file_bytes, macs, parameter_count
from fersearch.records import to_plain
from fersearch.search.objectives import StudyContext, student_of
from fersearch.spec import CategoricalParameter, Scalar

__all__ = ["CostTable", "StudentCost", "cost_table"]

# The storage has them too: trials of one study, wherever they run, have figures of one measurement.
ATTRIBUTE = "fersearch_costs"
FILE = "costs.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentCost:
    """What one student costs.

    Attributes:
        model: timm name.
        options: Options of the network.
        params: Parameters.
        macs: Multiply-accumulates of one image; None when they cannot be counted.
        file_mb: Size of the weights in megabytes.
        latency: Of one image, in the runtime of the table; None when it was not measured.
        problem: Why it could not be measured; empty when it was, or was not asked for.
    """

    model: str
    options: Mapping[str, Scalar]
    params: int
    macs: int | None
    file_mb: float
    latency: Latency | None = None
    problem: str = ""

    def of(self, name: str) -> float:
        """Return a cost by its name: ``latency`` in ms (p50), ``macs``, ``params``, ``file_mb``.

        Raises:
            FersearchError: It could not be counted or measured.
        """
        if name == "latency":
            value: float | None = None if self.latency is None else self.latency.p50
        else:
            value = getattr(self, name)
        if value is None:
            why = f": {self.problem}" if name == "latency" and self.problem else ""
            raise FersearchError(
                f"the {name} of {self.model} is not known{why}",
                "leave this student out, or search with other costs",
            )
        return float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """The costs of every student that a study can propose.

    Attributes:
        context: The study.
        students: By :meth:`key`.
    """

    context: StudyContext
    students: Mapping[str, StudentCost]

    def key(self, params: Mapping[str, Scalar]) -> str:
        """Return the name of the architecture that a setting stands for."""
        model, options = student_of(self.context, params)
        return architecture(self.context, model, options).key

    def student(self, params: Mapping[str, Scalar]) -> StudentCost:
        """Return the costs of a setting's student."""
        return self.students[self.key(params)]

    def costs(self, params: Mapping[str, Scalar]) -> list[float]:
        """Return the study's cost objectives of a setting, in their order."""
        student = self.student(params)
        return [student.of(name) for name in self.context.spec.search.costs]


def architecture(context: StudyContext, model: str, options: Mapping[str, Scalar]) -> Architecture:
    """Return a network as the latency measurement knows it."""
    return Architecture(
        model=model,
        options=dict(options),
        num_classes=len(context.info.classes),
        image_size=context.info.image_size,
    )


def searched_students(context: StudyContext) -> list[tuple[str, dict[str, Scalar]]]:
    """Return name and options of every student that the study can propose."""
    choices = {
        item.name: item.choices
        for item in context.spec.space
        if item.name in ("student", "input_size") and isinstance(item, CategoricalParameter)
    }
    return [
        student_of(context, dict(zip(choices, values, strict=True)))
        for values in product(*choices.values())
    ]


def cost_table(
    context: StudyContext, *, study: Study, folder: Path, cache: Path, plugins: Sequence[str]
) -> CostTable:
    """Count and measure what the study's students cost, or read what was measured before.

    The figures are kept with the study in its storage: a study that is continued, on another day
    or machine, goes on with the ones it began with. ``costs.json`` of the study's folder shows
    them.

    Args:
        context: The study.
        study: The same in its storage.
        folder: The study's folder.
        cache: The workspace's cache.
        plugins: Files that register models of the user's own.

    Raises:
        FersearchError: A cost that the study minimises cannot be counted or measured.
    """
    wanted = searched_students(context)
    keys = [architecture(context, model, options).key for model, options in wanted]
    held = _read(study.user_attrs.get(ATTRIBUTE, {}))
    if not set(keys) <= set(held) or any(held[key].problem for key in keys):
        held = _measured(context, wanted, cache=cache, plugins=plugins)
        study.set_user_attr(ATTRIBUTE, to_plain(held))
    write_json(folder / FILE, to_plain(held))
    table = CostTable(context=context, students={key: held[key] for key in keys})
    for student in table.students.values():
        for name in context.spec.search.costs:
            student.of(name)
    return table


def _measured(
    context: StudyContext,
    students: Sequence[tuple[str, Mapping[str, Scalar]]],
    *,
    cache: Path,
    plugins: Sequence[str],
) -> dict[str, StudentCost]:
    search = context.spec.search
    latencies: dict[str, Latency] = {}
    problems: dict[str, str] = {}
    if "latency" in search.costs or search.max_latency_ms is not None:
        runtime = _runtime()
        report = measure_latencies(
            [architecture(context, model, options) for model, options in students],
            runtimes=(runtime,),
            cache=cache / "onnx",
            plugins=plugins,
        )
        latencies = {key: item for (key, _), item in report.latencies.items()}
        problems = {key: why for (key, _), why in report.failures.items()}
    table = {}
    for model, options in students:
        network = create(
            model,
            num_classes=len(context.info.classes),
            image_size=context.info.image_size,
            **dict[str, Any](options),
        )
        try:
            operations: int | None = macs(network, context.info.image_size).total
        except FersearchError:
            if "macs" in search.costs:
                raise
            operations = None
        key = architecture(context, model, options).key
        table[key] = StudentCost(
            model=model,
            options=dict(options),
            params=parameter_count(network),
            macs=operations,
            file_mb=round(file_bytes(network) / 1e6, 3),
            latency=latencies.get(key),
            problem=problems.get(key, ""),
        )
    return table


def _runtime() -> str:
    """Return the runtime that students are deployed in, or PyTorch where it is not installed."""
    try:
        check_installed(DEPLOYED[0])
    except InputError:
        return EAGER  # the measurement says which one it was
    return DEPLOYED[0]


def _read(content: Mapping[str, Any]) -> dict[str, StudentCost]:
    return {
        key: StudentCost(
            **{**item, "latency": None if item["latency"] is None else Latency(**item["latency"])}
        )
        for key, item in content.items()
    }
