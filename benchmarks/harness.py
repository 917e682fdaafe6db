"""What the benchmarks share: rounds in turn, ratios, the machine, and the files that are written.

Another process can slow down a measurement at any time. Everything that is compared is therefore
measured in turn, round after round, and compared within each round: a figure is the median of the
rounds' ratios, with the smallest and the largest beside it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fersearch.environment import (
    installed_version,
    physical_cores,
    processor_name,
    usable_cores,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CLOCKS",
    "Ratio",
    "Recorder",
    "add_common",
    "interleaved",
    "load_averages",
    "machine",
    "ratio",
    "timed",
    "versions",
]

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "torchvision", "timm", "optuna", "mlflow", "numpy", "torchdistill")

# The processor's clock of this process leaves out what others do meanwhile.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Task = Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratios of two series, round by round: their median, smallest and largest."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratio(over: Sequence[float], under: Sequence[float]) -> Ratio:
    """Divide two series round by round.

    Raises:
        ValueError: They have no rounds, or not the same number.
    """
    ratios = [x / y for x, y in zip(over, under, strict=True)]
    if not ratios:
        raise ValueError("there are no rounds to compare")
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def timed(task: Callable[[], object]) -> float:
    """Return the seconds that ``task`` takes."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def interleaved(
    tasks: Mapping[str, Task], *, rounds: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Run every task once a round, in turn, and return what each gave, round by round.

    Every second round goes through them backwards, so that none always follows the same other.

    Args:
        tasks: Each returns its figure, or None to be given its seconds.
        rounds: How many rounds are kept.
        warmup: How many rounds before them are not.
    """
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(warmup + rounds):
        names = list(tasks) if number % 2 == 0 else list(reversed(tasks))
        for name in names:
            start = time.perf_counter()
            value = tasks[name]()
            if value is None:
                value = time.perf_counter() - start
            if number >= warmup:
                found[name].append(value)
    return found


def machine() -> dict[str, Any]:
    """Return the processor and its cores; the machine's name is nobody's business."""
    return {
        "processor": processor_name(),
        **({"gpu": gpu} if (gpu := _gpu()) else {}),
        "cores": usable_cores(),
        "physical_cores": physical_cores(),
        "platform": platform.platform(),
        "threads_variable": os.environ.get("OMP_NUM_THREADS", ""),
    }


def _gpu() -> str:
    """Return the name of the GPU that this process has used; empty for none."""
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_initialized()
    return str(torch.cuda.get_device_name()) if torch is not None and used else ""


def versions() -> dict[str, str | None]:
    """Return the versions of what is measured, fersearch's commit included where there is one."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    found |= {name: installed_version(name) for name in PACKAGES}
    return {**found, "fersearch": installed_version("fersearch"), "commit": _commit()}


def _commit() -> str | None:
    """Return the checkout's commit, marked where files differ from it; None outside of one."""
    if not (ROOT / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None


def load_averages() -> list[float] | None:
    """Return the load averages of the last 1, 5 and 15 minutes, where the system has them."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def add_common(parser: argparse.ArgumentParser, *, rounds: int | None = 5) -> None:
    """Add the options that benchmarks share; no ``--rounds`` where ``rounds`` is None."""
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help="interleaved repetitions")
    parser.add_argument("--out", type=Path, help="folder for a JSON file and a plot")


class Recorder:
    """Collects what a benchmark measures, prints it, and writes it down.

    Args:
        name: Name of the benchmark, and of its files.
        given: Its options; ``out`` names the folder that is written to, or is None.
    """

    def __init__(self, name: str, given: argparse.Namespace) -> None:
        self.name = name
        self._out: Path | None = getattr(given, "out", None)
        # Folders say nothing about what was measured, and are nobody's business.
        self._options = {
            key: item for key, item in vars(given).items() if not isinstance(item, Path)
        }
        self._started, self._load_before = _now(), load_averages()
        self.series: dict[str, list[float]] = {}
        self.units: dict[str, str] = {}
        self.ratios: dict[str, Ratio] = {}
        self.figures: dict[str, Any] = {}
        self.lines: list[str] = []
        self.say(f"{name}: {processor_name()}, {usable_cores()} cores, load {self._load_before}")

    def say(self, line: str) -> None:
        """Print a line and keep it."""
        self.lines.append(line)
        print(line, flush=True)

    def add(self, name: str, values: Sequence[float], unit: str, *, digits: int = 2) -> None:
        """Keep a raw series and print its median and range."""
        self.series[name], self.units[name] = list(values), unit
        middle, low, high = statistics.median(values), min(values), max(values)
        self.say(
            f"  {name:<34}{middle:10.{digits}f} {unit} ({low:.{digits}f}-{high:.{digits}f}, "
            f"{len(values)} rounds)"
        )

    def compare(self, over: str, under: str, *, label: str = "") -> Ratio:
        """Keep and print the ratio of two series that were measured in the same rounds."""
        label = label or f"{over} / {under}"
        found = ratio(self.series[over], self.series[under])
        self.ratios[label] = found
        self.say(f"  {label}: {found}")
        return found

    def content(self) -> dict[str, Any]:
        """Return everything, as it is written to the JSON file."""
        return {
            "benchmark": self.name,
            "options": self._options,
            "started": self._started,
            "ended": _now(),
            "load_before": self._load_before,
            "load_after": load_averages(),
            "machine": machine(),
            "versions": versions(),
            "series": {
                name: {"unit": self.units[name], "values": values}
                for name, values in self.series.items()
            },
            "ratios": {name: asdict(found) for name, found in self.ratios.items()},
            "figures": self.figures,
            "lines": self.lines,
        }

    def finish(self, plot: Callable[[Axes], None] | None = None) -> None:
        """Write the files where they are wanted; without ``plot`` the series are drawn."""
        print(f"  load after: {load_averages()}")
        if self._out is None:
            return
        self._out.mkdir(parents=True, exist_ok=True)
        file = self._out / f"{self.name}.json"
        text = json.dumps(self.content(), indent=2, default=str)
        file.write_text(text + "\n", encoding="utf-8")
        picture = self._out / f"{self.name}.png"
        self._draw(picture, plot or self._draw_series)
        print(f"  written: {file}, {picture}")

    def _draw(self, file: Path, plot: Callable[[Axes], None]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        plot(axes)
        axes.set_title(f"{self.name}: {processor_name()}, {usable_cores()} cores", fontsize=9)
        figure.savefig(file, dpi=120)

    def _draw_series(self, axes: Axes) -> None:
        """Draw medians as bars and every round as a point; the first series' unit alone."""
        unit = next(iter(self.units.values()), "")
        names = [name for name in self.series if self.units[name] == unit]
        for row, name in enumerate(names):
            values = self.series[name]
            axes.barh(row, statistics.median(values), color="#9db8d2")
            axes.plot(values, [row] * len(values), "o", color="#1f3a5f", markersize=3)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel(unit)
