"""Measure how hard the synthetic faces are for plain networks of two sizes.

    python benchmarks/synthetic_difficulty.py                  # the table of docs/synthetic.md
    python benchmarks/synthetic_difficulty.py --model shufflenet_v2_x1_0 --data difficulty=hard

A training loop of its own (no teacher, no search): torchvision networks from scratch, cross
entropy, SGD with momentum 0.9 and weight decay 1e-4, one cycle of the learning rate, dropout 0.5,
light augmentation. Prints one row of a Markdown table per run as it ends.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet18, shufflenet_v2_x0_5, shufflenet_v2_x1_0

from fersearch.data.synthetic import SyntheticFaces, SyntheticSplit, make, parse_options

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "shufflenet_v2_x0_5": shufflenet_v2_x0_5,
    "shufflenet_v2_x1_0": shufflenet_v2_x1_0,
    "resnet18": resnet18,
}

HEADER = (
    "| network | data | epochs | batch | peak lr | seed | accuracy % | intensity < 0.3 | 0.3-0.7 |"
    " > 0.7 | neutral | training s |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Run:
    """One training: a network, the faces it sees and the budget."""

    model: str = "shufflenet_v2_x1_0"
    data: str = ""
    epochs: int = 8
    batch: int = 64
    rate: float = 0.02
    seed: int = 0


STUDENT = Run()
LARGER = Run(model="resnet18", epochs=10, rate=0.01)
TABLE = (
    *(replace(STUDENT, seed=seed) for seed in range(3)),
    *(replace(STUDENT, rate=rate) for rate in (0.002, 0.005, 0.01, 0.05, 0.2)),
    *(replace(STUDENT, batch=32, rate=0.01, seed=seed) for seed in range(2)),
    replace(STUDENT, data="difficulty=easy"),
    replace(STUDENT, data="difficulty=hard"),
    *(replace(LARGER, seed=seed) for seed in range(2)),
    replace(LARGER, rate=0.05),
    replace(LARGER, data="difficulty=hard"),
)


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, turn (8 degrees), scale (8 %) and shift (3 pixels of 48) each image at random."""
    count = len(images)

    def draw(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2.0 - 1.0) * limit

    turn, size = draw(math.radians(8.0)), 1.0 + draw(0.08)
    flip = torch.where(draw(1.0) > 0.0, 1.0, -1.0)
    cosine, sine = torch.cos(turn) * size, torch.sin(turn) * size
    theta = torch.stack(
        [
            torch.stack([cosine * flip, -sine, draw(6.0 / 48.0)], dim=1),
            torch.stack([sine * flip, cosine, draw(6.0 / 48.0)], dim=1),
        ],
        dim=1,
    )
    grid = nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def prepared(images: NDArray[np.uint8]) -> Tensor:
    """Return uint8 images as normalised floats with one channel."""
    return (torch.from_numpy(images).float() / 255.0 - 0.5) / 0.25


def network(name: str, classes: int) -> nn.Module:
    """Return a network from scratch with dropout 0.5 before its classifier."""
    model = NETWORKS[name](num_classes=classes)
    classifier = model.get_submodule("fc")
    model.fc = nn.Sequential(nn.Dropout(0.5), classifier)
    return model.to(memory_format=torch.channels_last)


def train(run: Run, faces: SyntheticFaces) -> nn.Module:
    """Train the run's network on the training split."""
    torch.manual_seed(run.seed)
    model = network(run.model, len(faces.classes)).train()
    images, labels = prepared(faces.train.images), torch.from_numpy(faces.train.labels)
    steps = len(images) // run.batch
    optimizer = torch.optim.SGD(model.parameters(), lr=run.rate, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=run.rate,
        total_steps=steps * run.epochs,
        pct_start=0.25,
        cycle_momentum=False,
    )
    generator = torch.Generator().manual_seed(run.seed)
    for _ in range(run.epochs):
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps):
            chosen = order[step * run.batch : (step + 1) * run.batch]
            batch = augmented(images[chosen], generator).expand(-1, 3, -1, -1)
            batch = batch.contiguous(memory_format=torch.channels_last)
            loss: Tensor = nn.functional.cross_entropy(model(batch), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.inference_mode()
def hits(model: nn.Module, split: SyntheticSplit) -> NDArray[np.bool_]:
    """Return for each face of the split whether the model names its expression."""
    found = []
    for images in torch.split(prepared(split.images), 256):
        batch = images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        found.append(model(batch).argmax(dim=1))
    named: NDArray[np.int64] = torch.cat(found).numpy()
    return np.equal(named, split.labels)


def row(run: Run, seconds: float, split: SyntheticSplit, right: NDArray[np.bool_]) -> str:
    """Return the run's line of the table."""
    strength, neutral = split.intensities, split.labels == 0
    parts = (
        right >= 0,
        ~neutral & (strength < 0.3),
        ~neutral & (strength >= 0.3) & (strength <= 0.7),
        ~neutral & (strength > 0.7),
        neutral,
    )
    total, faint, middle, strong, none = (f"{100 * right[part].mean():.1f}" for part in parts)
    cells = [
        run.model, run.data or "default", run.epochs, run.batch, run.rate, run.seed,
        total, faint, middle, strong, none, f"{seconds:.0f}",
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def measure(run: Run, image_size: int) -> str:
    """Draw the faces, train, test, and return the run's line of the table."""
    faces = make(parse_options(run.data, image_size))
    start = time.perf_counter()
    model = train(run, faces)
    seconds = time.perf_counter() - start
    return row(run, seconds, faces.test, hits(model, faces.test))


def main() -> None:
    """Run the table, or the one run that the options describe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=NETWORKS, help="one run of this network, not the table")
    parser.add_argument("--data", default="", help="options of the synthetic faces")
    parser.add_argument("--epochs", type=int, default=STUDENT.epochs)
    parser.add_argument("--batch", type=int, default=STUDENT.batch)
    parser.add_argument("--rate", type=float, default=STUDENT.rate, help="peak learning rate")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    runs = TABLE
    if wanted.model:
        one = Run(wanted.model, wanted.data, wanted.epochs, wanted.batch, wanted.rate)
        runs = tuple(replace(one, seed=seed) for seed in range(wanted.seeds))
    print(HEADER, flush=True)
    for run in runs:
        print(measure(run, wanted.image_size), flush=True)


if __name__ == "__main__":
    main()
