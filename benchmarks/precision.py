"""Training steps in float32 and under bfloat16 autocast, for a dense and a depthwise network.

The rules of ``fersearch.distill.precision`` and ``fersearch.models.layout`` come from this: run it
on a new kind of processor. On a GPU steps are recorded, and both memory formats are measured.

    python -m benchmarks precision
    python -m benchmarks precision --device cuda
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.harness import Recorder, add_common, interleaved
from benchmarks.loops import plain_step
from fersearch.distill import Execution, make_recipe
from fersearch.distill.precision import autocast
from fersearch.distill.recipe import make_optimizer
from fersearch.distill.recorded import RecordedStep
from fersearch.environment import native_bfloat16, resolve_device
from fersearch.models import Batch, create, train_fast_on_cpu

RECORDED_STEPS = 100


def stepper(model: nn.Module, given: argparse.Namespace, *, bfloat16: bool) -> Callable[[], float]:
    """Return a task that makes one step of forward and backward and gives images a second."""
    images = torch.randn(given.batch_size, 3, given.image_size, given.image_size)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 8, (given.batch_size,))

    def step() -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        return given.batch_size / (time.perf_counter() - start)

    return step


def recorded_stepper(
    model: nn.Module, given: argparse.Namespace, *, bfloat16: bool
) -> Callable[[], float]:
    """Return a task that makes a hundred recorded steps on a GPU and gives images a second."""
    device = torch.device(given.device)
    images = torch.randn(given.batch_size, 3, given.image_size, given.image_size, device=device)
    labels = torch.randint(0, 8, (given.batch_size,), device=device)
    batch = Batch(inputs=images, labels=labels, indices=labels, epoch=0, progress=0.0)
    recipe = make_recipe("default", epochs=1, batch_size=given.batch_size, learning_rate=1e-3)
    optimizer = make_optimizer(model.parameters(), recipe)

    context = partial(autocast, Execution(device=given.device), enabled=bfloat16)
    step = plain_step(model, optimizer, context)
    recorded = RecordedStep(optimizer, device)

    def several() -> float:
        start = time.perf_counter()
        for _ in range(RECORDED_STEPS):
            recorded(step, batch)
        torch.cuda.synchronize()
        return RECORDED_STEPS * given.batch_size / (time.perf_counter() - start)

    return several


def contestants(name: str, given: argparse.Namespace) -> dict[str, Callable[[], float]]:
    """Return the tasks of one network by name."""

    def network(memory_format: torch.memory_format) -> nn.Module:
        model = create(name, num_classes=8, image_size=given.image_size)
        return train_fast_on_cpu(model).to(given.device).to(memory_format=memory_format).train()

    kinds = ("float32", "bfloat16")
    if given.device == "cpu":
        model = network(torch.channels_last)
        return {
            f"{name}, {kind}": stepper(model, given, bfloat16=kind == "bfloat16") for kind in kinds
        }
    formats = {"": torch.channels_last, ", contiguous": torch.contiguous_format}
    return {
        f"{name}, {kind}{suffix}": recorded_stepper(
            network(memory_format), given, bfloat16=kind == "bfloat16"
        )
        for suffix, memory_format in formats.items()
        for kind in kinds
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print images a second and the ratio of the rounds."""
    parser = argparse.ArgumentParser(prog="precision", description=__doc__)
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    add_common(parser, rounds=7)
    given = parser.parse_args(arguments)
    given.device = resolve_device(given.device)
    torch.set_num_threads(given.threads)
    record = Recorder("precision", given)
    record.say(f"native bfloat16: {native_bfloat16(given.device)}")
    for name in ("shufflenet_v2_x1_0", "resnet18", "eff_resnet18"):
        found = interleaved(contestants(name, given), rounds=given.rounds)
        for label, values in found.items():
            record.add(label, values, "images/s", digits=0)
        for label in list(found)[1:]:
            record.compare(label, f"{name}, float32")
    record.finish()


if __name__ == "__main__":
    main()
