"""A student's training step against its floor: forward, backward and SGD on one batch in memory.

Six things take as many steps each, in turn, round after round, so that whatever else the machine
does meets all alike: torchvision's network in PyTorch's usual memory format, the same in
channels-last, our network, which has the same layers and dropout besides, ours with its stem layer
by layer, ours with a matrix product for every convolution of one pixel, and our whole training
loop, which also draws views, reads replayed soft labels, clips gradients and follows its schedule.
torchvision's network is trained by PyTorch's SGD as it is by default, ours by the fused one.
Ratios are medians over the rounds, with their range.

On a machine that does other work, take ``--clock cpu --threads 1``: the processor time of this
process leaves the others' out.

    python -m benchmarks.floor --image-size 48 --batch-size 64
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from benchmarks.harness import CLOCKS, Recorder, add_common, interleaved, timed
from benchmarks.loops import replayed
from fersearch.data import load_data
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import (
    Execution,
    LossSettings,
    TrainJob,
    build_model,
    make_recipe,
)
from fersearch.distill.compiled import compiled
from fersearch.distill.recipe import make_optimizer
from fersearch.distill.run import TrainingRun
from fersearch.models.batch_norm import ImagewiseBatchNorm2d
from fersearch.models.cpu_training import PointwiseConv2d
from fersearch.models.shufflenet import ShuffleUnit

NAMES = {
    "nchw": "torchvision, channels-first",
    "last": "torchvision, channels-last",
    "ours": "our network",
    "compiled": "our network, compiled",
    "layered": "our network, its stem layer by layer",
    "compiled layered": "our network, its stem layer by layer, compiled",
    "products": "our network, products alone",
    "compiled products": "our network, products alone, compiled",
    "compiled sums": "our network, gradients summed by the compiler, compiled",
    "compiled norms": "our network, PyTorch's batch normalisation, compiled",
    "loop": "our whole training loop",
}


class CompilerSums(ShuffleUnit):
    """A unit whose branches' gradients are summed wherever the compiler likes."""

    def for_both_branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map itself, twice."""
        return x, x


# Our network without one of its faster ways: the layers that change, and how.
VARIANTS: dict[str, tuple[type[nn.Module], Callable[[Any], object]]] = {
    # A hook that does nothing: the stem's layers are called one after another.
    "layered": (nn.MaxPool2d, lambda layer: layer.register_forward_hook(lambda *_: None)),
    "norms": (ImagewiseBatchNorm2d, lambda layer: setattr(layer, "__class__", nn.BatchNorm2d)),
    "products": (PointwiseConv2d, lambda layer: setattr(layer, "many_pixels", sys.maxsize)),
    "sums": (ShuffleUnit, lambda layer: setattr(layer, "__class__", CompilerSums)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks floor", description=__doc__)
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8, help="steps of each a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="torch.compile, too: minutes more")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    add_common(parser, rounds=7)
    given = parser.parse_args(arguments)
    record = Recorder("floor", given)
    torch.set_num_threads(given.threads)
    clock = CLOCKS[given.clock]

    def milliseconds(call: Callable[[], object]) -> float:
        start = clock()
        call()
        return 1e3 * (clock() - start) / given.steps

    with tempfile.TemporaryDirectory() as folder:
        calls = contestants(given, training(given, Path(folder)))
        if given.compile:
            seconds = timed(calls["compiled"])
            for name in VARIANTS:
                calls[f"compiled {name}"]()
            record.figures["compiling_s"] = seconds
            record.say(f"  compiling, and the first steps: {seconds:.0f} s")
        found = interleaved(
            {name: partial(milliseconds, call) for name, call in calls.items()},
            rounds=given.rounds,
        )
    record.say(
        f"{given.image_size} px, batch {given.batch_size}, {given.threads} threads, "
        f"{given.clock} clock, torch {torch.__version__}"
    )
    for name, values in found.items():
        record.add(NAMES[name], values, "ms a step", digits=1)
    pairs = [
        ("nchw", "ours"),
        ("last", "ours"),
        ("loop", "ours"),
        ("nchw", "loop"),
        ("layered", "ours"),
        ("products", "ours"),
    ]
    if given.compile:
        pairs.append(("compiled", "ours"))
        pairs += [(f"compiled {name}", "compiled") for name in VARIANTS]
    for over, under in pairs:
        record.compare(NAMES[over], NAMES[under])
    record.finish()


def training(given: argparse.Namespace, folder: Path) -> TrainingRun:
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
    signal = replayed(folder / "labels", job, data, teacher, execution=execution)
    return TrainingRun(job, data, execution=execution, teacher=signal, companion=None)


def contestants(given: argparse.Namespace, run: TrainingRun) -> dict[str, Callable[[], object]]:
    """Return what takes ``--steps`` steps at a call, by name."""
    classes = int(run.labels.max()) + 1
    inputs = run.train_views.training(0, np.arange(given.batch_size))
    labels = run.labels[: given.batch_size]

    recipe = dataclasses.replace(run.job.recipe, learning_rate=1e-3)

    def sgd(network: nn.Module) -> Optimizer:
        return SGD(
            network.parameters(), lr=1e-3, momentum=recipe.momentum, nesterov=recipe.nesterov
        )

    def steps(
        network: nn.Module, images: Tensor, make: Callable[[nn.Module], Optimizer] = sgd
    ) -> Callable[[], object]:
        network.train()
        optimizer = make(network)

        def several() -> None:
            for _ in range(given.steps):
                optimizer.zero_grad(set_to_none=True)
                F.cross_entropy(network(images), labels).backward()
                optimizer.step()

        return several

    def theirs() -> nn.Module:
        network: nn.Module = torchvision.models.shufflenet_v2_x1_0(num_classes=classes)
        return network

    def variant(name: str) -> nn.Module:
        kind, change = VARIANTS[name]
        network = build_model(run.job, classes)
        for module in network.modules():
            if isinstance(module, kind):
                change(module)
        return network

    def fused(network: nn.Module) -> Optimizer:
        return make_optimizer(network.parameters(), recipe)

    last = torch.channels_last
    dense = inputs.contiguous(memory_format=last)
    calls: dict[str, Callable[[], object]] = {
        "nchw": steps(theirs(), inputs.contiguous()),
        "last": steps(theirs().to(memory_format=last), dense),
        "ours": steps(build_model(run.job, classes), dense, fused),
        "layered": steps(variant("layered"), dense, fused),
        "products": steps(variant("products"), dense, fused),
        "loop": lambda: run.train_epoch(0),
    }
    if given.compile:
        execution = dataclasses.replace(
            run.execution, compile_cache=str(Path(tempfile.gettempdir()) / "fersearch-compiled")
        )
        calls["compiled"] = steps(compiled(build_model(run.job, classes), execution), dense, fused)
        for name in VARIANTS:
            network = compiled(variant(name), execution)
            calls[f"compiled {name}"] = steps(network, dense, fused)
    return calls


if __name__ == "__main__":
    main()
