"""Finds what users write beside the engine: shipped studies, baselines and reports, and plug-ins.

``studies/``, ``baselines/`` and ``reports/`` stand beside the package in a checkout and inside it
once installed. A plug-in is a Python file that registers models when it is imported: a user's own
file, or an installed distribution's entry point in the group ``fersearch.plugins``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal

from fersearch.errors import FersearchError, InputError, suggestion

__all__ = [
    "ENTRY_POINT_GROUP",
    "Kind",
    "list_shipped",
    "load_installed_plugins",
    "load_plugin",
    "plugin_files",
    "shipped",
]

Kind = Literal["studies", "baselines", "reports"]

ENTRY_POINT_GROUP = "fersearch.plugins"
MODULE_PREFIX = "fersearch_plugin_"


def _folder(kind: Kind) -> Path:
    package = Path(__file__).resolve().parent
    inside = package / kind
    # Inside first: site-packages may hold another distribution's folder of the same name.
    return inside if inside.is_dir() else package.parent / kind


def list_shipped(kind: Kind, suffix: str) -> list[str]:
    """Return the names of the shipped files of a kind that end in ``suffix``, without it, sorted.

    Files whose names begin with a dot or an underscore are not meant to be named by users.

    >>> "distill" in list_shipped("studies", ".toml")
    True
    """
    return sorted(
        path.name.removesuffix(suffix)
        for path in _folder(kind).glob(f"*{suffix}")
        if not path.name.startswith((".", "_"))
    )


def shipped(kind: Kind, name: str) -> Path:
    """Return the path of a shipped file, such as ``shipped("studies", "distill.toml")``.

    Raises:
        InputError: There is no such file; the hint names near ones.
    """
    path = _folder(kind) / name
    if path.is_file() and Path(name).name == name:
        return path
    known = list_shipped(kind, Path(name).suffix)
    raise InputError(
        f"there is no {name} among the shipped {kind}", suggestion(Path(name).stem, known)
    )


def load_plugin(path: str | Path) -> ModuleType:
    """Import a user's own Python file, which registers its models as it runs.

    The module gets a name of its own, made of the file's path and content, so files of one name
    stand side by side; loading an unchanged file again returns the module that is there.

    Args:
        path: A ``.py`` file.

    Raises:
        InputError: The file is missing, is no Python, or fails while it runs; the message holds
            the line.
    """
    file = Path(path).resolve()
    if file.suffix != ".py":
        raise InputError(f"the plug-in {path} is not a .py file", "name a Python file")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the plug-in {path}: {error.strerror}", "name a Python file"
        ) from error
    key = hashlib.sha256(str(file).encode() + b"\0" + content).hexdigest()[:12]
    name = f"{MODULE_PREFIX}{file.stem}_{key}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:  # pragma: no cover - a .py file always has a loader
        raise InputError(f"cannot import the plug-in {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception) or isinstance(error, FersearchError):
            raise
        raise InputError(
            f"the plug-in {path} fails at line {_line(error, file)}:"
            f" {type(error).__name__}: {error}",
            "mend the file, or run it with python to see the whole traceback",
        ) from error
    return module


def plugin_files() -> set[Path]:
    """Return the files of the plug-ins that are loaded."""
    files = (
        getattr(module, "__file__", None)
        for name, module in sys.modules.items()
        if name.startswith(MODULE_PREFIX)
    )
    return {Path(file).resolve() for file in files if file}


def _line(error: Exception, file: Path) -> int | str:
    """Return the line of ``file`` that an error came through last."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno or "?"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return lines[-1] if lines and lines[-1] is not None else "?"


def load_installed_plugins() -> dict[str, object]:
    """Load the plug-ins of installed distributions, by the name of their entry point, sorted.

    Raises:
        FersearchError: A plug-in cannot be imported; the message names its distribution.
    """
    loaded: dict[str, object] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        try:
            loaded[point.name] = point.load()
        except Exception as error:
            owner = point.dist.name if point.dist else "an unknown distribution"
            raise FersearchError(
                f"the plug-in {point.name} of {owner} cannot be loaded:"
                f" {type(error).__name__}: {error}",
                f"mend or uninstall {owner}",
            ) from error
    return loaded
