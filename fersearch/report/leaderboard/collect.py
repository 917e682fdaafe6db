"""From tracked studies to boards: what may be compared stands together, tested and corrected."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fersearch.deploy.latency import Architecture, Latency
from fersearch.environment import installed_version
from fersearch.errors import FersearchError
from fersearch.evaluations import Evaluation, TestedRow, load_evaluation
from fersearch.report.leaderboard.board import (
    Board,
    BoardRow,
    Leaderboard,
    SearchHistory,
    SearchTrial,
)
from fersearch.report.leaderboard.comparisons import against_first, contests, gains_of
from fersearch.report.paper.claims import claimed_for
from fersearch.search import parameter_importances
from fersearch.stats import RankComparison, compare_ranks, evaluate
from fersearch.track import TrackedRun, TrackedStudy

__all__ = ["Source", "architectures", "load_sources", "make_leaderboard"]


@dataclass(frozen=True, slots=True)
class Source:
    """One tracked study with its evaluation."""

    study: TrackedStudy
    evaluation: Evaluation


def load_sources(
    studies: Sequence[TrackedStudy], *, names: Sequence[str] = ()
) -> tuple[list[Source], list[str]]:
    """Read the evaluations of studies.

    Args:
        studies: The studies.
        names: Names of those that are wanted; all when empty.

    Returns:
        Those that have one, and for each other one a sentence that says why not.
    """
    sources, left_out = [], []
    for study in studies:
        if names and study.name not in names:
            continue
        if study.evaluation is None:
            left_out.append(f"{study.name}: {study.problem}")
            continue
        try:
            sources.append(Source(study, load_evaluation(study.evaluation)))
        except FersearchError as error:
            left_out.append(f"{study.name}: {error}")
    return sources, left_out


def architecture(evaluation: Evaluation, row: TestedRow) -> Architecture:
    """Return the network of a row without its weights."""
    return Architecture(
        model=row.model,
        options=dict(row.model_options),
        num_classes=len(evaluation.classes),
        image_size=int(evaluation.protocol["image_size"]),
    )


def architectures(sources: Sequence[Source]) -> list[Architecture]:
    """Return the different architectures of all rows."""
    every = [
        architecture(source.evaluation, row) for source in sources for row in source.evaluation.rows
    ]
    return list({item.key: item for item in every}.values())


def make_leaderboard(
    sources: Sequence[Source],
    *,
    left_out: Sequence[str] = (),
    latencies: Mapping[tuple[str, str], Latency] | None = None,
    runtimes: Sequence[str] = (),
    tracking: str = "",
    command: str = "",
) -> Leaderboard:
    """Return one board a protocol, the one with most rows first, grids last.

    Args:
        sources: Tracked studies with their evaluations.
        left_out: What could not be read, a sentence each.
        latencies: Measured latencies by key of the architecture and name of the runtime.
        runtimes: Names of the runtimes in the order in which they are shown, the main one first.
        tracking: Where the studies were read from.
        command: The command that makes this report.
    """
    failed = [
        f"{item.evaluation.name}: {title} was not tested: {why}"
        for item in sources
        for title, why in item.evaluation.failed.items()
    ]
    groups: dict[tuple[str, ...], list[Source]] = {}
    for source in sources:
        found = source.evaluation
        grid = found.kind == "ablation"
        # A grid is a table of its own: its cells are no entries of a competition.
        key = ("ablation", found.name, found.study_hash) if grid else ("", found.protocol_hash)
        groups.setdefault(key, []).append(source)
    boards, problems = [], []
    for group in groups.values():
        usable, reasons = same_test_split(group)
        problems += reasons
        boards.append(make_board(usable, latencies or {}, runtimes))
    boards.sort(key=lambda board: (board.kind == "ablation", -len(board.rows), board.protocol_hash))
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Leaderboard(
        boards=tuple(boards),
        left_out=(*left_out, *failed, *problems),
        ranking=compare_data_sets(boards),
        created=now,
        version=installed_version("fersearch") or "",
        tracking=tracking,
        command=command,
    )


def compare_data_sets(boards: Sequence[Board]) -> RankComparison | None:
    """Compare mean ranks over data sets; of each data set its largest board counts."""
    scores: dict[str, dict[str, float]] = {}
    digests: set[str] = set()
    for board in boards:
        digest = str(board.protocol["data_sha256"])
        if board.kind != "leaderboard" or digest in digests:
            continue
        digests.add(digest)
        name = str(board.protocol["data"])
        name = name if name not in scores else f"{name} ({board.protocol_hash})"
        scores[name] = {row.title: row.metrics.accuracy for row in board.rows}
    common = set.intersection(*(set(models) for models in scores.values())) if scores else set()
    return compare_ranks(scores) if len(scores) > 1 and len(common) > 1 else None


def same_test_split(group: Sequence[Source]) -> tuple[list[Source], list[str]]:
    """Keep the sources with the newest one's test labels; say why others are left out."""
    labels = group[-1].evaluation.labels
    usable = [item for item in group if np.array_equal(item.evaluation.labels, labels)]
    return usable, [
        f"{item.study.name}: its protocol hash is that of {group[-1].study.name}, but its test "
        "labels differ"
        for item in group
        if item not in usable
    ]


