"""Milliseconds that MLflow tracking costs per run: python benchmarks/tracking.py [--runs 100].

Each run has 10 epochs of 7 figures, the searched parameters and an environment, as a default trial
has. ``written`` is the wall-clock time until the runs are in the store, per run; ``caller`` is the
time that the caller of ``log`` waits; ``again`` is that of finding a run already there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--tracking-uri", default=None)
    options = parser.parse_args()
    environment = describe_environment("cpu", 1)
    records = [example(number, environment) for number in range(options.runs)]
    with tempfile.TemporaryDirectory() as folder:
        opened = time.perf_counter()
        tracker = Tracker.open(
            workspace=Path(folder), tracking_uri=options.tracking_uri, experiment="benchmark"
        )
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
    per_run = 1000 / options.runs
    print(f"open, import and new store  {started - opened:8.2f} s, once")
    print(f"caller of log               {(handed - first) * per_run:8.2f} ms per run")
    print(f"written                     {(written - first) * per_run:8.2f} ms per run")
    print(f"processor time              {processor * per_run:8.2f} ms per run")
    print(f"again (already there)       {(again - written) * per_run:8.2f} ms per run")
    share = (written - first) / options.runs / TRIAL_SECONDS
    print(f"share of a trial of {TRIAL_SECONDS:.0f} s    {share:8.2%}")


if __name__ == "__main__":
    main()
