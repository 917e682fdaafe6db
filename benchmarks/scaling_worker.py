"""A fresh process that trains a few steps over a store of random pixels and says what that took.

Its memory is compared with that of the same process after the same steps over a tiny store: what
PyTorch needs by itself, for the network, its gradients and its buffers, is in both.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.noise import CLASSES, make_noise
from fersearch.data import Dataset
from fersearch.data.preprocessing import Preprocessing
from fersearch.data.views import ViewPolicy
from fersearch.distill import Execution, LossSettings, ReplayedTeacher, TrainJob, make_recipe
from fersearch.distill.run import TrainingRun
from fersearch.distill.soft_labels import epoch_file

FIELDS = ("VmRSS", "RssAnon", "RssFile")


def memory() -> dict[str, float]:
    """Return this process's resident memory in MB: all of it, its own, and that of mapped files.

    Pages of mapped files are the system's to drop; a large data set must show there alone.
    """
    found = dict.fromkeys(FIELDS, float("nan"))
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="utf-8").splitlines() if status.exists() else []:
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0]) / 1024
    return found


def train_steps(data: Dataset, folder: Path, given: argparse.Namespace) -> dict[str, float]:
    """Open what a trial opens, train ``given.steps`` steps with replay, and return the seconds."""
    start = time.perf_counter()
    images = data.train.images
    labels = folder / f"labels-{len(images)}"
    if not epoch_file(labels, 0).exists():
        labels.mkdir(parents=True)
        answers = np.random.default_rng(1).standard_normal((len(images), len(CLASSES)))
        np.save(epoch_file(labels, 0), answers.astype(np.float32))
        start = time.perf_counter()  # computing soft labels is no part of opening them
    recipe = make_recipe(
        "default", epochs=1, batch_size=min(given.batch_size, len(images)), learning_rate=0.01
    )
    job = TrainJob(
        data_sha256=data.info.sha256,
        model=given.student,
        recipe=recipe,
        policy=ViewPolicy(),
        preprocessing=Preprocessing.of_training_images(images),
        seed=0,
        loss=LossSettings(temperature=4.0, alpha=0.5),
    )
    run = TrainingRun(
        job,
        data,
        execution=Execution(threads=given.threads, autocast="never"),
        teacher=ReplayedTeacher(labels),
        companion=None,
    )
    run.model.train()
    # Always the first epoch's views: there are soft labels for it alone.
    batches = itertools.chain.from_iterable(run.epoch_batches(0) for _ in itertools.count())
    opened = time.perf_counter() - start
    size = recipe.batch_size
    seconds = []
    for _ in range(given.steps + 1):
        start = time.perf_counter()
        run.advance(next(batches))
        seconds.append(time.perf_counter() - start)
    return {"open_seconds": opened, "images_per_second": size * given.steps / sum(seconds[1:])}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="folder that stores are kept in")
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--student", default="shufflenet_v2_x1_0")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as scratch:
        tiny = make_noise(
            Path(scratch) / "tiny", images=given.batch_size, image_size=given.image_size
        )
        train_steps(tiny, Path(scratch), given)
        before = memory()
        data = Dataset.open(given.store)
        found = train_steps(data, given.store, given)
        after = memory()
    growth = {name: after[name] - before[name] for name in FIELDS}
    print(json.dumps({**found, "before": before, "growth": growth}))


if __name__ == "__main__":
    main()
