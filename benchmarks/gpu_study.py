"""A whole study on a GPU: its time, where it goes, and how busy the GPU is.

    python -m benchmarks gpu_study --data faces/ --trials 50 --out results/

Needs a GPU and nvidia-smi, which tells twice a second how much of the time the GPU worked on
anything, and how much memory everything on it held. Nothing is written to MLflow.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.harness import Recorder, add_common
from benchmarks.study import Course, draw, kept, run, tell_shares
from fersearch.environment import resolve_device

QUERY = [
    "--id=0",
    "--query-gpu=utilization.gpu,memory.used",
    "--format=csv,noheader,nounits",
    "-lms",
    "500",
]


@contextmanager
def watched(file: Path) -> Iterator[None]:
    """Write what nvidia-smi says to ``file`` inside: lines of percent and MiB."""
    program = shutil.which("nvidia-smi")
    if program is None:
        sys.exit("nvidia-smi is not there: it comes with NVIDIA's driver")
    with file.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([program, *QUERY], stdout=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def samples(text: str) -> tuple[list[float], list[float]]:
    r"""Return the percentages and the MiB of what nvidia-smi wrote.

    >>> samples("5, 100\n7, 120\n[N/A], 120\n")
    ([5.0, 7.0], [100.0, 120.0])
    """
    rows = [line.replace(" ", "").split(",") for line in text.splitlines()]
    rows = [row for row in rows if len(row) == 2 and all(word.isdecimal() for word in row)]
    return [float(row[0]) for row in rows], [float(row[1]) for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study and print."""
    parser = argparse.ArgumentParser(
        prog="gpu_study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument(
        "--vectorize", default="auto", help="trials in one program: auto, or how many"
    )
    parser.add_argument("--jobs", type=int, default=0)
    add_common(parser, rounds=None)
    given = parser.parse_args(arguments)
    record = Recorder("gpu_study", given)
    device = resolve_device("cuda")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "study"
        home.mkdir()
        words = [
            "benchmarks.study_ours", "--data", given.data, "--device", device, "--no-track",
            "--vectorize", given.vectorize, "--jobs", str(given.jobs),
            "--settings", json.dumps({"budget.trials": given.trials}),
        ]  # fmt: skip
        with watched(home / "gpu.csv"):
            run(words, home)
        found = kept(home, words)
        assert found is not None
        tell(record, given, home, found)
    record.finish(lambda axes: draw(axes, {"ours": [found], "script": []}))


def tell(record: Recorder, given: argparse.Namespace, home: Path, found: Course) -> None:
    """Print and keep how the study went."""
    result = json.loads((home / "studies" / "distill" / "result.json").read_text(encoding="utf-8"))
    record.say(f"  {found.epochs} epochs of {given.trials} trials, best {found.accuracy:.2%}")
    record.add("search", [found.search], "s", digits=1)
    record.add("whole study", [found.total], "s", digits=1)
    for name, seconds in result["seconds"].items():
        record.figures[f"{name} s"] = seconds
    tell_shares(record, home)
    record.say(f"  on {torch.cuda.get_device_name()}")
    percent, memory = samples((home / "gpu.csv").read_text(encoding="utf-8"))
    record.add("GPU at work", percent, "% of the time", digits=0)
    record.figures["GPU at work, mean %"] = statistics.fmean(percent)
    record.figures["most memory held, MiB"] = max(memory)
    record.say(
        f"  the GPU worked {statistics.fmean(percent):.0f} % of the time; {max(memory):.0f} MiB "
        "held at most"
    )


if __name__ == "__main__":
    main()
