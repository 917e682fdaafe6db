"""What several rooms' tests share: tiny drawn faces, tiny networks, a tiny study."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Their networks are registered when a test loads them, not when doctests are looked for.
collect_ignore = ["plugins"]

# Several processes test at once: one thread each, set before any of them imports PyTorch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
TINY_PLUGIN = ROOT / "tests" / "plugins" / "tiny_models.py"
TINY_DATA = "synthetic:train=96,val=32,test=40,image_size=16,difficulty=easy"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no process is left with them in the end.

    Lines are counted in the quick tests alone: counting them doubles the time of the slow ones.
    """
    slow = [item for item in items if item.get_closest_marker("slow")]
    for item in slow:
        item.add_marker("no_cover")
    files = {item.path for item in slow}
    items.sort(key=lambda item: item.path not in files)


@pytest.fixture(autouse=True)
def _uncounted(request, monkeypatch):
    """Keep the processes that slow tests start from counting lines."""
    if request.node.get_closest_marker("slow"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(scope="session")
def tiny_plugin() -> Path:
    """Register the tiny networks and return the plug-in's path."""
    from fersearch.plugins import load_plugin

    load_plugin(TINY_PLUGIN)
    return TINY_PLUGIN


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_data(tiny_cache):
    """Return 96 / 32 / 40 drawn faces of 16 px."""
    from fersearch.data import load_data

    return load_data(TINY_DATA, cache=tiny_cache)


@pytest.fixture
def tiny_study_file(tmp_path) -> Path:
    """Write a study of tiny networks that takes a second."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_STUDY, encoding="utf-8")
    return path


TINY_STUDY = """
name = "tiny"
objective = "fersearch.search.objectives:distillation"

[budget]
trials = 6
epochs = 3
batch_size = 16
teacher_epochs = 2
seeds = 2
confirm_top = 2

[training]
student = "tiny_student"
dropout = 0.2

[teacher]
model = "tiny_teacher"
learning_rate = 0.05

[space.temperature]
kind = "float"
low = 1.0
high = 16.0

[space.alpha]
kind = "float"
low = 0.05
high = 0.95

[space.ffe_splits]
kind = "categorical"
choices = [2, 4, 8]

[space.learning_rate]
kind = "float"
low = 1e-3
high = 0.3
log = true

[[enqueue]]
temperature = 8.0
alpha = 0.4
ffe_splits = 4
learning_rate = 0.01
"""
