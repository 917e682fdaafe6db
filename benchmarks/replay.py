"""Seconds per epoch of a student: (a) without a teacher, (b) with replay, (c) teacher online.

The three are trained for one epoch in turn, round after round, so that whatever else the machine
does meets all alike; the figures are the medians of the rounds' ratios.

    python -m benchmarks replay --rounds 5
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.harness import Recorder, add_common, interleaved
from benchmarks.loops import replayed
from fersearch.data import load_data
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import (
    Execution,
    LossSettings,
    OnlineTeacher,
    TrainJob,
    build_model,
    make_recipe,
)
from fersearch.distill.precision import uses_bfloat16
from fersearch.distill.run import TrainingRun

NAMES = {
    "a": "(a) no teacher",
    "b": "(b) replayed soft labels",
    "c": "(c) teacher online",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="replay", description=__doc__)
    parser.add_argument("--data", default="synthetic:train=1920,val=64,test=64")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--autocast", choices=["auto", "never"], default="auto")
    add_common(parser)
    given = parser.parse_args(arguments)
    record = Recorder("replay", given)
    torch.set_num_threads(given.threads)
    execution = Execution(threads=given.threads, autocast=given.autocast)
    with tempfile.TemporaryDirectory() as folder:
        data = load_data(given.data, cache=Path(folder))
        job = TrainJob(
            data_sha256=data.info.sha256,
            model="shufflenet_v2_x1_0",
            recipe=make_recipe(
                "default", epochs=1, batch_size=given.batch_size, learning_rate=0.01
            ),
            policy=ViewPolicy(),
            preprocessing=Preprocessing.of_training_images(data.train.images),
            seed=0,
        )
        options = {"model": "eff_resnet18", "model_options": {"ffe_splits": 4}}
        teacher_job = TrainJob(**{**{f: getattr(job, f) for f in job.__slots__}, **options})
        teacher = build_model(teacher_job, len(data.info.classes)).eval()
        start = time.perf_counter()
        signal = replayed(Path(folder) / "labels", job, data, teacher, execution=execution)
        once = time.perf_counter() - start
        loss = LossSettings(temperature=4.0, alpha=0.5)
        taught = TrainJob(**{**{f: getattr(job, f) for f in job.__slots__}, "loss": loss})
        runs = {
            "a": TrainingRun(job, data, execution=execution, teacher=None, companion=None),
            "b": TrainingRun(taught, data, execution=execution, teacher=signal, companion=None),
            "c": TrainingRun(
                taught,
                data,
                execution=execution,
                teacher=OnlineTeacher(teacher, execution),
                companion=None,
            ),
        }
        found = interleaved(
            {NAMES[name]: epoch_of(run) for name, run in runs.items()}, rounds=given.rounds
        )
    precision = "bfloat16" if uses_bfloat16(teacher, execution) else "float32"
    record.say(
        f"{given.data}, batch {given.batch_size}, {given.threads} threads, teacher in {precision}"
    )
    for name, values in found.items():
        record.add(name, values, "s an epoch")
    record.figures["soft_labels_of_an_epoch_seconds"] = once
    record.say(f"  soft labels of the epoch, once {once:.2f} s")
    for over, under in (("b", "a"), ("c", "b"), ("c", "a")):
        record.compare(NAMES[over], NAMES[under], label=f"({over})/({under})")
    record.finish()


def epoch_of(run: TrainingRun) -> Callable[[], None]:
    """Return a task that trains the run's first epoch."""

    def task() -> None:
        run.train_epoch(0)

    return task


if __name__ == "__main__":
    main()
