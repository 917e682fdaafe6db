"""Numbers and names as text: percent, intervals, and names that Markdown shows as they are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

__all__ = [
    "code_block",
    "code_span",
    "escape_markdown",
    "format_count",
    "format_interval",
    "format_p_value",
    "format_parameters",
    "format_percent",
    "format_points",
    "format_value",
    "plain_table",
]

MISSING = "–"  # noqa: RUF001 - an en dash stands for "not measured"


def escape_markdown(text: object) -> str:
    r"""Return ``text`` on one line so that Markdown and HTML show it literally, in a table too.

    >>> print(escape_markdown("a|b <i>*c*</i>"))
    a\|b &lt;i&gt;\*c\*&lt;/i&gt;
    >>> escape_markdown("shufflenet_v2_x1_0")
    'shufflenet_v2_x1_0'
    """
    line = " ".join(str(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*\[\]{}|~$])", r"\\\1", line)
    # Underscores between letters or digits mean nothing to Markdown, and names are full of them.
    line = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)
    # What would begin a heading, a list or a rule at the start of a line.
    line = re.sub(r"^(#{1,6}|\+|=+|-+)(?=\s|$)", r"\\\1", line)
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", line)


def longest_run(text: str) -> int:
    """Return the length of the longest run of backticks in ``text``."""
    return max((len(run) for run in re.findall("`+", text)), default=0)


def code_span(text: object) -> str:
    r"""Return ``text`` as inline code that also stands in a table.

    >>> print(code_span("a|b"))
    `a\|b`
    """
    line = " ".join(str(text).split()).replace("|", "\\|")
    fence = "`" * (longest_run(line) + 1)
    return f"{fence} {line} {fence}" if "`" in line or not line else f"{fence}{line}{fence}"


def code_block(text: str, language: str = "") -> str:
    """Return ``text`` as a fenced code block, whatever backticks it holds."""
    fence = "`" * max(3, longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def format_percent(value: float | None, digits: int = 2) -> str:
    """Return a share as percent.

    >>> format_percent(0.87654)
    '87.65 %'
    """
    return MISSING if value is None else f"{100 * value:.{digits}f} %"


def format_points(value: float, digits: int = 2) -> str:
    """Return a difference of shares in percentage points, with its sign.

    >>> format_points(-0.0123)
    '-1.23'
    """
    return f"{100 * value:+.{digits}f}"


def format_interval(ends: Sequence[float] | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return an interval of shares in percent.

    >>> format_interval((0.861, 0.8875))
    '86.10 to 88.75'
    """
    if ends is None:
        return MISSING
    low, high = (f"{100 * end:{'+' if sign else ''}.{digits}f}" for end in ends)
    return f"{low} to {high}"


def format_p_value(value: float) -> str:
    """Return a p-value with its relation.

    >>> format_p_value(0.0321), format_p_value(2e-5), format_p_value(1.0)
    ('p = 0.032', 'p < 0.001', 'p = 1.000')
    """
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def format_parameters(count: int | None) -> str:
    """Return a number of parameters in millions.

    >>> format_parameters(1_260_779)
    '1.26'
    """
    if count is None:
        return MISSING
    return f"{count / 1e6:.{2 if count >= 100_000 else 4}f}"


def format_count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    >>> format_count(1, "seed"), format_count(3, "seed"), format_count(2, "class", "classes")
    ('1 seed', '3 seeds', '2 classes')
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def format_value(value: object) -> str:
    """Return a setting as a short text: numbers by their digits, lists by commas.

    >>> format_value(0.0123456), format_value([1, 2]), format_value({"a": 1.0}), format_value(None)
    ('0.01235', '1, 2', 'a = 1', 'none')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {format_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(format_value(item) for item in value)
    return str(value)


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return a table for a terminal: ``left`` columns to the left, the others to the right.

    >>> print(plain_table(["model", "accuracy"], [["teacher", "88.1 %"]]))
    model    accuracy
    -------  --------
    teacher    88.1 %
    """
    cells = [[" ".join(cell.split()) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
