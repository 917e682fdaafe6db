"""Writes what was measured into docs/performance.md.

    python -m benchmarks step --image-size 48 --out results/step-48
    python -m benchmarks page --add results/step-48 ...
    python -m benchmarks page

``--add`` takes the folders that benchmarks wrote with ``--out``: their JSON file goes to
``docs/measured/`` under the folder's name, and the plot with it where the page shows one. Then
every region of the page between ``<!-- measured: NAME -->`` and ``<!-- end -->`` is written anew
from ``docs/measured/NAME.json``. With ``--check`` nothing is written: the command fails if the page
is not what the files say.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shlex
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
MEASURED = ROOT / "docs" / "measured"
REGION = re.compile(
    r"(<!-- measured: (?P<name>[\w-]+)(?P<how>[ \w]*) -->\n).*?(<!-- end -->)", re.DOTALL
)
# A load before the start that other work made: one core was busy half of the time, or more.
BUSY = 0.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Take results in and write the page, or check it."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--add", type=Path, nargs="+", default=[], metavar="DIR")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--measured", type=Path, default=MEASURED, help="folder of the results")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    text = given.page.read_text(encoding="utf-8")
    for folder in given.add:
        add(folder, given.measured, pictures=f"]({given.measured.name}/{folder.name}.png)" in text)
    written = fill(text, given.measured)
    if given.check:
        if written != text:
            sys.exit(f"{given.page} differs from {given.measured}: run python -m benchmarks page")
        return
    given.page.write_text(written, encoding="utf-8")


def add(folder: Path, measured: Path, *, pictures: bool) -> None:
    """Copy the one result of ``folder`` into ``measured``, under the folder's name.

    Args:
        folder: What a benchmark wrote.
        measured: Where the page's results are.
        pictures: Copy the plot, too.
    """
    files = [
        file
        for file in sorted(folder.glob("*.json"))
        if "benchmark" in json.loads(file.read_text(encoding="utf-8"))
    ]
    if len(files) != 1:
        sys.exit(f"{folder} must hold the JSON file of one benchmark but has {len(files)}")
    measured.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(files[0], measured / f"{folder.name}.json")
    if pictures:
        shutil.copyfile(files[0].with_suffix(".png"), measured / f"{folder.name}.png")


def fill(text: str, measured: Path) -> str:
    """Return the page with every region written from its file in ``measured``."""

    def written(match: re.Match[str]) -> str:
        file = measured / f"{match['name']}.json"
        if not file.is_file():
            sys.exit(f"the page has a region {match['name']} but there is no {file}")
        content = json.loads(file.read_text(encoding="utf-8"))
        return match[1] + render(content, how=match["how"].strip()) + match[4]

    return REGION.sub(written, text)


def render(content: dict[str, Any], *, how: str = "") -> str:
    """Return a result as Markdown: where it was measured, its ratios and its series.

    Args:
        content: What a benchmark wrote.
        how: ``lines``: what it printed instead of tables.
    """
    parts = [_where(content)]
    if how == "lines":
        lines = [line for line in content["lines"] if not line.startswith(content["benchmark"])]
        parts.append("\n".join(["```text", *lines, "```"]))
    else:
        if content["ratios"]:
            rows = [
                f"| {name} | {item['median']:.2f} ({item['low']:.2f}-{item['high']:.2f}) |"
                for name, item in content["ratios"].items()
            ]
            parts.append("\n".join(["| ratio | median (range) |", "|---|---|", *rows]))
        rows = [
            f"| {name} | {_median_and_range(item['values'])} {item['unit']} |"
            for name, item in content["series"].items()
        ]
        rows += [
            f"| {name.replace('_', ' ')} | {_median_and_range([value])} |"
            for name, value in content["figures"].items()
            if isinstance(value, int | float)
        ]
        parts.append("\n".join(["| single times | median (range) |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _where(content: dict[str, Any]) -> str:
    machine, versions = content["machine"], content["versions"]
    day = datetime.datetime.fromisoformat(content["started"]).date().isoformat()
    load = content["load_before"]
    quiet = "" if not load or load[0] < BUSY else f", load {load[0]:g} at the start"
    rounds = len(next(iter(content["series"].values()))["values"]) if content["series"] else 0
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    commit = f", commit {versions['commit']}" if versions["commit"] else ""
    counted = f", {rounds} rounds" if rounds > 1 else ""
    return (
        f"`{command(content)}`  \n"
        f"{machine['processor']}, {machine['cores']} cores{gpu}, PyTorch {versions['torch']}, "
        f"{day}{commit}{counted}{quiet}"
    )


def command(content: dict[str, Any]) -> str:
    """Return the command that measured ``content``.

    >>> command({"benchmark": "floor", "options": {"threads": 1, "only": None, "no_pairs": True}})
    'python -m benchmarks floor --threads 1 --no-pairs'
    """
    words = ["python", "-m", "benchmarks", content["benchmark"]]
    for name, value in content["options"].items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            items = value if isinstance(value, list) else [value]
            words += [flag, *(str(item) for item in items)]
    return shlex.join(words)


def _median_and_range(values: Sequence[float]) -> str:
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    if len(values) == 1:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


if __name__ == "__main__":
    main()
