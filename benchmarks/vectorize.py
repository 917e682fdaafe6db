"""Images x students per second: K students in one program against one after another.

For each K, a lone student and a stack of K are trained for one epoch in turn, round after round, so
that whatever else the machine does meets both alike; the figures are the medians of the rounds'
ratios. A ratio above 1 means that the stack is faster. On a GPU, K students side by side, each by
its own recorded steps, are measured, too. Validation is left out.

    python -m benchmarks.vectorize --image-size 48 --students 1 2 4 8 --device auto
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import CLOCKS, Recorder, add_common, interleaved
from fersearch.data import Dataset, load_data
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import Execution, LossSettings, ReplayedTeacher, TrainJob, make_recipe
from fersearch.distill.run import TrainingRun
from fersearch.distill.run_data import RunData
from fersearch.distill.side_by_side import train_side_by_side
from fersearch.distill.stacked_loss import StackedLoss
from fersearch.distill.stacked_students import StackedStudents
from fersearch.distill.trainer import training_context
from fersearch.environment import resolve_device

RATE = 0.01


def make_jobs(data: Dataset, model: str, batch_size: int, count: int) -> list[TrainJob]:
    """Return ``count`` jobs that differ in their loss settings."""
    job = TrainJob(
        data_sha256=data.info.sha256,
        model=model,
        recipe=make_recipe("default", epochs=1, batch_size=batch_size, learning_rate=RATE),
        policy=ViewPolicy(),
        preprocessing=Preprocessing.of_training_images(data.train.images),
        seed=0,
        teacher="random",
    )
    return [
        dataclasses.replace(job, loss=LossSettings(temperature=2.0 + number, alpha=0.5))
        for number in range(count)
    ]


def stack_epoch(runs: list[TrainingRun], teacher: ReplayedTeacher) -> Callable[[], None]:
    """Return a function that trains the students of ``runs`` together for one epoch."""
    students = StackedStudents(runs)
    device = students.weights.device
    loss = StackedLoss(
        [run.job for run in runs], [teacher] * len(runs), device=device, dtype=students.dtype
    )
    rates = torch.full((len(runs), 1), RATE, device=device)

    def epoch() -> None:
        total = torch.zeros(len(runs), device=device)
        for batch in runs[0].epoch_batches(0):
            total += students.step(batch, loss, rates)[0]
        float(total.sum())  # waits for a GPU

    return epoch


def per_second(
    images: int, function: Callable[[], object], clock: Callable[[], float]
) -> Callable[[], float]:
    """Return a task that calls ``function`` and returns the images that it sees a second."""

    def task() -> float:
        start = clock()
        function()
        return images / (clock() - start)

    return task


def measure(
    record: Recorder, given: argparse.Namespace, execution: Execution, folder: Path
) -> None:
    """Measure and print."""
    options = f"train={given.images},val=64,test=64,image_size={given.image_size}"
    data = load_data(f"synthetic:{options}", cache=folder)
    images = given.images // given.batch_size * given.batch_size
    random = np.random.default_rng(0)
    logits = random.standard_normal((given.images, len(data.info.classes)))
    np.save(folder / "epoch-0000.npy", logits.astype(np.float32))
    teacher = ReplayedTeacher(folder, device=execution.device)
    jobs = make_jobs(data, given.model, given.batch_size, max(given.students))
    shared = RunData.of(jobs[0], data, execution)
    runs = [
        TrainingRun(job, data, data=shared, execution=execution, teacher=teacher, companion=None)
        for job in jobs
    ]
    clock = CLOCKS[given.clock]

    def one_epoch() -> None:
        runs[0].train_epoch(0)

    tasks: dict[str, Callable[[], float]] = {}
    for many in given.students:
        stack = stack_epoch(runs[:many], teacher)
        tasks[f"{many}, one after another"] = per_second(images, one_epoch, clock)
        tasks[f"{many}, stacked"] = per_second(many * images, stack, clock)
        if runs[0].recorded:
            beside = partial(train_side_by_side, runs[:many], 0)
            tasks[f"{many}, side by side"] = per_second(many * images, beside, clock)
    found = interleaved(tasks, rounds=given.rounds)
    record.say(
        f"{given.model}, {given.image_size} px, batch {given.batch_size}, {execution.device}, "
        f"{given.threads} threads, {given.clock} seconds"
    )
    for name, values in found.items():
        record.add(name, values, "images x students a second", digits=0)
    for many in given.students:
        for way in ("stacked", "side by side"):
            if f"{many}, {way}" in found:
                record.compare(f"{many}, {way}", f"{many}, one after another")
    record.finish()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks vectorize", description=__doc__)
    parser.add_argument("--model", default="shufflenet_v2_x1_0")
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--students", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    # On a busy machine, a single thread's own seconds say more than the wall clock's.
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    add_common(parser)
    given = parser.parse_args(arguments)
    record = Recorder("vectorize", given)
    execution = Execution(device=resolve_device(given.device), threads=given.threads)
    with tempfile.TemporaryDirectory() as folder, training_context(execution):
        measure(record, given, execution, Path(folder))


if __name__ == "__main__":
    main()
