"""Students trained at the same time on one GPU, each by its own recorded steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fersearch.distill.outcomes import EpochSums
from fersearch.distill.run import TrainingRun

__all__ = ["train_side_by_side"]


def train_side_by_side(runs: Sequence[TrainingRun], epoch: int) -> list[EpochSums]:
    """Train an epoch of every run at the same time; return what each gave.

    Their steps lie in queues of their own, which the GPU works through together: a small student
    leaves most of it idle. A batch is drawn once for all. Each run makes the steps that it would
    make alone; a loss that is no longer finite comes back as such.

    Args:
        runs: Runs on one GPU whose steps are recorded, of one data set, seed and batch size.
        epoch: Number of the epoch.
    """
    lead = runs[0]
    device = lead.labels.device
    main = torch.cuda.current_stream(device)
    random = torch.cuda.default_generators[device.index]
    queues = [run.recorded.stream for run in runs if run.recorded is not None]
    for run in runs:
        run.begin_epoch(epoch)
    seen = 0
    for batch in lead.epoch_batches(epoch):
        # Each draws the dropout masks that it would draw alone. They begin at one place for all and
        # meet after every batch: recorded steps may read that place from the same memory.
        offset = random.get_offset()
        for run, queue in zip(runs, queues, strict=True):
            random.set_offset(offset)
            queue.wait_stream(main)
            with torch.cuda.stream(queue):
                run.advance(batch)
        for queue in queues:
            main.wait_stream(queue)
        seen += len(batch.labels)
    return [run.sums(seen) for run in runs]
