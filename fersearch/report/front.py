"""The front of a Pareto search as a table, and the point of it to take under a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fersearch.errors import InputError
from fersearch.report.text import format_interval, format_percent, plain_table

__all__ = ["front_header", "front_rows", "front_sentences", "front_text", "under_limit"]

TITLES = {
    "accuracy": "validation accuracy (%)",
    "macro_f1": "validation macro-F1 (%)",
    "latency": "latency (ms)",
    "macs": "MACs (M)",
    "params": "params (M)",
    "file_mb": "file (MB)",
}
SCALES = {"accuracy": 100.0, "macro_f1": 100.0, "macs": 1e-6, "params": 1e-6}


def front_header(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the titles of the front's columns."""
    return (
        "point",
        "student",
        *(TITLES[name] for name in result["objectives"]),
        "confirmed (%)",
        "test accuracy (%)",
        "95 % interval",
        "settings",
    )


def front_rows(result: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the points of the front and those that were confirmed, the best metric first."""
    return [_row(result, point) for point in result["front"]]


def _row(result: Mapping[str, Any], point: Mapping[str, Any]) -> tuple[str, ...]:
    marks = [
        word
        for word, holds in (
            ("taken", point["recommended"]),
            ("knee", point["knee"]),
            ("not on the front", not point["on_front"]),
        )
        if holds
    ]
    values = point["values"]
    return (
        f"trial {point['trial']}" + (f" ({', '.join(marks)})" if marks else ""),
        student_title(point),
        *(f"{values[name] * SCALES.get(name, 1.0):.4g}" for name in result["objectives"]),
        format_percent(point["confirmed"]),
        format_percent(point["test_accuracy"]),
        format_interval(point["test_accuracy_ci95"]),
        ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in point["params"].items()
            if name not in ("student", "input_size")
        ),
    )


def student_title(point: Mapping[str, Any]) -> str:
    """Return a point's student, with the size that it works at where that is not the data's.

    >>> student_title({"model": "resnet18", "options": {"input_size": 32}})
    'resnet18 at 32 px'
    """
    size = point["options"].get("input_size")
    return f"{point['model']} at {size} px" if size else str(point["model"])


def front_sentences(result: Mapping[str, Any]) -> list[str]:
    """Say how the front came about and which point is taken."""
    taken = next(point for point in result["front"] if point["recommended"])
    sentences = [
        "The metric of the search is that of one seed, chosen among many trials, and flatters; "
        "the confirmed figure is the mean over fresh seeds on validation.",
        f"Taken: trial {taken['trial']}, {student_title(taken)}: {result['recommendation']}.",
    ]
    latencies = [item["latency"] for item in result["student_costs"] if item["latency"]]
    if latencies:
        known = latencies[0]
        sentences.append(
            f"Latency: median of one image of {known['image_size']} px in {known['runtime']}, "
            f"{known['threads']} thread, {known['host']}; measured once before the search."
        )
        unsteady = sum(bool(item.get("unsteady")) for item in latencies)
        if unsteady:
            sentences.append(
                f"Other programs disturbed {unsteady} of these {len(latencies)} measurements (the "
                "median exceeds 1.3 times the fastest run): take them as rough."
            )
    return sentences


def front_text(result: Mapping[str, Any]) -> str:
    """Return the front for a terminal, without the settings."""
    rows = [row[:-1] for row in front_rows(result)]
    return "\n".join(
        [plain_table(front_header(result)[:-1], rows, left=2), *front_sentences(result)]
    )


def under_limit(result: Mapping[str, Any], max_latency_ms: float) -> Mapping[str, Any]:
    """Return the point of the front to take when one image may take so long.

    That with the highest metric: the confirmed one where points were confirmed, else that of the
    search.

    Args:
        result: The content of ``result.json`` of a Pareto search.
        max_latency_ms: The limit on the median latency in milliseconds.

    Raises:
        InputError: The limit is not above 0, the study has no front or no latencies, or all its
            points are slower.
    """
    if not max_latency_ms > 0:  # a NaN is not either
        raise InputError(f"the limit on the latency must be above 0 ms but is {max_latency_ms:g}")
    front: Sequence[Mapping[str, Any]] = result.get("front", ())
    if not front:
        raise InputError(
            f"the study {result['name']} has no front",
            "run a Pareto search: --objective accuracy --objective latency",
        )
    timed = [point for point in front if point["costs"]["latency"]]
    if not timed:
        raise InputError(
            f"the study {result['name']} measured no latency", "it needs --objective latency"
        )
    within = [point for point in timed if point["costs"]["latency"]["p50"] <= max_latency_ms]
    if not within:
        least = min(point["costs"]["latency"]["p50"] for point in timed)
        raise InputError(
            f"no point of the front takes {max_latency_ms:g} ms or less: "
            f"the fastest takes {least:.3g} ms"
        )
    metric = result["objectives"][0]
    confirmed = [point for point in within if point["confirmed"] is not None]
    return max(
        confirmed or within,
        key=lambda point: point["confirmed"] if confirmed else point["values"][metric],
    )