def make_board(
    sources: Sequence[Source],
    latencies: Mapping[tuple[str, str], Latency],
    runtimes: Sequence[str],
) -> Board:
    """Return the board of studies that share a protocol; needs at least one."""
    newest = sources[-1].evaluation
    rows = [
        make_row(source, row, latencies=latencies, runtimes=runtimes)
        for source in sources
        for row in source.evaluation.rows
    ]
    rows = distinct_titles(without_copies(rows))
    rows.sort(key=lambda row: (-row.metrics.accuracy, row.title, row.key))
    return Board(
        kind="ablation" if newest.kind == "ablation" else "leaderboard",
        protocol=merged_protocol(sources),
        protocol_hash=newest.protocol_hash,
        classes=newest.classes,
        labels=newest.labels,
        rows=tuple(against_first(rows, newest)),
        gains=tuple(gain for source in sources for gain in gains_of(source.evaluation)),
        contests=tuple(contests(rows, newest)) if newest.kind != "ablation" else (),
        searches=tuple(history for source in sources for history in histories(source)),
        test_reads={source.study.name: source.evaluation.test_reads for source in sources},
    )


def merged_protocol(sources: Sequence[Source]) -> dict[str, Any]:
    """Return what the rows share, and after it what only some of the studies have.

    The shared part decides the hash. What else differs between studies (their space, their
    trials) is taken from the first study that has it.
    """
    merged: dict[str, Any] = {}
    for source in sorted(sources, key=lambda item: item.evaluation.kind == "baselines"):
        for key, value in source.evaluation.protocol.items():
            merged.setdefault(key, value)
    shared = [key for key in merged if all(key in s.evaluation.protocol for s in sources)]
    own = {key: merged[key] for key in merged if key not in shared}
    return {**{key: merged[key] for key in shared}, **own}


def make_row(
    source: Source,
    row: TestedRow,
    *,
    latencies: Mapping[tuple[str, str], Latency],
    runtimes: Sequence[str],
) -> BoardRow:
    """Return a tested model as a row, not yet compared with any other."""
    evaluation = source.evaluation
    logits = evaluation.logits[row.key]
    ids = {run.name: run.run_id for run in source.study.runs}
    kind = str(evaluation.protocol.get("data_kind", ""))
    network = architecture(evaluation, row).key
    as_published = "input_size" not in row.model_options and not row.key.startswith("front_")
    return BoardRow(
        key=f"{evaluation.name}/{row.key}",
        model=row.model,
        title=row.title or row.model,
        role=row.role,
        seeds=row.seeds,
        settings=settings_of(row, evaluation),
        metrics=evaluate(logits, evaluation.labels, evaluation.classes, seeds=row.seeds),
        logits=logits,
        params=row.params,
        training_params=row.training_params,
        macs=row.macs,
        macs_not_counted=row.macs_not_counted,
        file_mb=row.file_mb,
        latencies={
            name: latencies[network, name] for name in runtimes if (network, name) in latencies
        },
        runtime=next(iter(runtimes), ""),
        deployed=row.deployed,
        claimed=claimed_for(row.model, row.role, kind) if as_published else None,
        run_ids=tuple(ids[name] for name in row.runs if name in ids),
        study=evaluation.name,
        command=row.command or evaluation.command,
        source=row.source,
        notes=row.notes,
        train_seconds=row.train_seconds,
        trials=int(evaluation.protocol.get("trials") or 0),
        as_published=as_published,
    )


def settings_of(row: TestedRow, evaluation: Evaluation) -> dict[str, Any]:
    """Return a row's settings; a distilled one's with its loss, which studies of a board differ in.

    Where the study searched the loss, the settings have it already.
    """
    if row.role != "distilled" or "loss" not in evaluation.protocol:
        return dict(row.settings)
    return {**row.settings, "loss": row.settings.get("loss", evaluation.protocol["loss"])}


def without_copies(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Keep one of rows that are the very same networks, run under several names."""
    kept: list[BoardRow] = []
    for row in rows:
        twin = next(
            (
                number
                for number, other in enumerate(kept)
                if (other.model, other.role, other.seeds) == (row.model, row.role, row.seeds)
                and np.array_equal(other.logits, row.logits)
            ),
            None,
        )
        if twin is None:
            kept.append(row)
        else:
            note = f"the same networks are in {row.study}"
            kept[twin] = dataclasses.replace(kept[twin], notes=(*kept[twin].notes, note))
    return kept


def distinct_titles(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Add the study's name to titles that occur twice."""
    titles = [row.title for row in rows]
    return [
        dataclasses.replace(row, title=f"{row.title} ({row.study})")
        if titles.count(row.title) > 1
        else row
        for row in rows
    ]


def histories(source: Source) -> list[SearchHistory]:
    """Return the searches of a study: one, or one a tuned baseline."""
    several = source.evaluation.kind == "baselines"
    trials: dict[str, list[TrackedRun]] = {}
    for run in source.study.runs:
        if run.role == "trial":
            trials.setdefault(run.model if several else "", []).append(run)
    protocol = source.evaluation.protocol
    name = source.evaluation.name
    return [
        make_history(f"{name}: {model}" if several else name, runs, protocol)
        for model, runs in trials.items()
    ]


def make_history(
    name: str, runs: Sequence[TrackedRun], protocol: Mapping[str, Any]
) -> SearchHistory:
    """Return the trials of one search by number, and how much each parameter mattered."""
    metric = str(protocol.get("metric", "accuracy"))
    trials = sorted(
        (
            SearchTrial(
                number=int(run.name.rpartition("-")[2]),
                state=run.state,
                value=run.metrics.get(f"val_{metric}"),
                params=run.params,
            )
            for run in runs
        ),
        key=lambda trial: trial.number,
    )
    complete = [
        (trial.params, trial.value)
        for trial in trials
        if trial.state == "complete" and trial.value is not None
    ]
    shares, note = parameter_importances(complete, protocol.get("space", {}))
    return SearchHistory(
        study=name,
        metric=metric,
        trials=tuple(trials),
        importances=shares,
        importance_note=note,
    )
