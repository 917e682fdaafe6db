"""The front of a Pareto search as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from optuna.trial import FrozenTrial

from fersearch.files import atomic_path

__all__ = ["draw_front"]

LABELS = {
    "latency": "latency of one image (ms, median)",
    "macs": "multiply-accumulates of one image",
    "params": "parameters",
    "file_mb": "weights (MB)",
}


def draw_front(
    path: Path,
    *,
    trials: Sequence[FrozenTrial],
    front: set[int],
    place: int,
    names: tuple[str, str],
    title_of: Callable[[FrozenTrial], str],
) -> None:
    """Draw the trials' metric against one cost, and join those of the front.

    Args:
        path: The PNG file.
        trials: The complete trials.
        front: Numbers of those on the front.
        place: Which objective the cost is.
        names: Name of the metric and of the cost.
        title_of: Name of a trial's student.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    with matplotlib.rc_context():
        figure, axes = pyplot.subplots(figsize=(8, 4.5))
        students = list(dict.fromkeys(title_of(trial) for trial in trials))
        colours = pyplot.get_cmap("tab10")
        for number, student in enumerate(students):
            own = [trial for trial in trials if title_of(trial) == student]
            axes.scatter(
                [trial.values[place] for trial in own],
                [100 * trial.values[0] for trial in own],
                s=[60 if trial.number in front else 18 for trial in own],
                alpha=0.85,
                color=colours(number % 10),
                label=student,
            )
        line = sorted(
            (trial for trial in trials if trial.number in front),
            key=lambda trial: (trial.values[place], trial.values[0]),
        )
        # With several costs the front is a surface: in one plane a line would join what is none.
        line = line if len(trials[0].values) == 2 else []
        axes.plot(
            [trial.values[place] for trial in line],
            [100 * trial.values[0] for trial in line],
            color="grey",
            linewidth=1,
            linestyle=":",
            zorder=0,
        )
        values = [trial.values[place] for trial in trials]
        if min(values) > 0 and max(values) > 3 * min(values):
            axes.set_xscale("log")
            # Plain numbers; powers of ten are hard to read over less than two decades.
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(LABELS[names[1]])
        axes.set_ylabel(f"validation {names[0].replace('_', ' ')} (%), one seed a trial")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(title="large marks: on the front", fontsize=8, title_fontsize=8)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, bbox_inches="tight", format="png")
        pyplot.close(figure)
