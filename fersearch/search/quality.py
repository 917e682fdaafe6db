"""Time to quality: how much training a search needed for what it found."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fersearch.search.goals import metric_of

__all__ = ["time_to_quality"]

# Distances from the best trial's metric, in 0-1.
MARGINS = (0.05, 0.02, 0.01, 0.0)


def time_to_quality(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return when a search came near its best, in trials and in seconds of training.

    Trials are counted in the order of their numbers, pruned and failed ones included, and their
    training seconds are added up, so the figures depend neither on interruptions nor on how many
    trials ran side by side. Only a complete trial reaches anything.

    Args:
        trials: All trials of a search with one objective, by number.

    Returns:
        For each margin ``within`` (0-1) of the best metric: the number of ``trials`` until the
        first that came so near, and their ``seconds``. Empty where no trial is complete.
    """
    spent = list(itertools.accumulate(trial.user_attrs.get("seconds", 0.0) for trial in trials))
    reached = [metric_of(trial) if trial.state == TrialState.COMPLETE else None for trial in trials]
    best = max((value for value in reached if value is not None), default=None)
    if best is None:
        return []
    found = []
    for within in MARGINS:
        first = next(
            index
            for index, value in enumerate(reached)
            if value is not None and value >= best - within
        )
        found.append({"within": within, "trials": first + 1, "seconds": round(spent[first], 1)})
    return found
