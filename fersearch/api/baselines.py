"""Baselines on the terms of a study."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersearch.api.setup import Place, load_plugins, open_tracker, prepare
from fersearch.errors import FersearchError, InputError
from fersearch.models import get_baseline
from fersearch.report import baselines_text
from fersearch.search import (
    BUDGETS,
    BaselinePlan,
    Listener,
    StudyFolder,
    ignore_progress,
)
from fersearch.search import run_baselines as run_engine
from fersearch.spec import load_study, override

__all__ = ["SHIPPED", "BaselineResult", "run_baselines", "terms_of_study"]

SHIPPED = ("resnet18", "rcl_net", "tfen", "ecdnet")
"""The baselines that ship with the package, in the order in which they are run."""
DEFAULT_NAME = "baselines"
DEFAULT_TRIALS = 8

# Settings of a study file by the name under which its protocol keeps them.
_TERMS = {
    "epochs": "budget.epochs",
    "batch_size": "budget.batch_size",
    "recipe": "training.recipe",
    "image_size": "data.image_size",
    "metric": "search.metric",
    "seed": "search.seed",
    "seeds": "budget.seeds",
}


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """A finished run of baselines.

    Attributes:
        content: What ``result.json`` holds.
        folder: Its folder in the workspace.
        warnings: What did not stop it but should be known.
    """

    content: dict[str, Any]
    folder: Path
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the table."""
        return baselines_text(self.content)


def terms_of_study(workspace: Path, name: str) -> tuple[str, dict[str, object]]:
    """Return the data and the settings of a study that baselines must share with it.

    Raises:
        InputError: There is no such study in the workspace.
        FersearchError: Its protocol cannot be read.
    """
    path = StudyFolder(workspace, name).protocol
    if not path.exists():
        raise InputError(
            f"there is no study {name!r} in the workspace {workspace}",
            "fersearch study list shows those that are there",
        )
    try:
        protocol: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        settings = {place: protocol[key] for key, place in _TERMS.items()}
        recipe = protocol["recipe_settings"]
        settings["training.dropout"] = recipe["dropout"]
        settings["training.label_smoothing"] = recipe["label_smoothing"]
        return str(protocol["data"]), settings
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FersearchError(
            f"{path} cannot be read: {error!r}", "run the study's command again"
        ) from error


def run_baselines(
    names: Sequence[str] = SHIPPED,
    *,
    study: str = "",
    budget: str = "fixed",
    trials: int | None = None,
    learning_rate: float | None = None,
    settings: Mapping[str, object] | None = None,
    listener: Listener = ignore_progress,
    **place: Any,
) -> BaselineResult:
    """Run baselines on the terms of a study, or what is left of them.

    Args:
        names: Names of the baselines, shipped or from ``plugins``.
        study: Name of a study in the workspace whose data, epochs, batch size, recipe and seeds
            are taken; by default they are those of the shipped study ``distill``.
        budget: ``fixed``: one recipe for all; ``tuned``: learning rate and weight decay of each
            are searched with ``trials`` trials.
        trials: Finished trials of each baseline, with ``tuned``; 8 when None.
        learning_rate: Learning rate of the fixed recipe, and the first that a tuned baseline
            tries; by default the one that teachers are trained with.
        settings: Changes to the study's settings by dotted path: ``{"budget.epochs": 20}``.
        listener: Told of the progress.
        **place: Where and how it runs: the fields of :class:`fersearch.api.Place`.

    Raises:
        InputError: A name, a setting, the data or the tracking URI is wrong.
        FersearchError: The run cannot be finished.
    """
    where = Place(**place)
    if not where.name:
        name = f"{study}-{DEFAULT_NAME}" if study else DEFAULT_NAME
        where = dataclasses.replace(where, name=name)
    load_plugins(where.plugins)
    names = tuple(dict.fromkeys(names)) or SHIPPED
    for name in names:
        get_baseline(name)
    if budget not in BUDGETS:
        raise InputError(f"the budget must be fixed or tuned but is {budget!r}")
    if trials is not None and budget == "fixed":
        raise InputError(
            "the fixed budget has no trials", "leave --trials out, or take --budget tuned"
        )
    if trials is not None and trials < 1:
        raise InputError(f"trials must be at least 1 but got {trials}")
    changes = dict(settings or {})
    data = where.data
    if study:
        own_data, terms = terms_of_study(where.home, study)
        data, changes = data or own_data, {**terms, **changes}
    spec = override(load_study("distill"), changes, source="the options")
    rate = spec.teacher.learning_rate if learning_rate is None else learning_rate
    if not (rate > 0 and math.isfinite(rate)):
        raise InputError(f"the learning rate must be above 0 but is {rate}")
    if spec.search.sampler == "grid":
        raise InputError("baselines are not tuned on a grid", "take another --sampler")
    models: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in names]
    where = dataclasses.replace(where, data=data)
    prepared = prepare(spec, where, models=models)
    plan = BaselinePlan(
        names=names, budget=budget, trials=trials or DEFAULT_TRIALS, learning_rate=rate
    )
    with open_tracker(where) as tracker:
        result = run_engine(
            spec,
            prepared.dataset,
            prepared.settings,
            plan=plan,
            tracker=tracker,
            listener=listener,
        )
        home = StudyFolder(where.home, where.name, "baselines")
        figures = {
            f"test_{key}_{name}": row["test"][name]
            for key, row in result["rows"].items()
            for name in ("accuracy", "macro_f1", "balanced_accuracy", "auc", "ece")
            if row["test"][name] is not None
        }
        tracker.finish_study(figures, [home.result, home.evaluation])
        tracker.flush(60)
        warnings = tracker.warnings
    return BaselineResult(result, home.path, warnings)
