"""One run record as one MLflow run: what is written, under which names, and never twice.

A run is found again by the tag ``fersearch.key``. It counts as written once it is terminated and
carries the digest of its record; anything else is the trace of a crash, and is written anew.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fersearch.records import EpochRecord, RunRecord, canonical_json, digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

__all__ = ["RunWriter", "StudyHeader", "flatten"]

Item = TypeVar("Item")

STATUS = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}
WRITTEN = frozenset(STATUS.values())
# The store's limits for one request and one value.
METRICS_PER_BATCH = 1000
PARAMETERS_PER_BATCH = 100
PARAMETER_LENGTH = 6000
TAG_LENGTH = 8000
KEY_LENGTH = 250
DIGEST_LENGTH = 36
DATASET_NAME_LENGTH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyHeader:
    """What the parent run of a study says.

    Attributes:
        name: Name of the study.
        identity: Tells apart studies of one name on one server.
        protocol: The comparison protocol; nested values are flattened with dots.
        tags: Further tags of the parent run.
    """

    name: str
    identity: str = ""
    protocol: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return nested ``values`` as one level of texts with dotted keys.

    >>> flatten({"epochs": 10, "views": {"flip": True}, "classes": ("a", "b")})
    {'epochs': '10', 'views.flip': 'True', 'classes': '["a","b"]'}
    """
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif value is None or isinstance(value, str | int | float):
            flat[key_of(f"{prefix}{key}")] = str(value)
        else:
            flat[key_of(f"{prefix}{key}")] = canonical_json(value)
    return flat


def key_of(name: str) -> str:
    """Return ``name`` with the characters that MLflow refuses in keys replaced."""
    return re.sub(r"[^\w\-. /:]", "_", name)[:KEY_LENGTH].strip("/. ") or "_"


def milliseconds(started: str) -> int:
    """Return the ISO 8601 time ``started`` in milliseconds since 1970; the present if empty."""
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:
        return int(time.time() * 1000)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def epoch_figures(epoch: EpochRecord) -> dict[str, float]:
    """Return the per-epoch series and their values at ``epoch``."""
    return {
        "learning_rate": epoch.learning_rate,
        "train_loss": epoch.train_loss,
        "train_accuracy": epoch.train_accuracy,
        "val_loss": epoch.val_loss,
        "val_accuracy": epoch.val_accuracy,
        "val_macro_f1": epoch.val_macro_f1,
        "images_per_second": epoch.images / epoch.seconds if epoch.seconds > 0 else math.nan,
    }


def batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Yield ``items`` in lists of at most ``size``."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


