"""From trained settings to an evaluation: test them once, count their cost, keep what was seen."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersearch.deploy.exported import ExportReport
from fersearch.distill import Execution, TrainJob, teacher_folder
from fersearch.environment import describe_environment
from fersearch.errors import FersearchError
from fersearch.evaluations import Evaluation, TestedRow, save_evaluation
from fersearch.models import create, macs, parameter_count
from fersearch.records import RunRecord, load_record
from fersearch.search.deploying import deployed_figures, files_to_test
from fersearch.search.final import Tested, explain_networks, open_test
from fersearch.search.folder import StudyFolder
from fersearch.search.objectives import StudyContext
from fersearch.search.pool import Pool
from fersearch.search.protocol import Protocol
from fersearch.search.repeats import Candidate

__all__ = ["Cost", "RowPlan", "evaluate_rows", "network_cost", "teacher_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one network costs.

    Attributes:
        params: Parameters at inference.
        macs: Multiply-accumulates of one image; None when they cannot be counted.
        macs_not_counted: Operators that were met and not counted, or why nothing was.
        file_mb: Size of the saved weights in megabytes.
    """

    params: int
    macs: int | None
    macs_not_counted: tuple[str, ...]
    file_mb: float


def network_cost(
    model: str, options: Mapping[str, Any], *, classes: int, image_size: int, bundle: Path
) -> Cost:
    """Count parameters, multiply-accumulates of one image and bytes on disk of one network."""
    network = create(model, num_classes=classes, image_size=image_size, **options)
    size = sum(path.stat().st_size for path in bundle.glob("*.safetensors"))
    try:
        counted = macs(network, image_size)
        total, left_out = counted.total, counted.unsupported
    except FersearchError as error:
        total, left_out = None, (str(error),)
    return Cost(
        params=parameter_count(network),
        macs=total,
        macs_not_counted=left_out,
        file_mb=round(size / 1e6, 3),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """One row to be tested: networks of one setting over the seeds.

    Attributes:
        key: Unique in the evaluation.
        role: ``teacher``, ``student``, ``distilled`` or ``baseline``.
        model: timm name.
        options: Options of the network.
        title: Name in tables.
        settings: What was chosen for it.
        records: One record a seed.
        bundles: Folder of each seed's network, by the name that its logits are kept under.
        shown: Name of the network that is shown in figures: the best on validation.
        source: Where the model was published.
        notes: What a reader must know about the row.
        command: The command that reproduces it; the evaluation's when empty.
        export: What was exported of the network that is shown; None for nothing.
    """

    key: str
    role: str
    model: str
    options: Mapping[str, Any]
    title: str
    settings: Mapping[str, Any]
    records: tuple[RunRecord, ...]
    bundles: Mapping[str, Path]
    shown: str
    source: str = ""
    notes: tuple[str, ...] = ()
    command: str = ""
    export: ExportReport | None = None

    @classmethod
    def of_candidate(cls, candidate: Candidate, folder: StudyFolder, **fields: Any) -> RowPlan:
        """Plan the row of a setting that was trained over the seeds."""
        return cls(
            records=candidate.records,
            settings=candidate.params,
            bundles={record.run_id: folder.bundle(record.run_id) for record in candidate.records},
            shown=candidate.best_record.run_id,
            **fields,
        )


def teacher_plan(job: TrainJob, folder: StudyFolder) -> RowPlan:
    """Plan the row of a cached teacher."""
    place = teacher_folder(folder.cache, job)
    name = f"teacher-{job.digest()}"
    return RowPlan(
        key="teacher",
        role="teacher",
        model=job.model,
        options=job.model_options,
        title="",
        settings={"learning_rate": job.recipe.learning_rate, **job.model_options},
        records=(load_record(place / "record.json"),),
        bundles={name: place},
        shown=name,
    )


def evaluate_rows(
    pool: Pool,
    plans: Sequence[RowPlan],
    *,
    kind: str,
    context: StudyContext,
    folder: StudyFolder,
    protocol: Protocol,
    dataset: Path,
    execution: Execution,
    pairs: Sequence[tuple[str, str]] = (),
    command: str = "",
    failed: Mapping[str, str] | None = None,
) -> tuple[Evaluation, Tested]:
    """Test the networks of all rows, keep the evaluation in the study's folder, and return it.

    Args:
        pool: Does the work.
        plans: The rows.
        kind: ``study``, ``ablation`` or ``baselines``.
        context: What all runs share.
        folder: Where everything lies.
        protocol: What it ran under.
        dataset: Folder of the decoded data.
        execution: Device, threads, precision.
        pairs: Keys of rows to compare, first minus second.
        command: The command that reproduces it.
        failed: Why a model has no row, by its title.
    """
    bundles = {name: path for plan in plans for name, path in plan.bundles.items()}
    for plan in plans:
        if plan.export is not None:
            bundles |= files_to_test(plan.export, plan.shown)
    tested = open_test(
        pool,
        bundles,
        folder=folder,
        dataset=dataset,
        execution=execution,
        study_hash=protocol.study_hash,
    )
    info = context.info
    evaluation = Evaluation(
        name=folder.name,
        kind=kind,
        protocol={**protocol.values, "layout": info.layout},
        protocol_hash=protocol.protocol_hash,
        study_hash=protocol.study_hash,
        classes=info.classes,
        rows=tuple(
            _row(plan, tested, classes=len(info.classes), image_size=info.image_size)
            for plan in plans
        ),
        labels=tested.labels,
        logits={plan.key: tested.of(list(plan.bundles)) for plan in plans},
        pairs=tuple(pairs),
        command=command,
        failed=dict(failed or {}),
        test_reads=tested.reads,
        environment=describe_environment(execution.device, execution.threads),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    explain_networks(
        pool,
        {plan.key: plan.bundles[plan.shown] for plan in plans},
        folder=folder,
        dataset=dataset,
        execution=execution,
    )
    save_evaluation(folder.evaluation, evaluation)
    return evaluation, tested


def _deployed(plan: RowPlan, tested: Tested) -> dict[str, float | str] | None:
    if plan.export is None:
        return None
    name = next(iter(files_to_test(plan.export, plan.shown)), "")
    return deployed_figures(
        plan.export,
        network=tested.logits[plan.shown],
        int8=tested.logits.get(name),
        labels=tested.labels,
    )


def _row(plan: RowPlan, tested: Tested, *, classes: int, image_size: int) -> TestedRow:
    cost = network_cost(
        plan.model,
        plan.options,
        classes=classes,
        image_size=image_size,
        bundle=next(iter(plan.bundles.values())),
    )
    trained = [record.metrics.get("training_params") for record in plan.records]
    notes = dict.fromkeys([*plan.notes, *(n for record in plan.records for n in record.notes)])
    return TestedRow(
        key=plan.key,
        model=plan.model,
        model_options=dict(plan.options),
        title=plan.title or plan.model,
        role=plan.role,
        seeds=tuple(record.seed for record in plan.records),
        runs=tuple(record.run_id for record in plan.records),
        settings=dict(plan.settings),
        val_accuracy=tuple(record.metrics["val_accuracy"] for record in plan.records),
        params=cost.params,
        training_params=int(trained[0] or cost.params),
        macs=cost.macs,
        macs_not_counted=cost.macs_not_counted,
        file_mb=cost.file_mb,
        source=plan.source,
        notes=tuple(notes),
        command=plan.command,
        deployed=_deployed(plan, tested),
        train_seconds=round(sum(record.seconds for record in plan.records), 1),
    )
