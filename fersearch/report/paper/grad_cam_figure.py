"""Figure 6 of the source paper: where networks look, as a picture of test images and overlays."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fersearch.errors import InputError
from fersearch.evaluations import GradCams
from fersearch.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CamPanel", "cam_panels", "draw_grad_cam_figure", "grad_cam_caption"]

Panels = Mapping[str, tuple[GradCams, str]]

INK, RIGHT, WRONG, GROUND = "#1b2430", "#00614a", "#9c2f00", "#ffffff"
MAX_ROWS = 12
OVERLAY = 0.55


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CamPanel:
    """One model's column.

    Attributes:
        title: Name of the model.
        maps: float32 ``(K, S, S)`` in 0-1.
        predictions: int64 ``(K,)``.
        layer: Layer that was looked at.
    """

    title: str
    maps: NDArray[np.float32]
    predictions: NDArray[np.int64]
    layer: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CamGrid:
    """The images that every model has, and the models' columns."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    panels: tuple[CamPanel, ...]
    rules: tuple[str, ...]


def cam_panels(panels: Panels) -> CamGrid | None:
    """Return the images that all models have, by class and then by number; None without any.

    An image is the same when its number in the test split, its class and its pixels are.

    Raises:
        InputError: A key is not among the maps it is said to be of.
    """
    if not panels:
        return None
    places: list[dict[tuple[int, int, bytes], int]] = []
    for title, (cams, key) in panels.items():
        if key not in cams.maps:
            raise InputError(
                f"there is no Grad-CAM map of {key!r} for {title}",
                f"known keys: {', '.join(sorted(cams.maps)) or 'none'}",
            )
        names = zip(cams.indices, cams.labels, cams.images, strict=True)
        places.append(
            {
                (int(label), int(index), image.tobytes()): position
                for position, (index, label, image) in enumerate(names)
            }
        )
    shared = sorted(set.intersection(*(set(place) for place in places)))[:MAX_ROWS]
    if not shared:
        return None
    first, _ = next(iter(panels.values()))
    chosen = np.array([places[0][name] for name in shared])
    columns = []
    for (title, (cams, key)), place in zip(panels.items(), places, strict=True):
        order = np.array([place[name] for name in shared])
        columns.append(
            CamPanel(
                title=title,
                maps=np.asarray(cams.maps[key][order], dtype=np.float32),
                predictions=np.asarray(cams.predictions[key][order], dtype=np.int64),
                layer=cams.layers.get(key, ""),
            )
        )
    return CamGrid(
        images=first.images[chosen],
        labels=first.labels[chosen],
        indices=first.indices[chosen],
        panels=tuple(columns),
        rules=tuple(dict.fromkeys(cams.rule for cams, _ in panels.values())),
    )


def grad_cam_caption(panels: Panels) -> str:
    """Return the caption: what is shown, how the images were chosen, and which layers."""
    grid = cam_panels(panels)
    if grid is None:
        return ""
    layers = "; ".join(f"{panel.title}: {panel.layer}" for panel in grid.panels if panel.layer)
    return (
        "Grad-CAM of the predicted class on test images: the brighter, the more the network's "
        f"answer rests on the place. Images: {'; '.join(grid.rules)}."
        + (f" Layers: {layers}." if layers else "")
        + " A check mark stands for a right answer, a cross for a wrong one."
    )


def draw_grad_cam_figure(panels: Panels, path: Path, *, classes: Sequence[str] = ()) -> Path | None:
    """Draw Figure 6 as PNG: a row an image, its picture first, then one overlay a model.

    Args:
        panels: By the model's title, its maps and its row's key in them; the order is kept. Only
            images that all of them have are shown.
        path: Where to write the picture.
        classes: Names of the classes; a class without a name is shown by its number.

    Returns:
        ``path``; None when there is no image to show, and then nothing is written.

    Raises:
        InputError: A key is not among the maps it is said to be of.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = cam_panels(panels)
    if grid is None:
        return None
    rows, columns = len(grid.labels), 1 + len(grid.panels)
    width, height = 1.75, 1.72
    title = 0.2 + 0.16 * max(len(wrapped(panel.title)) for panel in grid.panels)
    figure = Figure(
        figsize=(width * columns + 0.2, height * rows + title), dpi=130, layout="constrained"
    )
    FigureCanvasAgg(figure)
    figure.set_facecolor(GROUND)
    axes = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        picture = grey_or_rgb(grid.images[row])
        show(axes[row][0], picture, None)
        label = int(grid.labels[row])
        axes[row][0].set_xlabel(
            "\n".join(textwrap.wrap(literal(class_name(label, classes)), 20)),
            fontsize=8.5,
            color=INK,
            fontweight="bold",
        )
        for column, panel in enumerate(grid.panels, start=1):
            show(axes[row][column], picture, panel.maps[row])
            guess = int(panel.predictions[row])
            right = guess == label
            sign, side = ("✓", "right") if right else ("✗", "wrong")
            words = f"{sign} {literal(class_name(guess, classes))} ({side})"
            axes[row][column].set_xlabel(
                "\n".join(textwrap.wrap(words, 22)),
                fontsize=8.5,
                color=RIGHT if right else WRONG,
            )
    titles = [["test image"], *(wrapped(panel.title) for panel in grid.panels)]
    for column, lines in enumerate(titles):
        axes[0][column].set_title("\n".join(literal(line) for line in lines), fontsize=9, color=INK)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor=GROUND)
    return path


def wrapped(title: str) -> list[str]:
    """Return a title in lines that fit its column."""
    return textwrap.wrap(title, 22) or [""]


def literal(text: str) -> str:
    """Return text in which no dollar sign begins a formula."""
    return text.replace("$", r"\$")


def class_name(index: int, classes: Sequence[str]) -> str:
    """Return the name of a class, or its number."""
    return classes[index] if 0 <= index < len(classes) else f"class {index}"


def grey_or_rgb(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return an image ``(channels, S, S)`` as RGB in 0-1, ``(S, S, 3)``."""
    picture = np.moveaxis(np.asarray(image, dtype=np.float64) / 255.0, 0, -1)
    return np.repeat(picture[..., :1], 3, axis=-1) if picture.shape[-1] != 3 else picture


def show(axes: Axes, picture: NDArray[np.float64], heat: NDArray[np.float32] | None) -> None:
    """Show a picture, under a heat map where there is one.

    The map's weight grows with its value, so that what the network ignored stays the plain face.
    """
    import matplotlib

    shown = picture
    if heat is not None:
        values = np.clip(np.nan_to_num(np.asarray(heat, dtype=np.float64)), 0.0, 1.0)
        colours = matplotlib.colormaps["inferno"](0.25 + 0.7 * values)[..., :3]
        weight = OVERLAY * (0.25 + 0.75 * values)[..., None]
        grey = picture.mean(axis=-1, keepdims=True)
        shown = (1 - weight) * grey + weight * colours
    axes.imshow(np.clip(shown, 0.0, 1.0), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#aab3bd")