class RunWriter:
    """Writes studies and their runs into one experiment.

    Args:
        client: A client whose store has answered.
        experiment: Id of the experiment.
    """

    def __init__(self, client: MlflowClient, experiment: str) -> None:
        self._client = client
        self._experiment = experiment
        self._headers: dict[str, StudyHeader] = {}
        self._parents: dict[str, str] = {}

    def forget(self) -> None:
        """Drop what is known of the store: after a failure it may have changed."""
        self._parents.clear()

    def announce(self, header: StudyHeader) -> None:
        """Take note of a study, before its runs are written."""
        self._headers[header.name] = header

    def open_study(self, name: str, *, reopen: bool = False) -> str:
        """Return the id of the parent run of the study ``name``; create it if it is not there.

        Args:
            name: Name of the study.
            reopen: Let a study that was ended count as running again.
        """
        if name in self._parents and not reopen:
            return self._parents[name]
        header = self._headers.get(name) or StudyHeader(name=name)
        key = digest([header.identity, name])
        runs = self._find(key)
        if runs:
            parent = runs[0]
            if reopen and parent.info.status != "RUNNING":
                self._client.update_run(parent.info.run_id, status="RUNNING")
        else:
            parent = self._client.create_run(
                self._experiment,
                run_name=name,
                tags=clip_tags(
                    {
                        **header.tags,
                        "fersearch.key": key,
                        "fersearch.study": name,
                        "fersearch.role": "study",
                        "mlflow.source.name": "fersearch",
                    }
                ),
            )
        written = parent.data.params
        self._log(
            parent.info.run_id,
            parameters={
                name: text for name, text in flatten(header.protocol).items() if name not in written
            },
        )
        self._parents[name] = parent.info.run_id
        return self._parents[name]

    def finish_study(
        self, name: str, metrics: Mapping[str, float], artifacts: Sequence[Path], state: str
    ) -> None:
        """Write the result of a study into its parent run and end that."""
        parent = self.open_study(name)
        self._log(parent, metrics=self._figures(metrics, int(time.time() * 1000)))
        for path in artifacts:
            self._client.log_artifact(parent, str(path))
        self._client.set_terminated(parent, STATUS[state])
        self._parents.pop(name)

    def write(self, record: RunRecord, artifacts: Sequence[Path] = ()) -> None:
        """Write one record as a run below its study, unless it is there already."""
        header = self._headers.get(record.study) or StudyHeader(name=record.study)
        parent = self.open_study(record.study)
        key = digest([header.identity, record.study, record.run_id])
        fingerprint = digest(record)
        standing = ""
        for run in self._find(key, parent):
            complete = run.info.status in WRITTEN
            if complete and not standing and run.data.tags.get("fersearch.digest") == fingerprint:
                standing = run.info.run_id
            else:
                self._client.delete_run(run.info.run_id)
        if standing:
            self._add_missing(standing, artifacts)
            return
        started = milliseconds(record.started)
        run = self._client.create_run(
            self._experiment,
            start_time=started,
            run_name=record.run_id,
            tags=clip_tags(run_tags(record, parent=parent, key=key, fingerprint=fingerprint)),
        )
        run_id = run.info.run_id
        self._log(
            run_id,
            metrics=self._series(record, started),
            parameters=flatten(
                {"model": record.model, "seed": record.seed, **dict(record.parameters)}
            ),
        )
        self._client.log_inputs(run_id, [dataset_input(record, header)])
        for path in artifacts:
            self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(
            run_id,
            STATUS.get(record.state, "FAILED"),
            end_time=started + int(record.seconds * 1000),
        )

    def _find(self, key: str, parent: str = "") -> list[Run]:
        condition = f"tags.`fersearch.key` = '{key}'"
        if parent:
            condition += f" and tags.`mlflow.parentRunId` = '{parent}'"
        return list(
            self._client.search_runs(
                [self._experiment], condition, order_by=["attributes.start_time ASC"]
            )
        )

    def _add_missing(self, run_id: str, artifacts: Sequence[Path]) -> None:
        if not artifacts:
            return
        held = {item.path for item in self._client.list_artifacts(run_id)}
        for path in artifacts:
            if path.name not in held:
                self._client.log_artifact(run_id, str(path))

    def _figures(self, values: Mapping[str, float], when: int) -> list[Metric]:
        # Under a prefix of their own: a final figure must not join a series of the epochs.
        from mlflow.entities import Metric

        return [
            Metric(key_of(f"final/{name}"), float(value), when, 0)
            for name, value in values.items()
            if math.isfinite(value)
        ]

    def _series(self, record: RunRecord, started: int) -> list[Metric]:
        from mlflow.entities import Metric

        metrics = []
        clock = float(started)
        for epoch in record.epochs:
            clock += 1000 * epoch.seconds
            metrics += [
                Metric(name, float(value), int(clock), epoch.epoch)
                for name, value in epoch_figures(epoch).items()
                if math.isfinite(value)
            ]
        final = {**record.metrics, "seconds": record.seconds}
        if record.best_epoch >= 0:
            final["best_epoch"] = record.best_epoch
        return metrics + self._figures(final, started + int(1000 * record.seconds))

    def _log(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        from mlflow.entities import Param

        texts = [
            Param(name, text[:PARAMETER_LENGTH] or "-") for name, text in (parameters or {}).items()
        ]
        figures = batches(metrics, METRICS_PER_BATCH - PARAMETERS_PER_BATCH)
        settings = batches(texts, PARAMETERS_PER_BATCH)
        while True:  # one request for all but very long runs; a request holds 1,000 items in all
            batch, chosen = next(figures, []), next(settings, [])
            if not batch and not chosen:
                return
            self._client.log_batch(run_id, metrics=batch, params=chosen)


def clip_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return ``tags`` with keys and values that MLflow accepts, at most 100 of them."""
    pairs = ((key_of(key), value[:TAG_LENGTH]) for key, value in tags.items())
    return dict(islice(pairs, PARAMETERS_PER_BATCH))


def run_tags(record: RunRecord, *, parent: str, key: str, fingerprint: str) -> dict[str, str]:
    """Return the tags of the run of ``record``; those that find it again come first."""
    note = {"mlflow.note.content": record.reason} if record.reason else {}
    return {
        "mlflow.parentRunId": parent,
        "mlflow.source.name": "fersearch",
        "fersearch.key": key,
        "fersearch.digest": fingerprint,
        "fersearch.run_id": record.run_id,
        "fersearch.study": record.study,
        "fersearch.role": record.role,
        "fersearch.state": record.state,
        "fersearch.protocol_hash": record.protocol_hash,
        "fersearch.data_sha256": record.data_sha256,
        **note,
        **{f"environment.{name}": text for name, text in flatten(record.environment).items()},
    }


def dataset_input(record: RunRecord, header: StudyHeader) -> DatasetInput:
    """Return the data of ``record`` as the input that MLflow shows beside the run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name = str(header.protocol.get("data") or "data")
    source = json.dumps({"data": name, "sha256": record.data_sha256})
    return DatasetInput(
        Dataset(
            name=name[:DATASET_NAME_LENGTH],
            digest=record.data_sha256[:DIGEST_LENGTH] or "unknown",
            source_type="local",
            source=source,
        ),
        [InputTag("mlflow.data.context", "training")],
    )
