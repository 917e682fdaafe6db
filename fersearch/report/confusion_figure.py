"""The confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fersearch.files import atomic_path

__all__ = ["draw_confusion"]


def draw_confusion(
    confusion: Sequence[Sequence[int]], classes: Sequence[str], *, path: Path, title: str
) -> Path:
    """Draw a confusion matrix as PNG: colour and percent by row (the true class), counts below.

    Args:
        confusion: Counts, true class x predicted class.
        classes: Class names in that order; shown literally.
        path: Where to write the picture.
        title: Its title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.asarray(confusion, dtype=np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    size = len(classes)
    # A name may hold "$", which would begin a formula.
    names = [name.replace("$", r"\$") for name in classes]
    side = 1.6 + 0.78 * max(size, 3)
    figure = Figure(figsize=(side + 0.9, side), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(size), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(size), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title.replace("$", r"\$"), fontsize=11)
    for row in range(size):
        for column in range(size):
            text = f"{100 * shares[row, column]:.0f} %\n{counts[row, column]:,}"
            axes.text(
                column,
                row,
                text if totals[row, 0] else "none",
                ha="center",
                va="center",
                fontsize=7.5,
                fontweight="bold" if row == column else "normal",
                color="white" if shares[row, column] > 0.55 else "#1a1a1a",
            )
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.75, label="share of the true class")
    bar.outline.set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
    return path
