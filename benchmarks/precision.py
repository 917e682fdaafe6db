"""Training steps in float32 and under bfloat16 autocast, for a dense and a depthwise network.

The rule of ``fersearch.distill.precision`` comes from this: run it on a new kind of processor.

    python benchmarks/precision.py
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from fersearch.environment import native_bfloat16, processor_name
from fersearch.models import create


def main() -> None:
    """Measure and print images a second and the ratio of the medians' rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{processor_name()}, native bfloat16: {native_bfloat16('cpu')}")
    for name in ("shufflenet_v2_x1_0", "resnet18", "eff_resnet18"):
        model = create(name, num_classes=8).to(memory_format=torch.channels_last)
        images = torch.randn(given.batch_size, 3, given.image_size, given.image_size)
        images = images.to(memory_format=torch.channels_last)
        labels = torch.randint(0, 8, (given.batch_size,))
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for number in range(given.rounds + 1):
            for bfloat16 in (False, True):
                start = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                    loss = F.cross_entropy(model(images), labels)
                loss.backward()
                if number:
                    seconds[bfloat16].append(time.perf_counter() - start)
        ratios = [x / y for x, y in zip(seconds[False], seconds[True], strict=True)]
        speed = given.batch_size / statistics.median(seconds[False])
        print(
            f"{name:<20} float32 {speed:6.0f} images/s, bfloat16 "
            f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f}-{max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
