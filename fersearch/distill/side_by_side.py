"""Students trained at the same time on one GPU, each by its own recorded steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fersearch.distill.run import EpochSums, TrainingRun

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
    number = torch.cuda.current_device() if device.index is None else device.index
    random = torch.cuda.default_generators[number]
    for run in runs:
        run.begin_epoch(epoch)
    seen = 0
    for batch in lead.epoch_batches(epoch):
        # Each draws the dropout masks that it would draw alone.
        offset = random.get_offset()
        for run in runs:
            assert run.recorded is not None
            random.set_offset(offset)
            run.recorded.stream.wait_stream(main)
            with torch.cuda.stream(run.recorded.stream):
                run.advance(batch)
        for run in runs:
            assert run.recorded is not None
            main.wait_stream(run.recorded.stream)
        seen += len(batch.labels)
    return [run.sums(seen) for run in runs]
