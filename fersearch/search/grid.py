"""A grid: every combination of a study's choices, trained over the seeds and tested once.

Nothing is searched and nothing is picked, so all cells may be tested: the ablation of the paper's
Table I. The student alone and the teacher stand beside the cells.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from fersearch.data.dataset import Dataset
from fersearch.errors import InputError
from fersearch.evaluations import Evaluation
from fersearch.files import file_lock, write_json
from fersearch.records import to_plain
from fersearch.search.evaluating import RowPlan, evaluate_rows, teacher_plan
from fersearch.search.objectives import PAPER, RunPlan, alone, resolve_objective
from fersearch.search.pool import Pool, make_pool
from fersearch.search.progress import Listener, ignore_progress
from fersearch.search.repeats import Candidate, Setting, pick, seeds_of, train_over_seeds
from fersearch.search.session import Session, StudySettings
from fersearch.spec import CategoricalParameter, Scalar, StudySpec
from fersearch.stats import evaluate, paired_gain
from fersearch.track import NullTracker, Sink

__all__ = ["cell_key", "grid_cells", "run_grid"]

ALONE = "student_alone"


def grid_cells(spec: StudySpec) -> list[dict[str, Scalar]]:
    """Return every combination of the study's choices, the last parameter changing fastest.

    Raises:
        InputError: A parameter is not categorical, or has conditions.
    """
    choices: list[tuple[Scalar, ...]] = []
    for parameter in spec.space:
        if not isinstance(parameter, CategoricalParameter) or parameter.when:
            raise InputError(
                f"the sampler grid of study {spec.name} needs lists of choices but "
                f"space.{parameter.name} has none (or has conditions)",
                'write kind = "categorical" and choices = [...], or take another sampler',
            )
        choices.append(tuple(parameter.choices))
    names = [parameter.name for parameter in spec.space]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*choices)]


def cell_key(params: dict[str, Scalar], shown: Sequence[str]) -> str:
    """Return the name of a cell: the parameters that vary over the grid.

    >>> cell_key({"temperature": 6.0, "alpha": 0.4, "ffe_splits": 4}, ["temperature", "alpha"])
    'temperature=6 alpha=0.4'
    """
    parts = []
    for name in shown:
        value = params[name]
        parts.append(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}")
    return " ".join(parts) or "cell"


class _Runner(Session):
    """One invocation of a grid."""

    def __init__(
        self,
        spec: StudySpec,
        dataset: Dataset,
        settings: StudySettings,
        *,
        tracker: Sink,
        listener: Listener,
    ) -> None:
        self.cells = grid_cells(spec)
        super().__init__(spec, dataset, settings, tracker=tracker, listener=listener)
        self.objective = resolve_objective(spec)
        self.phase = "train"

    @property
    def varying(self) -> list[str]:
        """The parameters with more than one choice."""
        return [
            parameter.name
            for parameter in self.spec.space
            if isinstance(parameter, CategoricalParameter) and len(parameter.choices) > 1
        ]

    def settings_to_train(self) -> list[Setting]:
        """Return the cells, then the student alone at each of their learning rates."""
        cells = [
            Setting(
                role="distilled",
                params=cell,
                prefix="cell",
                plan=partial(self.objective, self.context, cell),
            )
            for cell in self.cells
        ]
        rates = dict.fromkeys(
            float(c.get("learning_rate", PAPER["learning_rate"])) for c in self.cells
        )
        controls = [
            Setting(
                role=ALONE,
                params={"learning_rate": rate},
                prefix="alone",
                plan=partial(alone, self.context, {"learning_rate": rate}),
            )
            for rate in rates
        ]
        return cells + controls

    def run(self) -> dict[str, Any]:
        """Train and test the grid; return the content of ``result.json``."""
        started = time.monotonic()
        self.check_folder()
        self.keep_protocol()
        self.open_tracking()
        finished = self.folder.load_result()
        if finished is not None and finished.get("study_hash") == self.protocol.study_hash:
            return finished
        with self.ending_tracked():
            return self._work(started)

    def _work(self, started: float) -> dict[str, Any]:
        seeds = seeds_of(self.spec.search.seed, self.spec.budget.seeds)
        wanted = self.settings_to_train()
        pool = make_pool(self.settings.jobs, plugins=self.settings.plugins)

        def on_start(done: int, total: int) -> None:
            self.done, self.total = done, total
            self.tell(
                message=f"training {len(self.cells)} cells and the bare student over "
                f"{len(seeds)} seeds"
            )

        try:
            candidates = train_over_seeds(
                self.scheduler(pool),
                wanted,
                seeds=seeds,
                metric=self.spec.search.metric,
                folder=self.folder,
                protocol_hash=self.protocol.protocol_hash,
                on_start=on_start,
                on_record=self.on_record,
            )
            self.timed("train", started)
            mark = time.monotonic()
            evaluation = self.test(pool, candidates, wanted[0].plan(seeds[0]))
            self.timed("test", mark)
        finally:
            pool.close()
        self.timed("total", started)
        result = self.result(evaluation)
        write_json(self.folder.result, result)
        return result

    def test(self, pool: Pool, candidates: Sequence[Candidate], first: RunPlan) -> Evaluation:
        """Test every cell, the student alone and the teacher."""
        self.phase, self.done, self.total = "test", 0, 1
        self.tell(message="testing every cell, once")
        cells, controls = candidates[: len(self.cells)], candidates[len(self.cells) :]
        training = self.spec.training
        common = {"model": training.student, "options": training.student_options}
        plans = [
            RowPlan.of_candidate(
                cell,
                self.folder,
                key=cell_key(cell.params, self.varying),
                role="distilled",
                title=cell_key(cell.params, self.varying),
                **common,
            )
            for cell in cells
            if cell.mean > 0  # a cell that diverged is named below, and not tested
        ]
        plans.append(
            RowPlan.of_candidate(
                pick(controls),
                self.folder,
                key=ALONE,
                role="student",
                title=f"{training.student}, alone",
                **common,
            )
        )
        if first.teacher is not None:
            plans.append(teacher_plan(first.teacher, self.folder))
        self.diverged = [cell_key(c.params, self.varying) for c in cells if c.mean == 0]
        evaluation, _ = evaluate_rows(
            pool,
            plans,
            kind="ablation",
            context=self.context,
            folder=self.folder,
            protocol=self.protocol,
            dataset=self.dataset.path,
            execution=self.settings.execution,
            pairs=[(plan.key, ALONE) for plan in plans if plan.role == "distilled"],
            command=self.settings.command,
            failed=dict.fromkeys(self.diverged, "diverged on some seed"),
        )
        return evaluation

    def result(self, evaluation: Evaluation) -> dict[str, Any]:
        """Return what ``result.json`` holds, as plain values."""
        labels, logits = evaluation.labels, evaluation.logits

        def block(key: str, seeds: Sequence[int]) -> Any:
            return evaluate(logits[key], labels, evaluation.classes, seeds=seeds)

        cells, others = [], {}
        for row in evaluation.rows:
            test = block(row.key, row.seeds)
            if row.role == "distilled":
                gain = paired_gain(logits[row.key], logits[ALONE], labels)
                cells.append({"key": row.key, "params": row.settings, "test": test, "gain": gain})
            else:
                others[row.key] = {"params": row.settings, "test": test}
        plain: dict[str, Any] = to_plain(
            {
                "name": self.folder.name,
                "kind": "ablation",
                "protocol": {**evaluation.protocol, "notes": self.dataset.info.notes},
                "protocol_hash": evaluation.protocol_hash,
                "study_hash": evaluation.study_hash,
                "varying": self.varying,
                "cells": cells,
                "diverged": self.diverged,
                **others,
                "test_reads": evaluation.test_reads,
                "environment": evaluation.environment,
                "seconds": self.seconds,
                "command": self.settings.command,
            }
        )
        return plain


def run_grid(
    spec: StudySpec,
    dataset: Dataset,
    settings: StudySettings,
    *,
    tracker: Sink | None = None,
    listener: Listener = ignore_progress,
) -> dict[str, Any]:
    """Run a grid, or what is left of it, and return the content of its ``result.json``.

    Args:
        spec: The study; every parameter of its space is a list of choices.
        dataset: The data.
        settings: Where and how it runs.
        tracker: Where run records go besides the study's folder.
        listener: Told of everything that happens.

    Raises:
        InputError: The space is no grid, or a study of that name has another protocol.
        FersearchError: It is being run by another process, or cannot be finished.
    """
    runner = _Runner(spec, dataset, settings, tracker=tracker or NullTracker(), listener=listener)
    busy = f"the study {runner.folder.name!r} is being run by another process"
    with file_lock(runner.folder.lock, wait=False, busy=busy):
        return runner.run()
