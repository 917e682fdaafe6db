"""Confirmation: the best settings again, over fresh seeds and all epochs, beside the control."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fersearch.distill import RunLabel
from fersearch.errors import FersearchError
from fersearch.records import RunRecord, canonical_json
from fersearch.search.folder import StudyFolder
from fersearch.search.objectives import Objective, RunPlan, StudyContext
from fersearch.search.pool import Failure
from fersearch.search.scheduler import Scheduler
from fersearch.spec import Scalar

__all__ = ["Candidate", "Confirmation", "confirm", "confirmation_seeds", "pick"]

DISTILLED = "distilled"
ALONE = "student_alone"
# The learning rate of a study that does not search one: the paper's.
DEFAULT_RATE = 0.01


def confirmation_seeds(search_seed: int, count: int) -> tuple[int, ...]:
    """Return the seeds of the confirmation: none of them is the seed that the search ran on.

    >>> confirmation_seeds(0, 3)
    (1, 2, 3)
    """
    return tuple(search_seed + 1 + number for number in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One setting and its runs over the seeds.

    Attributes:
        role: ``distilled`` or ``student_alone``.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """All settings that were confirmed.

    Attributes:
        seeds: The seeds.
        distilled: The distilled student's settings, in the order of the search.
        alone: The bare student at the learning rates of those settings and half of the best
            one's: the control has at least the choice of what it is compared with.
    """

    seeds: tuple[int, ...]
    distilled: tuple[Candidate, ...]
    alone: tuple[Candidate, ...]


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


def _control_settings(settings: Sequence[Mapping[str, Scalar]]) -> list[dict[str, Scalar]]:
    """Return the learning rates that the control may choose from.

    Those of the confirmed settings, and half of the best one's: the search tuned them for the
    distilled student, whose cross entropy weighs less, so the control's best may lie lower.
    """
    rates = [float(params.get("learning_rate", DEFAULT_RATE)) for params in settings]
    return [{"learning_rate": rate} for rate in dict.fromkeys([*rates, rates[0] / 2])]


@dataclass(frozen=True, slots=True)
class _Run:
    role: str
    params: dict[str, Scalar]
    seed: int
    plan: RunPlan

    @property
    def run_id(self) -> str:
        """Name made of the job's content: a run of another protocol has another name."""
        prefix = "distilled" if self.role == DISTILLED else "alone"
        return f"{prefix}-{self.plan.job.digest()[:10]}-seed-{self.seed}"


def confirm(
    scheduler: Scheduler,
    *,
    context: StudyContext,
    objective: Objective,
    folder: StudyFolder,
    protocol_hash: str,
    settings: Sequence[Mapping[str, Scalar]],
    on_start: Callable[[int, int], None],
    on_record: Callable[[RunRecord], None],
) -> Confirmation:
    """Train every setting, and the bare student at its learning rate, on every seed.

    Runs that an earlier process finished are taken as they are.

    Args:
        scheduler: Where runs are queued.
        context: What all runs share.
        objective: Turns settings into jobs.
        folder: Where records and networks go.
        protocol_hash: Digest of the protocol.
        settings: The settings to confirm, best first.
        on_start: Told how many runs are finished already, and how many there are.
        on_record: Told of every run that ends.
    """
    seeds = confirmation_seeds(context.spec.search.seed, context.spec.budget.seeds)
    wanted = [(DISTILLED, dict(item)) for item in settings]
    wanted += [(ALONE, item) for item in _control_settings(settings)]
    runs: dict[tuple[str, str, int], _Run] = {}
    for role, params in wanted:
        for seed in seeds:
            if role == DISTILLED:
                plan = objective(context, params, seed)
            else:
                rate = float(params["learning_rate"])
                plan = RunPlan(job=context.job(seed=seed, learning_rate=rate), teacher=None)
            run = _Run(role, params, seed, plan)
            runs[role, canonical_json(params), seed] = run
            if folder.record(run.run_id).exists():
                continue
            label = RunLabel(
                run_id=run.run_id,
                study=folder.name,
                role=role,
                protocol_hash=protocol_hash,
                parameters=dict(params),
            )
            scheduler.add(
                label,
                plan,
                checkpoint=folder.checkpoint(run.run_id),
                bundle=folder.bundle(run.run_id),
            )
    total = len(wanted) * len(seeds)
    on_start(total - scheduler.open_runs, total)

    def on_result(name: str, result: RunRecord | Failure) -> None:
        if isinstance(result, Failure):
            raise result.error()
        folder.save(result)
        folder.checkpoint(name).unlink(missing_ok=True)
        on_record(result)

    scheduler.run(refill=lambda: None, on_result=on_result)
    records = {record.run_id: record for record in folder.records()}

    def candidates(role: str) -> tuple[Candidate, ...]:
        return tuple(
            Candidate(
                role=kind,
                params=params,
                records=tuple(
                    records[runs[kind, canonical_json(params), seed].run_id] for seed in seeds
                ),
                metric=context.spec.search.metric,
            )
            for kind, params in wanted
            if kind == role
        )

    return Confirmation(seeds=seeds, distilled=candidates(DISTILLED), alone=candidates(ALONE))
