"""What a study ran under: the protocol that makes its numbers comparable, and its hashes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fersearch.data.dataset import DataInfo
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import make_recipe
from fersearch.records import digest, to_plain
from fersearch.spec import CategoricalParameter, StudySpec, studied_losses

__all__ = ["PROTOCOL", "Protocol", "differences", "make_protocol"]

# The user attribute of a study in its storage that holds the protocol it was begun under.
PROTOCOL = "fersearch_protocol"

# Raised whenever the meaning of a run changes: numbers of different versions are not compared.
PROTOCOL_VERSION = 1

# The part of a protocol that two rows of one table must share. What a row is allowed to differ in
# (its network, its loss, how its settings were searched) stays out.
COMPARED = (
    "version",
    "data_sha256",
    "label_rule",
    "classes",
    "n_train",
    "n_val",
    "n_test",
    "image_size",
    "epochs",
    "batch_size",
    "recipe",
    "recipe_settings",
    "views",
    "preprocessing",
    "metric",
    "seed",
    "seeds",
)
# May grow or move without making another study of it.
FREE = ("data", "trials", "patience")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Everything that decides a study's numbers.

    Attributes:
        values: The settings by name, as they stand in ``result.json``.
        protocol_hash: Digest of the part that rows of one table share.
        study_hash: Digest of all of it except how many trials are run and the data's path.
    """

    values: dict[str, Any]
    protocol_hash: str
    study_hash: str


def make_protocol(
    spec: StudySpec,
    info: DataInfo,
    *,
    preprocessing: Preprocessing,
    policy: ViewPolicy,
    teacher_weights_sha256: str = "",
) -> Protocol:
    """Return the protocol of a study on a data set."""
    budget, search, training = spec.budget, spec.search, spec.training
    losses = studied_losses(spec)
    recipe = make_recipe(
        training.recipe,
        epochs=budget.epochs,
        batch_size=budget.batch_size,
        learning_rate=1.0,
        dropout=training.dropout,
        label_smoothing=training.label_smoothing,
    )
    settings = dataclasses.asdict(recipe)
    for name in ("name", "epochs", "batch_size", "learning_rate"):
        del settings[name]
    students = next(
        (
            item.choices
            for item in spec.space
            if item.name == "student" and isinstance(item, CategoricalParameter)
        ),
        (training.student,),
    )
    values: dict[str, Any] = to_plain(
        {
            "version": PROTOCOL_VERSION,
            "data": info.spec,
            "data_kind": info.kind,
            "data_sha256": info.sha256,
            "label_rule": info.label_rule,
            "classes": info.classes,
            "n_train": info.totals["train"],
            "n_val": info.totals["val"],
            "n_test": info.totals["test"],
            "image_size": info.image_size,
            "epochs": budget.epochs,
            "batch_size": budget.batch_size,
            "recipe": training.recipe,
            "recipe_settings": settings,
            "views": policy,
            "preprocessing": preprocessing,
            "metric": search.metric,
            "seed": search.seed,
            "seeds": budget.seeds,
            "student": students[0] if len(students) == 1 else students,
            "student_options": training.student_options,
            "loss": losses[0] if len(losses) == 1 else losses,
            "teacher": spec.teacher.model,
            "teacher_options": spec.teacher.options,
            "teacher_epochs": budget.teacher_epochs,
            "teacher_learning_rate": spec.teacher.learning_rate,
            "teacher_seed": spec.teacher.seed,
            "teacher_weights_sha256": teacher_weights_sha256,
            "objective": spec.objective,
            "sampler": search.sampler,
            "pruner": search.pruner,
            "lag": search.lag,
            "trials": budget.trials,
            "confirm_top": budget.confirm_top,
            "space": {
                parameter.name: {"kind": type(parameter).__name__, **dataclasses.asdict(parameter)}
                for parameter in spec.space
            },
            "enqueue": spec.enqueue,
        }
    )
    # Named only where they are used: a study of one objective keeps its hash.
    if search.costs:
        values |= {"costs": list(search.costs), "max_latency_ms": search.max_latency_ms}
    if search.patience is not None:
        values["patience"] = search.patience
    return Protocol(
        values=values,
        protocol_hash=digest({name: values[name] for name in COMPARED}),
        study_hash=digest({key: item for key, item in values.items() if key not in FREE}),
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Name what differs between two protocols, as ``name: old -> new``.

    >>> differences({"epochs": 8, "trials": 1}, {"epochs": 5, "trials": 2})
    ['epochs: 8 -> 5']
    """
    found = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after or (not prefix and name in FREE):
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, prefix=f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}: {before} -> {after}")
    return found
