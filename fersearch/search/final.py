"""The end of a study: the test split is opened once, and that is written down."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fersearch.data.dataset import DataInfo
from fersearch.distill import Execution, PredictTask, TrainJob, teacher_folder
from fersearch.files import ensure_folder
from fersearch.records import RunRecord
from fersearch.search.confirm import Candidate, Confirmation, pick
from fersearch.search.folder import StudyFolder
from fersearch.search.pool import Failure, Pool
from fersearch.stats import PairedGain, TestMetrics, evaluate, paired_gain

__all__ = ["TestOutcome", "run_test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestOutcome:
    """What the test split said.

    Attributes:
        metrics: ``distilled``, ``student_alone`` and ``teacher`` by role.
        gain: Distilled minus alone, on the same images and seeds.
        reads: How often this study has opened the test split, this time included.
        bundle: Network of the best validation seed of the distilled student.
    """

    __test__ = False

    metrics: dict[str, TestMetrics]
    gain: PairedGain
    reads: int
    bundle: Path


def _note_read(folder: StudyFolder, study_hash: str, networks: list[str]) -> None:
    """Write down, before it happens, that the test split is opened."""
    ensure_folder(folder.path)
    entry = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "study_hash": study_hash,
        "networks": networks,
    }
    with folder.test_reads.open("a", encoding="utf-8") as ledger:
        ledger.write(json.dumps(entry) + "\n")


def run_test(
    pool: Pool,
    *,
    confirmation: Confirmation,
    teacher: TrainJob | None,
    folder: StudyFolder,
    dataset: Path,
    info: DataInfo,
    execution: Execution,
    study_hash: str,
) -> TestOutcome:
    """Test the picked distilled student, the picked bare student and the teacher, once.

    The networks' logits are kept in ``test_logits.npz``; when they are there already for the very
    same networks, the split is not opened again.
    """
    chosen = {"distilled": pick(confirmation.distilled), "student_alone": pick(confirmation.alone)}
    names: dict[str, list[str]] = {
        role: [record.run_id for record in candidate.records] for role, candidate in chosen.items()
    }
    bundles = {name: folder.bundle(name) for items in names.values() for name in items}
    if teacher is not None:
        name = f"teacher-{teacher.digest()}"
        names["teacher"] = [name]
        bundles[name] = teacher_folder(folder.cache, teacher)
    if not folder.test_reads.exists() or not _holds(folder.test_logits, list(bundles)):
        _note_read(folder, study_hash, list(bundles))
        task = PredictTask(
            bundles=bundles,
            split="test",
            dataset=dataset,
            output=folder.test_logits,
            execution=execution,
        )
        pool.submit("test", task)
        _, failure = pool.wait(lambda progress: True)
        if isinstance(failure, Failure):
            raise failure.error()
    with np.load(folder.test_logits) as content:
        labels = content["labels"]
        logits = {role: np.stack([content[name] for name in names[role]]) for role in names}
    metrics = {}
    for role, values in logits.items():
        seeds = confirmation.seeds if role != "teacher" else (teacher.seed if teacher else 0,)
        metrics[role] = evaluate(values, labels, info.classes, seeds=seeds)
    return TestOutcome(
        metrics=metrics,
        gain=paired_gain(logits["distilled"], logits["student_alone"], labels),
        reads=len(folder.test_reads.read_text(encoding="utf-8").splitlines()),
        bundle=folder.bundle(_best_record(chosen["distilled"]).run_id),
    )


def _holds(path: Path, names: list[str]) -> bool:
    if not path.exists():
        return False
    with np.load(path) as content:
        return set(content.files) == {*names, "labels"}


def _best_record(candidate: Candidate) -> RunRecord:
    name = f"val_{candidate.metric}"
    return max(candidate.records, key=lambda record: record.metrics[name])
