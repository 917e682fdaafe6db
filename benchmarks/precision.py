"""Training steps in float32 and under bfloat16 autocast, for a dense and a depthwise network.

The rule of ``fersearch.distill.precision`` comes from this: run it on a new kind of processor.

    python -m benchmarks precision
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.harness import Recorder, add_common, interleaved
from fersearch.environment import native_bfloat16
from fersearch.models import create, train_fast_on_cpu


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print images a second and the ratio of the rounds."""
    parser = argparse.ArgumentParser(prog="precision", description=__doc__)
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    add_common(parser, rounds=7)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    record = Recorder("precision", given)
    record.say(f"native bfloat16: {native_bfloat16('cpu')}")
    for name in ("shufflenet_v2_x1_0", "resnet18", "eff_resnet18"):
        model = create(name, num_classes=8, image_size=given.image_size)
        model = train_fast_on_cpu(model).to(memory_format=torch.channels_last).train()
        found = interleaved(
            {
                f"{name}, {kind}": stepper(model, given, bfloat16=kind == "bfloat16")
                for kind in ("float32", "bfloat16")
            },
            rounds=given.rounds,
        )
        for label, values in found.items():
            record.add(label, values, "images/s", digits=0)
        record.compare(f"{name}, bfloat16", f"{name}, float32")
    record.finish()


if __name__ == "__main__":
    main()
