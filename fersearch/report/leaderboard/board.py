"""What a leaderboard is, before it is written in any format: boards of rows that may be compared.

Rows of one board share a protocol hash: data, label rule, views, recipe, epochs, batch size and
seeds. Rows of different hashes stand in different boards and are never ranked together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fersearch.deploy.latency import Latency
from fersearch.stats import PairedGain, RankComparison, TestMetrics

__all__ = [
    "Board",
    "BoardRow",
    "Gain",
    "Leaderboard",
    "SearchHistory",
    "SearchTrial",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoardRow:
    """One model on a board.

    Attributes:
        key: Unique on the board.
        model: timm name.
        title: Name to show.
        role: ``teacher``, ``student``, ``distilled`` or ``baseline``.
        seeds: Training seeds, in the order of the logits.
        settings: Its hyperparameters by name.
        metrics: Figures on the test split, with intervals.
        logits: float32 ``(S, N, C)``.
        params: Parameters at inference.
        training_params: Parameters that were trained.
        macs: Multiply-accumulates of one image, or None.
        macs_not_counted: Operators that were met and not counted.
        file_mb: Size of the weights file in megabytes.
        latencies: Latencies by runtime; a runtime that it was not measured in is missing.
        runtime: Name of the main runtime: that of :attr:`latency`.
        deployed: What the ONNX files of one of its networks give, with the names of
            :attr:`fersearch.evaluations.TestedRow.deployed`; None where none was exported.
        claimed: What the paper claims for a model of this name: ``accuracy``, ``precision`` in
            0-1 and ``params_m`` in millions, each possibly missing; None when it claims nothing.
        versus_first: Difference in accuracy to the board's first row, this row minus the first;
            None for the first row and where the seeds do not pair.
        p_value_vs_first: Its p-value after Holm's correction over the board; None like the above.
        run_ids: Ids of its runs in the tracker, in the order of the seeds.
        study: Name of the study or baseline run that it comes from.
        command: The command that reproduces it.
        source: Where the model was published.
        notes: What a reader must know, one sentence each.
        train_seconds: Wall-clock seconds of training, all seeds.
        trials: Trials asked for in the search that chose its settings; 0 for none.
        as_published: Whether it is what its role and model stand for in the literature: not a
            network that works at another size than the data's, nor a further point of a front.
    """

    key: str
    model: str
    title: str
    role: str
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    metrics: TestMetrics
    logits: NDArray[np.float32]
    params: int
    training_params: int
    macs: int | None
    macs_not_counted: tuple[str, ...]
    file_mb: float
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    runtime: str = ""
    deployed: Mapping[str, float | str] | None = None
    claimed: Mapping[str, float] | None = None
    versus_first: PairedGain | None = None
    p_value_vs_first: float | None = None
    run_ids: tuple[str, ...] = ()
    study: str = ""
    command: str = ""
    source: str = ""
    notes: tuple[str, ...] = ()
    train_seconds: float = 0.0
    trials: int = 0
    as_published: bool = True

    @property
    def latency(self) -> Latency | None:
        """Latency in the main runtime, or None where it was not measured."""
        return self.latencies.get(self.runtime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """A paired comparison that a study was made for: distilled minus the same student alone.

    Attributes:
        study: Name of the study.
        first: Title of the first row.
        second: Title of the second.
        gain: First minus second.
    """

    study: str
    first: str
    second: str
    gain: PairedGain


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTrial:
    """One trial of a search.

    Attributes:
        number: From 0.
        state: ``complete``, ``pruned`` or ``failed``.
        value: Best validation metric of the trial, in 0-1; None when no epoch finished.
        params: Its settings.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHistory:
    """The search of a study or of a tuned baseline.

    Attributes:
        study: Name of the study.
        metric: Validation metric that was maximised.
        trials: By number.
        importances: Share of each parameter, by name, sorted falling; empty where undefined.
        importance_note: How they were computed, or why there are none.
    """

    study: str
    metric: str
    trials: tuple[SearchTrial, ...]
    importances: Mapping[str, float] = field(default_factory=dict)
    importance_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Board:
    """Rows that may be compared.

    Attributes:
        kind: ``leaderboard``, or ``ablation`` for the cells of a grid.
        protocol: The protocol they share, as in ``result.json``.
        protocol_hash: Its digest.
        classes: Names of the classes.
        labels: True classes of the test images, int64 ``(N,)``.
        rows: By falling accuracy; ties by name.
        gains: The comparisons that its studies were made for.
        contests: Every distilled student against every baseline, p-values corrected for their
            number (Holm).
        searches: Histories of its searches.
        test_reads: How often each study opened the test split, by study.
    """

    kind: str
    protocol: Mapping[str, Any]
    protocol_hash: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    rows: tuple[BoardRow, ...]
    gains: tuple[Gain, ...] = ()
    contests: tuple[Gain, ...] = ()
    searches: tuple[SearchHistory, ...] = ()
    test_reads: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Everything a report shows.

    Attributes:
        boards: One a protocol, the largest first.
        left_out: Runs that could not be shown, each with the reason.
        ranking: Mean ranks over several data sets of the models that all of them have; None
            with one data set, or with fewer than two common models.
        created: UTC time, ISO 8601.
        version: Version of fersearch that made it.
        tracking: Where the runs were read from, without passwords.
        command: The command that makes this report.
    """

    boards: tuple[Board, ...]
    left_out: tuple[str, ...] = ()
    ranking: RankComparison | None = None
    created: str = ""
    version: str = ""
    tracking: str = ""
    command: str = ""
