"""Weights that users bring: checkpoints with other wrappers, prefixes and classifiers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from fersearch.errors import InputError

__all__ = ["LoadReport", "load_weights", "read_weights"]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
_PREFIXES = ("module.", "model.", "_orig_mod.")
_NOT_LEARNED = ".num_batches_tracked"


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Which tensors of a checkpoint a model took.

    Attributes:
        source: The checkpoint's path.
        taken: Names in the model that got the checkpoint's values.
        missing: Names in the model that the checkpoint does not have.
        mismatched: Names in both whose shapes differ; the model keeps its own values.
        unexpected: Names in the checkpoint that the model does not have.
    """

    source: str
    taken: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def summary(self) -> str:
        """What happened, in one line.

        >>> LoadReport("t.pth", ("a", "b"), (), ("fc.weight",), ()).summary
        't.pth: took 2 of 3 tensors; 1 of another shape (fc.weight)'
        """
        total = len(self.taken) + len(self.missing) + len(self.mismatched)
        parts = [f"{self.source}: took {len(self.taken)} of {total} tensors"]
        parts += [
            f"{len(names)} {what} ({_some(names)})"
            for what, names in (
                ("of another shape", self.mismatched),
                ("not in the file", self.missing),
                ("unknown to the model", self.unexpected),
            )
            if names
        ]
        return "; ".join(parts)


def _some(names: tuple[str, ...], limit: int = 3) -> str:
    """Return the first names, and how many more there are."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")


def load_weights(model: nn.Module, path: Path) -> LoadReport:
    """Copy the tensors of a checkpoint into ``model`` wherever name and shape agree.

    Wrappers around the state dict (``state_dict``, ``model``, ...) and prefixes of the names
    (``module.``, ``model.``, ``_orig_mod.``) are taken off. A classifier for other classes is
    left as it was, like every tensor of another shape.

    Args:
        model: The model; it is changed only when the call succeeds.
        path: A safetensors file, or a torch checkpoint that loads with ``weights_only=True``.

    Raises:
        InputError: The file is missing, empty, not a checkpoint, or fits the model nowhere.
    """
    weights = read_weights(path)
    own = model.state_dict()
    found: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for name, tensor in weights.items():
        target = _name_in_model(name, own)
        if target is None or target in found:
            unexpected.append(name)
        else:
            found[target] = tensor
    taken = {name: found[name] for name in own if name in found and _same_shape(found, own, name)}
    mismatched = tuple(name for name in own if name in found and name not in taken)
    if not any(not name.endswith(_NOT_LEARNED) for name in taken):
        raise InputError(
            f"no tensor of {path} fits the model: the file has {_some(tuple(weights))}, "
            f"the model {_some(tuple(own))}",
            "give the weights of this architecture",
        )
    model.load_state_dict(taken, strict=False)
    return LoadReport(
        source=str(path),
        taken=tuple(taken),
        missing=tuple(name for name in own if name not in found),
        mismatched=mismatched,
        unexpected=tuple(unexpected),
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a checkpoint file, on the CPU, names as they are in the file.

    Raises:
        InputError: The file is missing, empty, or not a checkpoint.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"the weights file {path} {what}", "give a .safetensors or .pth file")
    if path.stat().st_size == 0:
        raise InputError(f"the weights file {path} is empty", "save or download it again")
    content = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)
    weights = _tensors_of(content)
    if not weights:
        raise InputError(
            f"{path} is not a checkpoint: it holds no named tensors",
            "save model.state_dict() with torch.save or safetensors",
        )
    return weights


def _is_safetensors(path: Path) -> bool:
    """Tell by the name, or by the start: eight bytes of length, then a JSON object."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        return file.read(10)[8:10] == b'{"'


def _read_safetensors(path: Path) -> object:
    """Read a safetensors file."""
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a safetensors file: {error}", "save or download it again"
        ) from error


def _read_torch(path: Path) -> object:
    """Read a torch checkpoint without running any code that it may carry."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd about the file is told below, once
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Unpickling bytes that are not a pickle can raise nearly anything.
        raise InputError(
            f"{path} is not a checkpoint of plain tensors ({type(error).__name__})",
            "save model.state_dict() with torch.save or safetensors",
        ) from error


def _tensors_of(content: object) -> dict[str, Tensor]:
    """Return the named tensors in a checkpoint, from below its wrappers."""
    if not isinstance(content, Mapping):
        return {}
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            inner = _tensors_of(content[wrapper])
            if inner:
                return inner
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _name_in_model(name: str, own: Mapping[str, Tensor]) -> str | None:
    """Return the model's name for a checkpoint's tensor: the name without some prefixes."""
    while name not in own:
        prefix = next((item for item in _PREFIXES if name.startswith(item)), None)
        if prefix is None:
            return None
        name = name.removeprefix(prefix)
    return name


def _same_shape(found: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str) -> bool:
    """Return whether the checkpoint's and the model's tensor of this name have one shape."""
    return found[name].shape == own[name].shape
