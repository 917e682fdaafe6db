"""The search itself: ask, train, report, prune, tell, in a storage that outlives the process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from fersearch.distill import Progress, RunLabel
from fersearch.errors import FersearchError
from fersearch.records import EpochRecord, RunRecord
from fersearch.search.folder import StudyFolder
from fersearch.search.goals import Goals, best_trial, top_trials
from fersearch.search.objectives import Objective, StudyContext, student_of
from fersearch.search.pool import Failure
from fersearch.search.proposals import DIVERGED, FINISHED, NOTED, RUNGS, Proposer, Watch
from fersearch.search.scheduler import Scheduler
from fersearch.spec import Scalar

__all__ = ["TrialBook", "trial_run_id"]

# When this many trials in a row fail, the reason is not their settings.
HOPELESS_FAILURES = 3


def trial_run_id(number: int) -> str:
    """Return the name of a trial's run.

    >>> trial_run_id(7)
    'trial-0007'
    """
    return f"trial-{number:04d}"


@dataclass(frozen=True, slots=True)
class _Open:
    """A trial that runs: what would otherwise be read from the storage at every epoch."""

    number: int
    trial_id: int
    params: dict[str, Scalar]
    watch: Watch


class TrialBook:
    """The trials of one study: creates them, follows them, closes them.

    Args:
        study: The study in its storage.
        context: What all runs share.
        objective: Turns settings into jobs.
        folder: Where records and checkpoints go.
        protocol_hash: Digest of the protocol.
        timeout: Seconds after which no new trial is started, or None.
        prefix: Begins the names of the runs, where several searches share a folder.
        goals: The objectives; the study's metric alone when None.
    """

    def __init__(
        self,
        study: Study,
        *,
        context: StudyContext,
        objective: Objective,
        folder: StudyFolder,
        protocol_hash: str,
        timeout: float | None = None,
        prefix: str = "",
        goals: Goals | None = None,
    ) -> None:
        self.goals = goals or Goals.of(context.spec)
        self._prefix = prefix
        self._study = study
        self._storage = study._storage
        self._context = context
        self._objective = objective
        self._folder = folder
        self._protocol_hash = protocol_hash
        self._proposer = Proposer(context.spec, self.goals)
        self._open: dict[str, _Open] = {}
        self._best: FrozenTrial | None = None
        self._best_known = False
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def trials(self) -> list[FrozenTrial]:
        """Return all trials by number."""
        return self._study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        """Return the finished trials by number."""
        return [trial for trial in self.trials() if trial.state in FINISHED]

    def complete(self) -> list[FrozenTrial]:
        """Return the complete trials by number."""
        return [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]

    def best(self) -> FrozenTrial | None:
        """Return the complete trial with the highest metric, the earliest of equals."""
        if not self._best_known:  # asked for after every epoch: only a trial's end changes it
            self._best = best_trial(self.trials())
            self._best_known = True
        return self._best

    def top(self, count: int) -> list[FrozenTrial]:
        """Return the complete trials of the highest metric with different settings, best first."""
        return top_trials(self.trials(), count)

    def ended(self) -> bool:
        """Return whether no trial is left to start: the number is reached, or the patience."""
        trials = self.trials()
        number = len(trials)
        return number >= self._context.spec.budget.trials or self._proposer.exhausted(
            trials, number
        )

    def counts(self) -> dict[str, int]:
        """Return how many trials are complete, pruned and failed."""
        states = [trial.state for trial in self.trials()]
        return {
            "complete": states.count(TrialState.COMPLETE),
            "pruned": states.count(TrialState.PRUNED),
            "failed": states.count(TrialState.FAIL),
        }

    def resume(self, scheduler: Scheduler) -> int:
        """Queue the trials that an earlier process left unfinished; return how many."""
        trials = self.trials()
        unfinished = [trial for trial in trials if trial.state not in FINISHED]
        for trial in unfinished:
            self._queue(trials, trial, scheduler)
        return len(unfinished)

    def refill(self, scheduler: Scheduler) -> None:
        """Start new trials as far as the budget and the order of the search allow."""
        trials = self.trials()
        while True:
            number = len(trials)
            # Whatever the time, one trial is run: without any there is no result.
            out_of_time = (
                number > 0 and self._deadline is not None and time.monotonic() > self._deadline
            )
            if number >= self._context.spec.budget.trials or out_of_time:
                return
            if not self._proposer.ready(trials, number):
                return
            if self._proposer.exhausted(trials, number):
                return
            params, noted = self._proposer.propose(trials, number)
            trial = self._create(params, noted, run_id=self._run_id(number))
            if trial.number != number:
                raise FersearchError(
                    f"trial {number} became trial {trial.number} in the storage",
                    "another program writes to this study: give it another --name",
                )
            trials = [*trials, trial]
            self._queue(trials, trial, scheduler)

    def _create(
        self, params: Mapping[str, Scalar], noted: dict[str, Any], *, run_id: str
    ) -> FrozenTrial:
        """Write a running trial in one transaction, so that it is there whole or not at all."""
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=self._proposer.active_distributions(params),
            user_attrs={"run_id": run_id, **({NOTED: noted} if noted else {})},
        )
        return self._storage.get_trial(self._storage.create_new_trial(self._study._study_id, trial))

    def _run_id(self, number: int) -> str:
        return self._prefix + trial_run_id(number)

    def _queue(
        self, trials: Sequence[FrozenTrial], trial: FrozenTrial, scheduler: Scheduler
    ) -> None:
        params: dict[str, Scalar] = dict(trial.params)
        run_id = self._run_id(trial.number)
        watch = self._proposer.watch(trials, trial.number, params)
        self._open[run_id] = _Open(trial.number, trial._trial_id, params, watch)
        plan = self._objective(self._context, params, self._context.spec.search.seed)
        label = RunLabel(
            run_id=run_id,
            study=self._folder.name,
            role="trial",
            protocol_hash=self._protocol_hash,
            parameters=dict(params),
        )
        scheduler.add(label, plan, checkpoint=self._folder.checkpoint(run_id))

    def report(self, progress: Progress) -> bool:
        """Store an epoch's metric; return whether the trial may go on."""
        if progress.record is None or progress.run_id not in self._open:
            return True
        trial = self._open[progress.run_id]
        value = self._metric(progress.record)
        self._storage.set_trial_intermediate_value(trial.trial_id, progress.record.epoch, value)
        # The last epoch is paid for already: there is nothing left to prune.
        prune = trial.watch.report(progress.record.epoch, value)
        return not prune or progress.done == progress.total

    def _metric(self, record: EpochRecord) -> float:
        macro = self._context.spec.search.metric == "macro_f1"
        return record.val_macro_f1 if macro else record.val_accuracy

    def close(self, run_id: str, result: RunRecord | Failure) -> RunRecord:
        """Tell the storage how a trial ended, keep its record, and return it."""
        trial = self._open.pop(run_id)
        record = self._failed(run_id, trial, result) if isinstance(result, Failure) else result
        self._folder.save(record)
        attributes: dict[str, Any] = {"seconds": record.seconds, "best_epoch": record.best_epoch}
        remarks = {
            "reason": record.reason,
            DIVERGED: record.state == "pruned" and record.reason.startswith("diverged"),
            RUNGS: trial.watch.rungs(),
        }
        # Each is a transaction of its own: what there is nothing to say of stays out.
        attributes |= {name: remark for name, remark in remarks.items() if remark}
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(trial.trial_id, name, value)
        if record.state == "complete":
            value = self._metric(record.epochs[record.best_epoch])
            values = self.goals.values(value, trial.params)
            self._study.tell(trial.number, values, skip_if_finished=True)
        else:
            state = TrialState.PRUNED if record.state == "pruned" else TrialState.FAIL
            self._study.tell(trial.number, state=state, skip_if_finished=True)
        self._best_known = False
        self._folder.checkpoint(run_id).unlink(missing_ok=True)
        if isinstance(result, Failure):
            self._give_up_if_hopeless(result)
        return record

    def _failed(self, run_id: str, trial: _Open, failure: Failure) -> RunRecord:
        return RunRecord(
            run_id=run_id,
            study=self._folder.name,
            role="trial",
            state="failed",
            reason=failure.message,
            model=student_of(self._context, trial.params)[0],
            parameters=dict(trial.params),
            seed=self._context.spec.search.seed,
            protocol_hash=self._protocol_hash,
            data_sha256=self._context.info.sha256,
        )

    def _give_up_if_hopeless(self, failure: Failure) -> None:
        ended = sorted(self.finished(), key=lambda trial: str(trial.datetime_complete))
        last = [trial.state for trial in ended[-HOPELESS_FAILURES:]]
        if last == [TrialState.FAIL] * HOPELESS_FAILURES:
            raise failure.error()
