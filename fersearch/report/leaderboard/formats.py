"""A leaderboard as data and as text: JSON, CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fersearch.records import to_plain
from fersearch.report.leaderboard.board import Board, BoardRow, Leaderboard
from fersearch.report.leaderboard.cost_words import DEPLOYED_FIGURES
from fersearch.report.leaderboard.latex import leaderboard_latex
from fersearch.report.leaderboard.markdown import leaderboard_markdown
from fersearch.report.leaderboard.ranking import ranking_json
from fersearch.report.leaderboard.words import ranks

__all__ = [
    "leaderboard_csv",
    "leaderboard_json",
    "leaderboard_latex",
    "leaderboard_markdown",
]

CLAIMS = ("accuracy", "precision", "params_m")
LATENCY_FACTS = (
    "runtime",
    "runtime_version",
    "threads",
    "image_size",
    "runs",
    "host",
    "session",
    "unsteady",
)
RUNTIME_PREFIX = "latency_in_"
AFTER_RUNTIMES = "claimed_accuracy"
PLAIN_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def leaderboard_json(leaderboard: Leaderboard) -> dict[str, Any]:
    """Return a leaderboard as JSON: its first board at the top, all of them in ``tables``.

    NaN and infinity become null. Rows of different protocol hashes stand in different tables.
    """
    tables = [board_json(board) for board in leaderboard.boards]
    first: Mapping[str, Any] = tables[0] if tables else {}
    return {
        "protocol_hash": first.get("protocol_hash"),
        "protocol": first.get("protocol", {}),
        "rows": first.get("rows", []),
        "tables": tables,
        "ranking": ranking_json(leaderboard.ranking),
        "left_out": list(leaderboard.left_out),
        "created": leaderboard.created,
        "version": leaderboard.version,
        "tracking": leaderboard.tracking,
        "command": leaderboard.command,
    }


def board_json(board: Board) -> dict[str, Any]:
    """Return a board as JSON."""
    places = ranks(board.rows)
    plain: dict[str, Any] = to_plain(
        {
            "kind": board.kind,
            "protocol_hash": board.protocol_hash,
            "protocol": board.protocol,
            "classes": board.classes,
            "rows": [row_json(row, rank) for row, rank in zip(board.rows, places, strict=True)],
            "gains": [
                {
                    "study": gain.study,
                    "first": gain.first,
                    "second": gain.second,
                    **to_plain(gain.gain),
                }
                for gain in board.gains
            ],
            "contests": [
                {
                    "study": item.study,
                    "first": item.first,
                    "second": item.second,
                    **to_plain(item.gain),
                }
                for item in board.contests
            ],
            "searches": board.searches,
            "test_reads": board.test_reads,
        }
    )
    return plain


def row_json(row: BoardRow, rank: int) -> dict[str, Any]:
    """Return a row with the names of ``leaderboard.json``."""
    metrics, gain = row.metrics, row.versus_first
    return {
        "rank": rank,
        "key": row.key,
        "model": row.model,
        "title": row.title,
        "role": row.role,
        "seeds": row.seeds,
        "accuracy": metrics.accuracy,
        "accuracy_ci95": metrics.accuracy_ci95,
        "macro_precision": metrics.macro_precision,
        "macro_f1": metrics.macro_f1,
        "macro_f1_ci95": metrics.macro_f1_ci95,
        "balanced_accuracy": metrics.balanced_accuracy,
        "balanced_accuracy_ci95": metrics.balanced_accuracy_ci95,
        "auc": metrics.auc,
        "ece": metrics.ece,
        "per_class": metrics.per_class,
        "confusion": metrics.confusion,
        "by_seed": metrics.seeds,
        "interval": metrics.interval,
        "params": row.params,
        "training_params": row.training_params,
        "macs": row.macs,
        "macs_not_counted": row.macs_not_counted,
        "file_mb": row.file_mb,
        "latency_ms": row.latency,
        "latencies_ms": row.latencies,
        "deployed": row.deployed,
        "claimed": None
        if row.claimed is None
        else {name: row.claimed.get(name) for name in CLAIMS},
        "gain_vs_first": None
        if gain is None
        else {
            "accuracy": gain.accuracy,
            "ci95": gain.ci95,
            "p_value": gain.p_value,
            "test": gain.test,
        },
        "p_value_vs_first": row.p_value_vs_first,
        "settings": row.settings,
        "run_ids": row.run_ids,
        "study": row.study,
        "command": row.command,
        "source": row.source,
        "notes": (*row.notes, *metrics.notes),
        "train_seconds": row.train_seconds,
    }


def leaderboard_csv(leaderboard: Leaderboard) -> str:
    """Return every row of every board as a line of one table; shares are in 0-1.

    A cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    lines = [
        row_cells(board, row, rank)
        for board in leaderboard.boards
        for row, rank in zip(board.rows, ranks(board.rows), strict=True)
    ]
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    columns = csv_columns(lines)
    writer.writerow(columns)
    writer.writerows([safe_cell(line.get(name)) for name in columns] for line in lines)
    return file.getvalue()


