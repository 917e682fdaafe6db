"""Milliseconds that MLflow tracking costs per run: python -m benchmarks tracking [--runs 100].

Each run has 10 epochs of 7 figures, the searched parameters and an environment, as a default trial
has. ``written`` is the wall-clock time until the runs are in the store, per run; ``caller`` is the
time that the caller of ``log`` waits; ``again`` is that of finding a run already there.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Recorder, add_common
from fersearch.environment import describe_environment
from fersearch.records import EpochRecord, RunRecord
from fersearch.track import Tracker

TRIAL_SECONDS = 8.0


def example(number: int, environment: dict[str, str | int | float | bool | None]) -> RunRecord:
    """Return a record of the size of a default trial's."""
    epochs = tuple(
        EpochRecord(
            epoch=epoch,
            learning_rate=0.05,
            train_loss=1.0,
            train_accuracy=0.5,
            val_loss=1.0,
            val_accuracy=0.5 + number / 1000,
            val_macro_f1=0.5,
            images=4000,
            seconds=0.8,
        )
        for epoch in range(10)
    )
    return RunRecord(
        run_id=f"trial-{number:04d}",
        study="benchmark",
        role="trial",
        state="complete",
        model="shufflenet_v2_x1_0",
        parameters={
            "temperature": 6.0,
            "alpha": 0.4,
            "ffe_splits": 4,
            "learning_rate": 0.01,
            "epochs": 10,
            "batch_size": 32,
        },
        seed=0,
        protocol_hash="0" * 16,
        data_sha256="0" * 64,
        best_epoch=9,
        metrics={"val_accuracy": 0.7, "val_macro_f1": 0.65},
        epochs=epochs,
        seconds=TRIAL_SECONDS,
        started="2026-01-01T00:00:00+00:00",
        environment=environment,
    )


@dataclass(frozen=True, slots=True)
class Cost:
    """What tracking some runs took: seconds to open the store, then milliseconds a run."""

    opened: float
    caller: float
    written: float
    processor: float
    again: float


def write_runs(runs: int, folder: Path, tracking_uri: str | None = None) -> Cost:
    """Write ``runs`` runs to a store, by default a new one in ``folder``."""
    environment = describe_environment("cpu", 1)
    records = [example(number, environment) for number in range(runs)]
    opened = time.perf_counter()
    tracker = Tracker.open(workspace=folder, tracking_uri=tracking_uri, experiment="benchmark")
    started = time.perf_counter()
    tracker.start_study("benchmark", protocol={"data": "synthetic", "epochs": 10})
    tracker.flush()
    first = time.perf_counter()
    for record in records:
        tracker.log(record)
    handed = time.perf_counter()
    processor = time.process_time()
    assert tracker.flush(), tracker.warnings
    written = time.perf_counter()
    processor = time.process_time() - processor
    tracker.sync(records)
    assert tracker.flush(), tracker.warnings
    again = time.perf_counter()
    tracker.close()
    per_run = 1000 / runs
    return Cost(
        opened=started - opened,
        caller=(handed - first) * per_run,
        written=(written - first) * per_run,
        processor=processor * per_run,
        again=(again - written) * per_run,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="tracking", description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--tracking-uri", default=None)
    add_common(parser, rounds=1)
    given = parser.parse_args(arguments)
    record = Recorder("tracking", given)
    costs = []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            costs.append(write_runs(given.runs, Path(folder), given.tracking_uri))
    record.add("open, import and new store", [cost.opened for cost in costs], "s, once")
    record.add("caller of log", [cost.caller for cost in costs], "ms a run")
    record.add("written", [cost.written for cost in costs], "ms a run")
    record.add("processor time", [cost.processor for cost in costs], "ms a run")
    record.add("again (already there)", [cost.again for cost in costs], "ms a run")
    share = statistics.median(cost.written for cost in costs) / 1000 / TRIAL_SECONDS
    record.figures["share_of_a_trial"] = share
    record.say(f"  share of a trial of {TRIAL_SECONDS:.0f} s: {share:.2%}")
    record.finish()


if __name__ == "__main__":
    main()
