"""Who may import whom: imports go downward only, and heavy packages load when they are needed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fersearch"

# From the top down; a room imports itself and what stands below it. Rooms in one row may not
# import each other.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"api", "doctor"},
    {"report", "demo"},
    {"search"},
    {"track"},
    {"distill"},
    {"deploy"},
    {"models"},
    {"data"},
    {"stats", "align"},
    {"spec"},
    {"plugins"},
    {"environment"},
    {"evaluations"},
    {"records"},
    {"files", "seeds"},
    {"errors"},
]
RANK = {room: rank for rank, row in enumerate(LAYERS) for room in row}

ONLY_IN = {"optuna": "search", "mlflow": "track", "onnxruntime": "deploy", "cv2": "align"}
HEAVY = {
    "cv2",
    "fvcore",
    "matplotlib",
    "mlflow",
    "numpy",
    "onnx",
    "onnxruntime",
    "optuna",
    "pandas",
    "scipy",
    "sklearn",
    "timm",
    "torch",
    "torchvision",
}

# The gate itself is above every room: it names them all, and loads each when it is asked for.
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def name_of(path: Path) -> str:
    """Return a path of the package as it is shown in a test's name."""
    return path.relative_to(PACKAGE).as_posix()


def room_of(module: str) -> str:
    """Return the room of a dotted module name below ``fersearch``."""
    return module.split(".")[1]


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the dotted name and the line of every import in a file, those in functions too."""
    package = ["fersearch", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "fersearch":
                yield from ((f"fersearch.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield module, node.lineno


def test_the_package_is_there() -> None:
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_downward_only(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert room in RANK, f"give {room} a place in LAYERS"
    for module, line in imported(path):
        if not module.startswith("fersearch."):
            continue
        other = room_of(module)
        # A name that is no room is one that the gate offers, from as high up as the API.
        rank = RANK.get(other, RANK["api"])
        assert other == room or rank > RANK[room], f"{path}:{line} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_one_room_alone_knows_each_library_with_a_room_of_its_own(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    for module, line in imported(path):
        owner = ONLY_IN.get(module.partition(".")[0], room)
        assert owner == room, f"{path}:{line} imports {module}"


def loaded_by(code: str) -> set[str]:
    """Return the heavy packages that a fresh interpreter has loaded after ``code``."""
    report = "import json, sys; print(json.dumps([name for name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return HEAVY & {str(name) for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "module",
    ["fersearch", "fersearch.spec", "fersearch.plugins", "fersearch.records", "fersearch.files"],
)
def test_light_modules_load_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") == set()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["study", "--help"], ["study", "distill", "--help"]]
)
def test_the_command_line_loads_nothing_heavy_to_answer(arguments: list[str]) -> None:
    code = f"""
from fersearch.cli.main import cli
try:
    cli({arguments!r}, prog_name="fersearch")
except SystemExit as done:
    assert not done.code, done.code
"""
    assert loaded_by(code) == set()


@pytest.mark.parametrize(
    "path", [path for path in MODULES if name_of(path).startswith("cli/")], ids=name_of
)
def test_no_verb_loads_anything_heavy_before_it_runs(path: Path) -> None:
    module = name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert loaded_by(f"import fersearch.{module}") == set()