def csv_columns(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns; those of runtimes follow the main latency's."""
    runtimes = list(dict.fromkeys(name for line in lines for name in line if is_runtime(name)))
    place = CSV_COLUMNS.index(AFTER_RUNTIMES)
    return [*CSV_COLUMNS[:place], *runtimes, *CSV_COLUMNS[place:]]


def is_runtime(column: str) -> bool:
    """Return whether a column is of one runtime, whatever the main one is."""
    return column.startswith(RUNTIME_PREFIX)


def row_cells(board: Board, row: BoardRow, rank: int) -> dict[str, Any]:
    """Return the cells of a row by column."""
    plain: dict[str, Any] = to_plain(row_json(row, rank))
    latency, claimed = plain["latency_ms"] or {}, plain["claimed"] or {}
    gain = plain["gain_vs_first"] or {}
    cells = {name: plain.get(name) for name in CSV_COLUMNS}
    cells["protocol_hash"], cells["kind"] = board.protocol_hash, board.kind
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        cells[f"{name}_low"], cells[f"{name}_high"] = plain[f"{name}_ci95"]
    for name in ("p50", "p90", "min"):
        cells[f"latency_{name}_ms"] = latency.get(name)
    for name in LATENCY_FACTS:
        cells[f"latency_{name}"] = latency.get(name)
    for runtime, figures in plain["latencies_ms"].items():
        for name in ("p50_ms", "p90_ms", "min_ms", "unsteady"):
            column = f"{RUNTIME_PREFIX}{re.sub(r'[^A-Za-z0-9]+', '_', runtime)}_{name}"
            cells[column] = figures[name.removesuffix("_ms")]
    for name in DEPLOYED_FIGURES:
        cells[name] = (plain["deployed"] or {}).get(name)
    for name in CLAIMS:
        cells[f"claimed_{name}"] = claimed.get(name)
    cells["gain_vs_first"] = gain.get("accuracy")
    cells["gain_vs_first_low"], cells["gain_vs_first_high"] = gain.get("ci95", (None, None))
    for name in ("seeds", "run_ids", "macs_not_counted"):
        cells[name] = " ".join(map(str, plain[name]))
    cells["notes"] = "; ".join(plain["notes"])
    cells["settings"] = json.dumps(plain["settings"], ensure_ascii=False, sort_keys=True)
    return cells


CSV_COLUMNS = (
    "protocol_hash",
    "kind",
    "rank",
    "key",
    "model",
    "title",
    "role",
    "seeds",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "macro_precision",
    "macro_f1",
    "macro_f1_low",
    "macro_f1_high",
    "balanced_accuracy",
    "balanced_accuracy_low",
    "balanced_accuracy_high",
    "auc",
    "ece",
    *DEPLOYED_FIGURES,
    "params",
    "training_params",
    "macs",
    "macs_not_counted",
    "file_mb",
    "latency_p50_ms",
    "latency_p90_ms",
    "latency_min_ms",
    *(f"latency_{name}" for name in LATENCY_FACTS),
    AFTER_RUNTIMES,
    "claimed_precision",
    "claimed_params_m",
    "gain_vs_first",
    "gain_vs_first_low",
    "gain_vs_first_high",
    "p_value_vs_first",
    "settings",
    "run_ids",
    "study",
    "command",
    "source",
    "notes",
    "train_seconds",
)


def safe_cell(value: object) -> str:
    """Return a cell that no spreadsheet runs: a formula's first character gets an apostrophe.

    >>> safe_cell("=1+1"), safe_cell(-0.5), safe_cell("-0.5"), safe_cell(None), safe_cell(True)
    ("'=1+1", '-0.5', '-0.5', '', 'true')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) and not PLAIN_NUMBER.fullmatch(text):
        return f"'{text}"
    return text
