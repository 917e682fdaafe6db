"""The search's plots, by Optuna itself, as PNG files for the report."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import TrialState

from fersearch.files import atomic_path
from fersearch.search.goals import Goals, metric_of

__all__ = ["draw_search_plots"]


def draw_search_plots(
    study: Study, folder: Path, *, goals: Goals
) -> tuple[list[tuple[str, str]], list[str]]:
    """Draw history, importances, parallel coordinates and the trials' learning curves.

    Args:
        study: The finished search.
        folder: Where the PNG files go.
        goals: Its objectives; the metric is what is drawn.

    Returns:
        Title and file name of each plot, and a note for each that could not be drawn.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    # Optuna asks for the value to draw only where a study has several.
    drawn_value: dict[str, Any] = {"target": metric_of} if goals.costs else {}
    drawn_value["target_name"] = f"validation {goals.metric.replace('_', ' ')}"
    of_metric = partial(partial, **drawn_value)
    wanted: list[tuple[str, str, Callable[[Study], Any], int]] = [
        ("Optimisation history", "history.png", of_metric(plots.plot_optimization_history), 1),
        ("Parameter importances", "importances.png", of_metric(plots.plot_param_importances), 4),
        ("Parallel coordinates", "parallel.png", of_metric(plots.plot_parallel_coordinate), 2),
        ("Learning curves of the trials", "curves.png", plots.plot_intermediate_values, 1),
    ]
    drawn, notes = [], []
    for title, name, plot, needed in wanted:
        if len(complete) < needed:
            notes.append(f"{title}: needs {needed} complete trials, there are {len(complete)}.")
            continue
        # Optuna sets a style for the whole process: the context takes it back.
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", UserWarning)
            try:
                axes = plot(study)
            except (ValueError, RuntimeError) as error:
                # Importances are undefined when every trial reached the same value.
                notes.append(f"{title}: not drawn, {error}.")
                pyplot.close("all")
                continue
            figure = getattr(axes, "figure", None) or axes.ravel()[0].figure
            if name == "curves.png" and axes.get_legend() is not None:
                axes.get_legend().remove()
            if name == "parallel.png":
                for item in figure.axes:
                    item.grid(visible=False)
            figure.set_size_inches(8, 4.5)
            with atomic_path(folder / name) as temporary:
                figure.savefig(temporary, dpi=110, bbox_inches="tight", format="png")
            pyplot.close("all")
        drawn.append((title, name))
    return drawn, notes
