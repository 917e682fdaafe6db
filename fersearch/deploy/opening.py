"""Which model a user means: a study's name, a saved network's folder, an ONNX file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from fersearch.deploy.extra import missing, require_torch
from fersearch.deploy.model_info import Predictor
from fersearch.deploy.onnx_model import OnnxPredictor
from fersearch.environment import default_workspace
from fersearch.errors import InputError, suggestion

__all__ = ["Location", "export_record", "find_model", "model_name", "open_model"]

BUNDLE_CONFIG = "config.json"
BUNDLE_WEIGHTS = "model.safetensors"
STUDIES = "studies"
STUDY_MODEL = "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a model lies.

    Attributes:
        name: What to call it: the study's name, or the file's or the folder's.
        bundle: Folder of the saved network; None for an ONNX file.
        onnx: The ONNX file; for a bundle the one that would be exported from it, which need not be
            there.
        study: Folder of the study that the model was named by; None for paths.
    """

    name: str
    bundle: Path | None
    onnx: Path
    study: Path | None = None


def export_record(onnx: Path) -> Path:
    """Return where the measurements of an export lie: ``model.export.json`` for ``model.onnx``."""
    return onnx.with_suffix(".export.json")


def model_name(bundle: Path) -> str:
    """Return what to call a saved network: its folder's name, or the study's that it lies in."""
    whole = bundle.resolve()
    return whole.parent.name if whole.name == STUDY_MODEL else whole.name


def find_model(model: str | Path, *, workspace: str | Path | None = None) -> Location:
    """Find the model that a user names.

    Args:
        model: An ``.onnx`` file, a saved network's folder or the ``model.safetensors`` in it, or
            the name of a study in the workspace.
        workspace: See :func:`fersearch.environment.default_workspace`.

    Raises:
        InputError: There is no such model.
    """
    path = Path(model).expanduser()
    if path.is_file():
        return _of_file(path)
    if (path / BUNDLE_CONFIG).is_file():
        whole = path.resolve()
        onnx = whole.with_name(f"{whole.name}.onnx")
        return Location(name=model_name(path), bundle=path, onnx=onnx)
    studies = default_workspace(workspace) / STUDIES
    # A path is not the name of a study, and may lead out of the workspace.
    study = studies / str(model) if re.fullmatch(r"[A-Za-z0-9][\w.-]*", str(model)) else None
    if study is not None and study.is_dir():
        bundle, onnx = study / STUDY_MODEL, study / f"{STUDY_MODEL}.onnx"
        if not bundle.is_dir() and not onnx.is_file():
            raise InputError(
                f"the study {model} in {studies.parent} has no model yet",
                "finish it: fersearch study NAME",
            )
        return Location(
            name=str(model), bundle=bundle if bundle.is_dir() else None, onnx=onnx, study=study
        )
    if path.is_dir():
        raise InputError(
            f"{path} is not a saved model: it has no {BUNDLE_CONFIG}", "give a saved model's folder"
        )
    known = [item.parent.name for item in studies.glob(f"*/{STUDY_MODEL}")]
    raise InputError(
        f"there is no file, folder or study {model}",
        (suggestion(str(model), sorted(known)) if known else "")
        or f"give an .onnx file, a saved model's folder, or the name of a study in {studies}",
    )


def open_model(
    model: str | Path, *, workspace: str | Path | None = None, threads: int = 1, title: str = ""
) -> Predictor:
    """Open a model to classify images with.

    For a study it is the file that its last export recommends, as long as ONNX Runtime is installed
    and the file was made from the study's present network; else that network, through PyTorch.

    Args:
        model: See :func:`find_model`.
        workspace: See :func:`fersearch.environment.default_workspace`.
        threads: CPU threads of ONNX Runtime; PyTorch keeps its own setting.
        title: What to call the model; by default the study's name or the file's.

    Raises:
        InputError: There is no such model, it is damaged, or what runs it is not installed.
    """
    location = find_model(model, workspace=workspace)
    if location.bundle is None and location.study is None:
        return OnnxPredictor(location.onnx, threads=threads, title=title)  # else as the file says
    title = title or location.name
    if location.study is not None:
        exported = _exported(location, threads=threads, title=title)
        if exported is not None:
            return exported
    if location.bundle is None:
        return OnnxPredictor(location.onnx, threads=threads, title=title)
    require_torch(str(location.bundle))
    from fersearch.deploy.torch_model import TorchPredictor
    from fersearch.plugins import load_installed_plugins

    load_installed_plugins()
    return TorchPredictor(location.bundle, title=title)


def _of_file(path: Path) -> Location:
    """Return the model that a file stands for."""
    if path.suffix.casefold() == ".onnx":
        return Location(name=path.stem, bundle=None, onnx=path)
    if path.name in {BUNDLE_WEIGHTS, BUNDLE_CONFIG} and (path.parent / BUNDLE_CONFIG).is_file():
        return find_model(path.resolve().parent)
    raise InputError(
        f"{path} is not a model",
        f"give an .onnx file, or a saved model's folder ({BUNDLE_WEIGHTS} and {BUNDLE_CONFIG})",
    )


def _exported(location: Location, *, threads: int, title: str) -> OnnxPredictor | None:
    """Open the file to use of a study's last export; None when there is none that fits."""
    file = _recommended(location.onnx)
    if file is None or not file.is_file() or missing("onnxruntime"):
        return None
    predictor = OnnxPredictor(file, threads=threads, title=title)
    if location.bundle is None:
        return predictor
    # A study that went on has another network by now.
    made_from = predictor.properties.get("weights_sha256")
    return predictor if made_from == _digest(location.bundle) else None


def _recommended(onnx: Path) -> Path | None:
    """Return the file that ``model.export.json`` recommends; the float32 one where it is gone."""
    record = export_record(onnx)
    if not record.is_file():
        return onnx
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return record.parent / Path(str(content["recommended"])).name
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"cannot read {record}: {error!r}", "export the model again: fersearch export NAME"
        ) from error


def _digest(bundle: Path) -> str:
    """Return the digest of the weights that a bundle's config names; empty when it does not."""
    try:
        content = json.loads((bundle / BUNDLE_CONFIG).read_text(encoding="utf-8"))
        return str(content["weights_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
