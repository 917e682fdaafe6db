"""Draw docs/synthetic.png: every expression of the synthetic faces, from faint to full.

    python docs/make_contact_sheet.py

One class a row; people and pictures are those that the default options draw, sorted by intensity.
The rightmost columns show the same expressions at difficulty hard.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fersearch.data.synthetic import SyntheticOptions, SyntheticSplit, make, parse_options

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLUMNS = 9
HARD_COLUMNS = 4


def sorted_faces(split: SyntheticSplit, label: int, columns: int) -> tuple[NDArray[np.uint8], ...]:
    """Return faces of one class at evenly spaced ranks of intensity."""
    members = np.flatnonzero(split.labels == label)
    members = members[np.argsort(split.intensities[members], kind="stable")]
    chosen = members[np.linspace(0, len(members) - 1, columns).round().astype(int)]
    return tuple(split.images[index, 0] for index in chosen)


def main() -> None:
    """Write the contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="options of the synthetic faces")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("synthetic.png"))
    arguments = parser.parse_args()
    options: SyntheticOptions = parse_options(arguments.data, arguments.image_size)
    faces = make(options)
    hard = make(parse_options(f"train=400,seed={options.seed},difficulty=hard", options.image_size))

    rows, columns = len(faces.classes), COLUMNS + HARD_COLUMNS
    widths = [1.0] * COLUMNS + [0.25] + [1.0] * HARD_COLUMNS
    figure, axes = plt.subplots(
        rows,
        columns + 1,
        figsize=(columns * 0.95 + 1.2, rows * 0.98 + 0.6),
        gridspec_kw={"width_ratios": widths, "wspace": 0.04, "hspace": 0.04},
    )
    for label, name in enumerate(faces.classes):
        pictures = [
            *sorted_faces(faces.train, label, COLUMNS),
            None,
            *sorted_faces(hard.train, label, HARD_COLUMNS),
        ]
        for axis, picture in zip(axes[label], pictures, strict=True):
            axis.set_axis_off()
            if picture is not None:
                axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes[label, 0].text(
            -0.12, 0.5, name, transform=axes[label, 0].transAxes, ha="right", va="center"
        )
    axes[0, COLUMNS // 2].set_title(
        f"difficulty {options.difficulty:g}: intensity rises from left to right", fontsize=11
    )
    axes[0, COLUMNS + 2].set_title("difficulty hard", fontsize=11, loc="left")
    figure.subplots_adjust(left=0.1, right=0.99, top=0.94, bottom=0.01)
    figure.savefig(arguments.out, dpi=90)
    sheet = Image.open(arguments.out).convert("L").quantize(48)  # a third of the bytes
    sheet.save(arguments.out, optimize=True)


if __name__ == "__main__":
    main()
