"""One migrated tracking store for all tests of the room, copied for each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fersearch.records import EpochRecord, RunRecord
from fersearch.track import Tracker

Factory = Callable[..., RunRecord]


@pytest.fixture(autouse=True)
def no_tracking_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("template")
    Tracker.open(
        workspace=workspace, tracking_uri=f"sqlite:///{workspace}/mlflow.db", experiment="faces"
    ).close()
    return workspace / "mlflow.db"


@pytest.fixture
def workspace(tmp_path: Path, template: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    shutil.copy(template, folder / "mlflow.db")
    return folder


@pytest.fixture
def make_record() -> Factory:
    def make(number: int = 0, *, epochs: int = 3, **changes: object) -> RunRecord:
        history = tuple(
            EpochRecord(
                epoch=epoch,
                learning_rate=0.05,
                train_loss=1.5 - 0.1 * epoch,
                train_accuracy=0.4,
                val_loss=1.2,
                val_accuracy=0.5 + 0.1 * epoch,
                val_macro_f1=0.45,
                images=400,
                seconds=2.0,
            )
            for epoch in range(epochs)
        )
        settings: dict[str, object] = {
            "run_id": f"trial-{number:04d}",
            "study": "distill",
            "role": "trial",
            "state": "complete",
            "model": "shufflenet_v2_x1_0",
            "parameters": {"temperature": 6.0, "alpha": 0.4, "ffe_splits": 4},
            "seed": number,
            "protocol_hash": "abcd",
            "data_sha256": "f" * 64,
            "best_epoch": epochs - 1,
            "metrics": {"val_accuracy": 0.7},
            "epochs": history,
            "seconds": 6.0,
            "started": "2026-01-02T03:04:05+00:00",
            "environment": {"torch": "2.4.0", "device": "cpu"},
        }
        return RunRecord(**{**settings, **changes})  # type: ignore[arg-type]

    return make
