"""How much each searched parameter mattered, from the trials alone."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

__all__ = ["parameter_importances"]

LEAST_TRIALS = 4
LOGARITHMIC = {"learning_rate", "weight_decay"}


def parameter_importances(
    trials: Sequence[tuple[Mapping[str, Any], float]], space: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, float], str]:
    """Return the share of each parameter in the variation of the best trials (PED-ANOVA).

    Args:
        trials: Settings and value of every complete trial.
        space: The searched parameters as a protocol keeps them; may be empty, then the ranges
            are those of the trials.

    Returns:
        The shares by name, the largest first, and how they were computed; or nothing, and why.
    """
    if len(trials) < LEAST_TRIALS:
        return {}, f"importances need {LEAST_TRIALS} complete trials, there are {len(trials)}"
    counts = Counter(name for params, _ in trials for name in params)
    # A parameter that is searched under a condition has to have been searched often enough too.
    ranges = {
        name: _range(name, [params[name] for params, _ in trials if name in params], space)
        for name, count in counts.items()
        if count >= LEAST_TRIALS
    }
    ranges = {name: item for name, item in ranges.items() if not item.single()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every study it makes
    study = optuna.create_study(direction="maximize", storage=optuna.storages.InMemoryStorage())
    study.add_trials(
        [
            create_trial(
                params={name: params[name] for name in ranges if name in params},
                distributions={name: item for name, item in ranges.items() if name in params},
                value=value,
                state=TrialState.COMPLETE,
            )
            for params, value in trials
        ]
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # It warns of parameters that few trials lack or have; the note says how many do.
            warnings.simplefilter("ignore", UserWarning)
            shares = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError) as error:
        # They are undefined when every trial reached the same value.
        return {}, f"importances are not defined here: {error}"
    ordered = dict(sorted(shares.items(), key=lambda pair: -pair[1]))
    note = f"PED-ANOVA over {len(trials)} complete trials"
    partly = [f"{name} {count}" for name, count in counts.items() if count < len(trials)]
    if partly:
        note += f"; searched in fewer of them: {', '.join(partly)}"
    rare = [name for name, count in counts.items() if count < LEAST_TRIALS]
    if rare:
        note += f"; left out below {LEAST_TRIALS}: {', '.join(rare)}"
    return ordered, note


def _range(
    name: str, values: Sequence[Any], space: Mapping[str, Mapping[str, Any]]
) -> BaseDistribution:
    known = space.get(name, {})
    if "choices" in known or any(isinstance(value, str) for value in values):
        return CategoricalDistribution(sorted({*values}, key=str))
    logarithmic = bool(known.get("log", name in LOGARITHMIC))
    low, high = known.get("low", min(values)), known.get("high", max(values))
    return FloatDistribution(float(low), float(high), log=logarithmic)
