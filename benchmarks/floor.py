"""A student's training step against its floor: forward, backward and SGD on one batch in memory.

Four things take as many steps each, in turn, round after round, so that whatever else the machine
does meets all alike: torchvision's network in PyTorch's usual memory format, the same in
channels-last, our network (same weights, same function), and our whole training loop, which also
draws views, reads replayed soft labels, clips gradients and follows its schedule. Ratios are
medians over the rounds, with their range.

On a machine that does other work, take ``--clock cpu --threads 1``: the processor time of this
process leaves the others' out.

    python -m benchmarks.floor --image-size 48 --batch-size 64
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from fersearch.data import load_data
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy, Views
from fersearch.distill import (
    Execution,
    LossSettings,
    ReplayedTeacher,
    TrainJob,
    build_model,
    compute_soft_labels,
    make_recipe,
)
from fersearch.distill.trainer import _Run
from fersearch.environment import processor_name

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
NAMES = {
    "nchw": "torchvision, channels-first",
    "last": "torchvision, channels-last",
    "ours": "our network",
    "loop": "our whole training loop",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="steps of each a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        run = training(given, Path(folder))
        seconds = measured(contestants(given, run), CLOCKS[given.clock], given.rounds)
    print(f"{processor_name()}, {given.threads} threads, torch {torch.__version__}, ", end="")
    print(f"Python {platform.python_version()}, {given.clock} clock")
    print(f"{given.image_size} px, batch {given.batch_size}, {given.rounds} rounds, ms a step")
    for name, values in seconds.items():
        low, middle, high = (
            1e3 * value / given.steps
            for value in (min(values), statistics.median(values), max(values))
        )
        print(f"  {NAMES[name]:<30}{middle:8.1f} ({low:.1f}-{high:.1f})")
    for over, under in (("nchw", "ours"), ("last", "ours"), ("loop", "ours"), ("nchw", "loop")):
        ratios = [x / y for x, y in zip(seconds[over], seconds[under], strict=True)]
        print(f"  {NAMES[over]} / {NAMES[under]} = ", end="")
        print(f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


def training(given: argparse.Namespace, folder: Path) -> _Run:
    """Prepare a run of the student with replayed soft labels, an epoch of ``--steps`` steps."""
    images = given.steps * given.batch_size
    spec = f"synthetic:train={images},val=64,test=64,image_size={given.image_size}"
    data = load_data(spec, cache=folder)
    execution = Execution(threads=given.threads)
    common = {
        "data_sha256": data.info.sha256,
        "recipe": make_recipe("default", epochs=1, batch_size=given.batch_size, learning_rate=0.01),
        "policy": ViewPolicy(),
        "preprocessing": Preprocessing.of_training_images(data.train.images),
        "seed": 0,
    }
    teacher_job = TrainJob(model="shufflenet_v2_x0_5", **common)
    job = TrainJob(
        model="shufflenet_v2_x1_0", loss=LossSettings(temperature=4.0, alpha=0.5), **common
    )
    teacher = build_model(teacher_job, len(data.info.classes)).eval()
    views = Views(
        data.train.images, preprocessing=job.preprocessing, policy=job.policy, seed=job.seed
    )
    compute_soft_labels(
        folder / "labels",
        load_teacher=lambda: teacher,
        views=views,
        epochs=1,
        execution=execution,
    )
    replayed = ReplayedTeacher(folder / "labels")
    return _Run(job, data, execution=execution, teacher=replayed, companion=None)


def contestants(given: argparse.Namespace, run: _Run) -> dict[str, Callable[[], object]]:
    """Return what takes ``--steps`` steps at a call, by name."""
    classes = int(run.labels.max()) + 1
    inputs = run.train_views.training(0, np.arange(given.batch_size))
    labels = run.labels[: given.batch_size]

    def steps(network: nn.Module, images: Tensor) -> Callable[[], object]:
        network.train()
        recipe = run.job.recipe
        optimizer = torch.optim.SGD(
            network.parameters(), lr=1e-3, momentum=recipe.momentum, nesterov=recipe.nesterov
        )

        def several() -> None:
            for _ in range(given.steps):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(network(images), labels).backward()
                optimizer.step()

        return several

    def theirs() -> nn.Module:
        network: nn.Module = torchvision.models.shufflenet_v2_x1_0(num_classes=classes)
        return network

    last = torch.channels_last
    return {
        "nchw": steps(theirs(), inputs.contiguous()),
        "last": steps(theirs().to(memory_format=last), inputs.contiguous(memory_format=last)),
        "ours": steps(build_model(run.job, classes), inputs.contiguous(memory_format=last)),
        "loop": lambda: run.train_epoch(0),
    }


def measured(
    contestants: dict[str, Callable[[], object]], clock: Callable[[], float], rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each call, by name; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, call in contestants.items():
            start = clock()
            call()
            if number:
                seconds[name].append(clock() - start)
    return seconds


if __name__ == "__main__":
    main()
