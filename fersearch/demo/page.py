"""The page: what it says of the models, and the files that it is made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fersearch.align.faces import FaceFinder
from fersearch.demo.bench import MOST_FACES
from fersearch.demo.desk import MOST_BYTES
from fersearch.demo.pictures import MOST_PIXELS
from fersearch.deploy.model_info import ModelInfo
from fersearch.environment import installed_version
from fersearch.plugins import shipped

__all__ = ["ASSETS", "ShownModel", "asset", "page_html"]

TEMPLATE = "demo.html.jinja"
ASSETS = {
    "page.css": "text/css",
    "demo.css": "text/css",
    "demo.js": "text/javascript",
    "demo_ask.js": "text/javascript",
    "demo_camera.js": "text/javascript",
    "demo_draw.js": "text/javascript",
    "demo_faces.js": "text/javascript",
}
"""What the page loads, from ``reports/``, and the kind of each."""

MARKS = ("circle", "square")
RUNTIMES = {"onnxruntime": "ONNX Runtime", "pytorch": "PyTorch"}
# Figures of a bundle that a visitor understands, in this order.
METRICS = {
    "test_accuracy": "Accuracy on test images",
    "test_macro_f1": "Macro-F1 on test images",
    "val_accuracy": "Accuracy on validation images",
    "val_macro_f1": "Macro-F1 on validation images",
}
NOT_MEASURED = "not in its file"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownModel:
    """A model as the page speaks of it.

    Attributes:
        info: What it is.
        runtime: ``onnxruntime`` or ``pytorch``.
        has_cam: Whether it can show where it looks (Grad-CAM).
        threads: CPU threads that it runs on; 0 for unknown.
    """

    info: ModelInfo
    runtime: str
    has_cam: bool
    threads: int


def asset(name: str) -> tuple[str, str]:
    """Return the text of a file of :data:`ASSETS` and its media type."""
    return shipped("reports", name).read_text(encoding="utf-8"), ASSETS[name]


def page_html(
    models: Sequence[ShownModel], *, token: str, finder: FaceFinder | None, no_finder: str
) -> str:
    """Return the page; its style and scripts are files beside it, so that a strict policy holds.

    Args:
        models: One model or two.
        token: What the page sends along with every picture.
        finder: What finds faces; None where there is nothing.
        no_finder: Why there is no finder, and what to do about it.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(shipped("reports", TEMPLATE).read_text(encoding="utf-8"))
    titles = _titles(models)
    shown = [
        {
            "title": title,
            "mark": mark,
            "line": _line(model),
            "classes": model.info.classes,
            "cam": model.has_cam,
        }
        for model, title, mark in zip(models, titles, MARKS, strict=False)
    ]
    return template.render(
        made_with=f"fersearch {installed_version('fersearch') or ''}".strip(),
        token=token,
        models=shown,
        rows=_rows(models),
        finder="" if finder is None else finder.name,
        no_finder=no_finder,
        cam=any(model.has_cam for model in models),
        cam_note=_cam_note(models, titles),
        facts={
            "models": shown,
            "finder": finder is not None,
            "most_bytes": MOST_BYTES,
            "most_pixels": MOST_PIXELS,
            "most_faces": MOST_FACES,
        },
    )


def _titles(models: Sequence[ShownModel]) -> list[str]:
    """Return what to call each model; two of one title get what tells them apart.

    A cached teacher's folder has a digest for its name, which tells a visitor nothing.
    """
    titles = [
        model.info.model if re.fullmatch(r"[0-9a-f]{16,}|", model.info.title) else model.info.title
        for model in models
    ]
    if len(set(titles)) == len(titles):
        return titles
    for part in (
        [model.info.model for model in models],
        [model.info.precision for model in models],
        [RUNTIMES.get(model.runtime, model.runtime) for model in models],
    ):
        if len(set(part)) == len(part):
            return [f"{title} ({text})" for title, text in zip(titles, part, strict=True)]
    return [f"{title} ({number})" for number, title in enumerate(titles, start=1)]


def _line(model: ShownModel) -> str:
    """Return a model in half a line."""
    info = model.info
    parts = [info.model, f"{len(info.classes)} classes", _input(info), _runtime(model)]
    if "test_accuracy" in info.metrics:
        parts.append(f"{100 * info.metrics['test_accuracy']:.1f} % of its test images right")
    return ", ".join(parts)


def _input(info: ModelInfo) -> str:
    colour = "grey" if info.channels == 1 else "RGB"
    return f"{info.image_size} × {info.image_size} pixels, {colour}"  # noqa: RUF001 - the sign


def _runtime(model: ShownModel) -> str:
    return f"{RUNTIMES.get(model.runtime, model.runtime)} {model.info.precision}"


def _threads(model: ShownModel) -> str:
    if not model.threads:
        return ""
    return f", {model.threads} CPU thread{'' if model.threads == 1 else 's'}"


def _rows(models: Sequence[ShownModel]) -> list[tuple[str, list[str]]]:
    """Return the table of what each model is; rows that no model fills are left out."""
    rows = [
        ("Network", [model.info.model for model in models]),
        ("Classes", [", ".join(model.info.classes) for model in models]),
        ("Input", [_input(model.info) for model in models]),
        ("Runtime and precision", [_runtime(model) + _threads(model) for model in models]),
    ]
    for name, title in METRICS.items():
        values = [model.info.metrics.get(name) for model in models]
        if any(value is not None for value in values):
            shown = [NOT_MEASURED if value is None else f"{100 * value:.1f} %" for value in values]
            rows.append((title, shown))
    if not any(name in model.info.metrics for name in METRICS for model in models):
        rows.append(("Accuracy", [NOT_MEASURED for _ in models]))
    rows.append(("Protocol", [model.info.protocol_hash or NOT_MEASURED for model in models]))
    if any(model.info.licence for model in models):
        rows.append(("Licence", [model.info.licence or NOT_MEASURED for model in models]))
    return rows


def _cam_note(models: Sequence[ShownModel], titles: Sequence[str]) -> str:
    """Return why Grad-CAM is not there, or not for each model."""
    reasons = [
        f"{title} runs in {RUNTIMES.get(model.runtime, model.runtime)}, which has no gradients"
        if model.runtime != "pytorch"
        else f"{title} has no feature maps"
        for model, title in zip(models, titles, strict=True)
        if not model.has_cam
    ]
    return f"No Grad-CAM: {'; '.join(reasons)}." if reasons else ""
