"""The end of a study: the test split is opened, each network meets it once, and that is noted."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fersearch.distill import Execution, ExplainTask, PredictTask, Task
from fersearch.evaluations import GRAD_CAM_FILE
from fersearch.files import atomic_path, ensure_folder
from fersearch.search.folder import StudyFolder
from fersearch.search.pool import Failure, Pool

__all__ = ["Tested", "explain_networks", "open_test"]

LABELS = "labels"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tested:
    """What the test split said.

    Attributes:
        labels: True classes, int64 ``(N,)``.
        logits: float32 ``(N, C)`` by name of the network.
        reads: How often this study has opened the test split, this time included.
    """

    __test__ = False

    labels: NDArray[np.int64]
    logits: Mapping[str, NDArray[np.float32]]
    reads: int

    def of(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Return the logits of some networks, float32 ``(S, N, C)``."""
        return np.stack([self.logits[name] for name in names])


def open_test(
    pool: Pool,
    bundles: Mapping[str, Path],
    *,
    folder: StudyFolder,
    dataset: Path,
    execution: Execution,
    study_hash: str,
) -> Tested:
    """Test saved networks, each once.

    The logits are kept in ``test_logits.npz``; networks that are there already are not tested
    again. Every opening of the split is written down before it happens.

    Args:
        pool: Does the work.
        bundles: Folders of the networks, by name; a name stands for one network for ever.
        folder: The study's folder.
        dataset: Folder of the decoded data.
        execution: Device, threads, precision.
        study_hash: Digest of everything that decided the study's numbers.
    """
    held = _read(folder.test_logits) if folder.test_reads.exists() else {}
    missing = {name: path for name, path in bundles.items() if name not in held}
    if missing:
        _note_read(folder, study_hash, list(missing))
        fresh = folder.test_logits.with_name("test_logits.new.npz")
        task = PredictTask(
            bundles=missing, split="test", dataset=dataset, output=fresh, execution=execution
        )
        _do(pool, "test", task)
        held = {**held, **_read(fresh)}
        with atomic_path(folder.test_logits) as temporary:
            np.savez(temporary, **dict[str, Any](held))
        fresh.unlink()
    return Tested(
        labels=held[LABELS],
        logits={name: held[name] for name in bundles},
        reads=len(folder.test_reads.read_text(encoding="utf-8").splitlines()),
    )


def explain_networks(
    pool: Pool,
    bundles: Mapping[str, Path],
    *,
    folder: StudyFolder,
    dataset: Path,
    execution: Execution,
) -> Path:
    """Keep Grad-CAM maps of tested networks, on images chosen without looking at any answer.

    Args:
        pool: Does the work.
        bundles: Folders of the networks, by key of their row.
        folder: The study's folder.
        dataset: Folder of the decoded data.
        execution: Device, threads, precision.
    """
    output = ensure_folder(folder.evaluation) / GRAD_CAM_FILE
    task = ExplainTask(
        bundles=dict(bundles), split="test", dataset=dataset, output=output, execution=execution
    )
    _do(pool, "explain", task)
    return output


def _do(pool: Pool, name: str, task: Task) -> None:
    pool.submit(name, task)
    _, failure = pool.wait(lambda progress: True)
    if isinstance(failure, Failure):
        raise failure.error()


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


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.exists():
        return {}
    with np.load(path) as content:
        return {name: content[name] for name in content.files}
