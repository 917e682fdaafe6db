"""Settings trained over several seeds: what confirmations, baselines and grids have in common."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fersearch.distill import RunLabel
from fersearch.errors import FersearchError
from fersearch.records import RunRecord
from fersearch.search.folder import StudyFolder
from fersearch.search.objectives import RunPlan
from fersearch.search.pool import Failure
from fersearch.search.scheduler import Scheduler
from fersearch.spec import Scalar

__all__ = ["Candidate", "Setting", "pick", "seeds_of", "train_over_seeds"]


def seeds_of(search_seed: int, count: int) -> tuple[int, ...]:
    """Return the seeds of what is tested: none of them is the seed that a search ran on.

    >>> seeds_of(0, 3)
    (1, 2, 3)
    """
    return tuple(search_seed + 1 + number for number in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting to be trained over the seeds.

    Attributes:
        role: Role of its runs: ``distilled``, ``student_alone``, ``baseline``.
        params: Its hyperparameters.
        prefix: Begins the names of its runs.
        plan: Turns a seed into a training job.
    """

    role: str
    params: dict[str, Scalar]
    prefix: str
    plan: Callable[[int], RunPlan]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One setting and its runs over the seeds.

    Attributes:
        role: ``distilled``, ``student_alone`` or ``baseline``.
        params: The setting.
        records: One record a seed, in the order of the seeds.
        metric: Name of the validation metric that picks.
    """

    role: str
    params: dict[str, Scalar]
    records: tuple[RunRecord, ...]
    metric: str

    @property
    def values(self) -> list[float | None]:
        """The validation metric a seed; None where the run diverged."""
        name = f"val_{self.metric}"
        return [
            record.metrics.get(name) if record.state == "complete" else None
            for record in self.records
        ]

    def mean_of(self, name: str) -> float:
        """Return the mean over the seeds of a measured figure, such as ``val_accuracy``."""
        return statistics.fmean(record.metrics[name] for record in self.records)

    @property
    def mean(self) -> float:
        """Mean over the seeds; a setting that diverged on any seed counts as zero."""
        values = self.values
        return 0.0 if None in values else statistics.fmean(v for v in values if v is not None)

    @property
    def best_record(self) -> RunRecord:
        """The run of the best validation seed."""
        return max(self.records, key=lambda record: record.metrics.get(f"val_{self.metric}", 0.0))


def pick(candidates: Sequence[Candidate]) -> Candidate:
    """Return the setting with the highest mean validation metric, the first of equals.

    Raises:
        FersearchError: Every setting diverged on some seed.
    """
    best = max(candidates, key=lambda item: item.mean)
    if best.mean == 0.0:
        reasons = {record.reason for item in candidates for record in item.records}
        raise FersearchError(
            f"no {best.role} setting could be trained on every seed: {'; '.join(sorted(reasons))}",
            "narrow the space of the study, above all the learning rate",
        )
    return best


def train_over_seeds(
    scheduler: Scheduler,
    settings: Sequence[Setting],
    *,
    seeds: Sequence[int],
    metric: str,
    folder: StudyFolder,
    protocol_hash: str,
    on_start: Callable[[int, int], None],
    on_record: Callable[[RunRecord], None],
) -> tuple[Candidate, ...]:
    """Train every setting on every seed; runs that an earlier process finished are taken as is.

    A run is named by its job's content, so a run of another protocol has another name.

    Args:
        scheduler: Where runs are queued.
        settings: What is trained.
        seeds: Seeds of the runs.
        metric: Name of the validation metric that picks.
        folder: Where records and networks go.
        protocol_hash: Digest of the protocol.
        on_start: Told how many runs are finished already, and how many there are.
        on_record: Told of every run that ends.
    """
    names: list[list[str]] = []
    for setting in settings:
        names.append([])
        for seed in seeds:
            plan = setting.plan(seed)
            run_id = f"{setting.prefix}-{plan.job.digest()[:10]}-seed-{seed}"
            names[-1].append(run_id)
            if folder.record(run_id).exists():
                continue
            label = RunLabel(
                run_id=run_id,
                study=folder.name,
                role=setting.role,
                protocol_hash=protocol_hash,
                parameters=dict(setting.params),
            )
            scheduler.add(
                label, plan, checkpoint=folder.checkpoint(run_id), bundle=folder.bundle(run_id)
            )
    total = len(settings) * len(seeds)
    on_start(total - scheduler.open_runs, total)

    def on_result(name: str, result: RunRecord | Failure) -> None:
        if isinstance(result, Failure):
            raise result.error()
        folder.save(result)
        folder.checkpoint(name).unlink(missing_ok=True)
        on_record(result)

    scheduler.run(refill=lambda: None, on_result=on_result, repeat_lost=True)
    records = {record.run_id: record for record in folder.records()}
    return tuple(
        Candidate(
            role=setting.role,
            params=setting.params,
            records=tuple(records[name] for name in own),
            metric=metric,
        )
        for setting, own in zip(settings, names, strict=True)
    )
