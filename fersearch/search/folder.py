"""A study's folder in the workspace: where its records, networks, report and result lie."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersearch.errors import FersearchError, InputError
from fersearch.evaluations import EVALUATION_FOLDER
from fersearch.records import RunRecord, load_record, save_record

__all__ = ["BACKBONES", "StudyFolder"]

BACKBONES = "backbones"
"""The ``kind`` of a ``result.json`` that sums up the studies of several students."""
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """Paths of one study; nothing is created by naming them.

    Attributes:
        workspace: The workspace's folder.
        name: Name of the study, or of the baseline run.
        kind: ``studies`` or ``baselines``: which part of the workspace it lies in.

    Raises:
        InputError: The name is not one that a folder may have.
    """

    workspace: Path
    name: str
    kind: str = "studies"

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise InputError(
                f"the name of a study cannot be {self.name!r}",
                "use at most 64 letters, digits, dots, dashes and underscores, no dot first",
            )

    @property
    def path(self) -> Path:
        """Folder of everything that belongs to the study."""
        return self.workspace / self.kind / self.name

    @property
    def cache(self) -> Path:
        """The workspace's cache, shared by all studies."""
        return self.workspace / "cache"

    @property
    def lock(self) -> Path:
        """Held by the process that runs the study."""
        return self.path / "lock"

    @property
    def protocol(self) -> Path:
        """What the records in this folder were made under."""
        return self.path / "protocol.json"

    @property
    def result(self) -> Path:
        """The finished study's figures."""
        return self.path / "result.json"

    @property
    def model(self) -> Path:
        """The network to deploy."""
        return self.path / "model"

    @property
    def test_reads(self) -> Path:
        """One line for every time the test split was opened."""
        return self.path / "test_reads.jsonl"

    @property
    def test_logits(self) -> Path:
        """The tested networks' logits on the test split."""
        return self.path / "test_logits.npz"

    @property
    def evaluation(self) -> Path:
        """What the test gave, for the tracker and the reports."""
        return self.path / EVALUATION_FOLDER

    def checkpoint(self, run_id: str) -> Path:
        """Checkpoint of a run in progress."""
        return self.path / "checkpoints" / f"{run_id}.pt"

    def bundle(self, run_id: str) -> Path:
        """Saved network of a finished run."""
        return self.path / "models" / run_id

    def record(self, run_id: str) -> Path:
        """Record of a finished run."""
        return self.path / "runs" / f"{run_id}.json"

    def save(self, record: RunRecord) -> None:
        """Write the record of a finished run."""
        save_record(record, self.record(record.run_id))

    def records(self) -> list[RunRecord]:
        """Return the records of all finished runs, by name."""
        return [load_record(path) for path in sorted((self.path / "runs").glob("*.json"))]

    def load_result(self) -> dict[str, Any] | None:
        """Return the finished study's figures, or None while there are none."""
        if not self.result.exists():
            return None
        try:
            content: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FersearchError(
                f"{self.result} cannot be read: {error}", "delete it and run the study again"
            ) from error
        return content
