"""A trained network leaves the laboratory: exported, opened again, asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fersearch.api.inputs import default_workspace, load_data
from fersearch.api.setup import load_plugins
from fersearch.data import Dataset
from fersearch.deploy.export import export_bundle
from fersearch.deploy.exported import ExportReport
from fersearch.deploy.extra import require
from fersearch.deploy.opening import Location, find_model, open_model
from fersearch.deploy.predicting import predict
from fersearch.errors import FersearchError, InputError
from fersearch.models import load_bundle

__all__ = ["export", "open_model", "predict"]

RESULT_FILE = "result.json"


def export(
    model: str | Path,
    *,
    int8: bool = False,
    out: str | Path | None = None,
    data: str | None = None,
    workspace: str | Path | None = None,
    plugins: Sequence[str | Path] = (),
    progress: Callable[[int, int], None] | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> ExportReport:
    """Write a trained network as ONNX files, measured on the validation split.

    See :func:`fersearch.deploy.export.export_bundle` for what is compared.

    Args:
        model: Name of a study in the workspace, or a saved network's folder.
        int8: Write an 8-bit copy too; its accuracy is measured.
        out: The float32 file; by default ``model.onnx`` beside the network's folder.
        data: What the network was trained on. A study knows that itself; without, a folder's
            network is compared on random images, and cannot be written in 8 bits.
        workspace: See :func:`fersearch.api.default_workspace`.
        plugins: Python files that register the network's model.
        progress: Called with (images decoded, images in all) while data are decoded.
        tell: Told what is being done.

    Raises:
        InputError: There is no such network or no such data, they do not fit each other, the
            network cannot be exported, or the extra ``export`` is not installed.
        FersearchError: The ONNX file does not do what the network does.
    """
    require()
    location = find_model(model, workspace=workspace)
    if location.bundle is None:
        raise InputError(
            f"{location.onnx} is an ONNX file already", "give a study's name or a network's folder"
        )
    load_plugins(plugins)
    trained_on, dataset = "", None
    if location.study is not None:
        protocol = _protocol(location.study)
        trained_on = str(protocol.get("data_sha256", ""))
        if data is None:
            dataset = _data_of(location, protocol, workspace=workspace, progress=progress)
    if data is not None:
        _, config = load_bundle(location.bundle)
        dataset = load_data(
            data, image_size=config.image_size, workspace=workspace, progress=progress
        )
    return export_bundle(
        location.bundle,
        out=location.onnx if out is None else Path(out).expanduser(),
        int8=int8,
        dataset=dataset,
        trained_on=trained_on,
        title=location.name,
        tell=tell,
    )


def _protocol(study: Path) -> dict[str, Any]:
    """Return what a finished study says of its data; empty when it says nothing."""
    path = study / RESULT_FILE
    if not path.is_file():
        return {}
    try:
        protocol = json.loads(path.read_text(encoding="utf-8"))["protocol"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FersearchError(f"{path} cannot be read: {error!r}", "run the study again") from error
    return dict(protocol)


def _data_of(
    location: Location,
    protocol: dict[str, Any],
    *,
    workspace: str | Path | None,
    progress: Callable[[int, int], None] | None,
) -> Dataset:
    """Open the data that a study was trained on: from the workspace's store, else by their name."""
    hint = "give them with --data DATA; of the folder itself a float32 file is written without data"
    sha256 = protocol.get("data_sha256", "")
    for info in sorted((default_workspace(workspace) / "cache" / "data").glob("*/info.json")):
        try:
            dataset = Dataset.open(info.parent)
        except FersearchError:  # a damaged one is decoded anew below
            continue
        if dataset.info.sha256 == sha256:
            return dataset
    if "data" not in protocol:
        raise InputError(f"the study {location.name} does not say what it was trained on", hint)
    try:
        return load_data(
            str(protocol["data"]),
            image_size=protocol.get("image_size"),
            workspace=workspace,
            progress=progress,
        )
    except InputError as error:
        raise InputError(
            f"the data of the study {location.name} are not there any more: {error.message}", hint
        ) from error
