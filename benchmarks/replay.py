"""Seconds per epoch of a student: (a) without a teacher, (b) with replay, (c) teacher online.

The three are trained for one epoch in turn, round after round, so that whatever else the machine
does meets all alike; the figures are the medians of the rounds' ratios.

    python benchmarks/replay.py --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from fersearch.data import load_data
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy, Views
from fersearch.distill import (
    Execution,
    LossSettings,
    OnlineTeacher,
    ReplayedTeacher,
    TrainJob,
    build_model,
    compute_soft_labels,
    make_recipe,
)
from fersearch.distill.precision import uses_bfloat16
from fersearch.distill.run import TrainingRun


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="synthetic:train=1920,val=64,test=64")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--autocast", choices=["auto", "never"], default="auto")
    given = parser.parse_args()
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
        views = Views(
            data.train.images, preprocessing=job.preprocessing, policy=job.policy, seed=job.seed
        )
        labels = Path(folder) / "labels"
        start = time.perf_counter()
        compute_soft_labels(
            labels, load_teacher=lambda: teacher, views=views, epochs=1, execution=execution
        )
        once = time.perf_counter() - start
        loss = LossSettings(temperature=4.0, alpha=0.5)
        taught = TrainJob(**{**{f: getattr(job, f) for f in job.__slots__}, "loss": loss})
        runs = {
            "a": TrainingRun(job, data, execution=execution, teacher=None, companion=None),
            "b": TrainingRun(
                taught, data, execution=execution, teacher=ReplayedTeacher(labels), companion=None
            ),
            "c": TrainingRun(
                taught,
                data,
                execution=execution,
                teacher=OnlineTeacher(teacher, execution),
                companion=None,
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(given.rounds + 1):
            for name, run in runs.items():
                start = time.perf_counter()
                run.train_epoch(0)
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - start)
    print(f"{given.data}, batch {given.batch_size}, {given.threads} threads, ", end="")
    print("teacher in", "bfloat16" if uses_bfloat16(teacher, execution) else "float32")
    names = {"a": "no teacher", "b": "replayed soft labels", "c": "teacher online"}
    for name, values in seconds.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"({name}) {names[name]:<22} {middle:6.2f} s per epoch ({low:.2f}-{high:.2f})")
    print(f"    soft labels of the epoch, once {once:.2f} s")
    for over, under in (("b", "a"), ("c", "b"), ("c", "a")):
        ratios = [x / y for x, y in zip(seconds[over], seconds[under], strict=True)]
        print(f"({over})/({under}) = {statistics.median(ratios):.2f} (", end="")
        print(f"{min(ratios):.2f}-{max(ratios):.2f})")


if __name__ == "__main__":
    main()
