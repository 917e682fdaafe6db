"""What every sink of run records promises, whatever it does with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fersearch.records import RunRecord
from fersearch.track import NullTracker, Sink, Tracker

RECORD = RunRecord(
    run_id="trial-0000",
    study="distill",
    role="trial",
    state="complete",
    model="shufflenet_v2_x1_0",
    seed=0,
    protocol_hash="abcd",
    data_sha256="ff",
    metrics={"val_accuracy": 0.5},
)


def mlflow_tracker(folder: Path) -> Sink:
    return Tracker.open(workspace=folder, tracking_uri=f"sqlite:///{folder}/a.db", experiment="x")


def null_tracker(folder: Path) -> Sink:
    return NullTracker()


@pytest.fixture(scope="module", params=[mlflow_tracker, null_tracker])
def sink(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sink]:
    opener: Callable[[Path], Sink] = request.param
    with opener(tmp_path_factory.mktemp("sink")) as opened:
        yield opened


def test_a_study_goes_from_start_to_finish(sink: Sink, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("x", encoding="utf-8")
    sink.start_study("distill", protocol={"epochs": 1}, tags={"a": "b"}, identity="here")
    sink.log(RECORD)
    sink.log(RECORD, [note])
    sink.sync([RECORD])
    sink.finish_study({"accuracy": 0.5}, [note])
    assert sink.flush()
    assert sink.warnings == ()


def test_a_finished_study_may_be_taken_up_again(sink: Sink) -> None:
    sink.start_study("distill", protocol={"epochs": 1}, identity="here")
    sink.finish_study({}, state="interrupted")
    assert sink.flush(timeout=60)


def test_the_address_is_text_without_secrets(sink: Sink) -> None:
    assert isinstance(sink.uri, str)
    assert "@" not in sink.uri


def test_closing_twice_is_harmless(sink: Sink) -> None:
    sink.close()
    sink.close()
