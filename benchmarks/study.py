"""A whole study beside a script written by hand with Optuna and MLflow, to the same accuracy.

    python -m benchmarks study --trials 20 --seeds 3 --out results/

Both search the same space on the same drawn faces, with the same budget and the same two first
settings, seed by seed in turn. The script (``benchmarks/handwritten_study.py``) reads PNG files
with PIL and asks its teacher at every step. Every epoch of either is noted with its time, counted
from the start of the process. Printed are the seconds until all trials were over, and until either
had reached the script's final best validation accuracy. Our study goes on after its search (it
confirms over fresh seeds and tests once), which the script does not do: that time is given apart.

Ours trains as many trials at once as there are cores, each on one thread; the script trains one,
on all of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Recorder, add_common, load_averages, versions
from fersearch.environment import usable_cores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curve = list[tuple[float, float]]
EVENTS = "events.jsonl"
COLOURS = {"ours": "#1f3a5f", "script": "#c26a3d"}


@dataclass(frozen=True, slots=True)
class Course:
    """How a study went.

    Attributes:
        best: Seconds and best validation accuracy so far, where it rose.
        search: Seconds until all trials were over.
        total: Seconds until the process ended.
        epochs: How many epochs all trials went through together.
        measured: When, at which commit and under which load; empty where that is not known.
    """

    best: Curve
    search: float
    total: float
    epochs: int = 0
    measured: str = ""

    @property
    def accuracy(self) -> float:
        """The best validation accuracy in the end."""
        return self.best[-1][1] if self.best else 0.0


def course(
    events: Sequence[dict[str, Any]], *, start: float, end: float, measured: str = ""
) -> Course:
    """Turn noted epochs into a course; ``start`` and ``end`` are those of the process.

    >>> course([{"time": 5, "accuracy": 0.2}, {"time": 6, "accuracy": 0.1}], start=1, end=11)
    Course(best=[(4, 0.2)], search=10, total=10, epochs=2, measured='')
    """
    best: Curve = []
    search, epochs = end - start, sum("accuracy" in event for event in events)
    for event in sorted(events, key=lambda item: float(item["time"])):
        seconds = event["time"] - start
        if event.get("end") == "search":
            search = seconds
        elif "accuracy" in event and (not best or event["accuracy"] > best[-1][1]):
            best.append((seconds, event["accuracy"]))
    return Course(best, search, end - start, epochs, measured)


def time_to(best: Curve, accuracy: float) -> float | None:
    """Return the seconds until ``accuracy`` was reached, None where it never was.

    >>> time_to([(1.0, 0.3), (2.0, 0.5)], 0.4)
    2.0
    """
    return next((seconds for seconds, value in best if value >= accuracy), None)


def kept(home: Path, words: Sequence[str]) -> Course | None:
    """Return the course of a study that an earlier run of the benchmark finished in ``home``.

    Args:
        home: Folder of the study.
        words: Its command, without the folder.
    """
    file = home / "course.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    if found["command"] != list(words):
        sys.exit(f"{home} holds a study with other options: name another --keep, or delete it")
    started = datetime.datetime.fromtimestamp(found["start"], datetime.UTC)
    measured = f"{started:%Y-%m-%d %H:%M} UTC, commit {found['commit']}"
    if found["load"] is not None:
        measured += f", load {found['load']}"
    return course(_events(home), start=found["start"], end=found["end"], measured=measured)


def _events(home: Path) -> list[dict[str, Any]]:
    text = (home / EVENTS).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def run(words: Sequence[str], home: Path) -> None:
    """Run a study in a process of its own, in the empty folder ``home``, and note how it went."""
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("OMP_NUM_THREADS", None)  # both have an option for their threads
    log, place = home / "log.txt", ["--workspace", str(home), "--events", str(home / EVENTS)]
    load = load_averages()
    start = time.time()
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            [sys.executable, "-m", *words, *place], stdout=output, stderr=output, env=environment
        )
    end = time.time()
    if done.returncode:
        raise RuntimeError(f"{words[0]} failed:\n{log.read_text(encoding='utf-8')[-2000:]}")
    note = {
        "command": list(words),
        "start": start,
        "end": end,
        "commit": versions()["commit"],
        "load": load[0] if load else None,
    }
    (home / "course.json").write_text(json.dumps(note) + "\n", encoding="utf-8")


def half_width(accuracy: float, images: int) -> float:
    """Return half of the 95 % interval of an accuracy on so many images (Wald).

    >>> round(half_width(0.5, 400), 3)
    0.049
    """
    return 1.96 * math.sqrt(accuracy * (1 - accuracy) / images)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run both, seed by seed, and compare."""
    parser = argparse.ArgumentParser(
        prog="study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="synthetic:train=4000,val=1000,test=1000,image_size=48")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--teacher-epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3, help="how many studies of each kind")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--confirm-seeds", type=int, default=3, help="of our confirmation")
    parser.add_argument("--jobs", type=int, default=0, help="of ours; 0 is its own choice")
    parser.add_argument(
        "--threads", type=int, default=0, help="of the script, 0: all cores; of each of our trials"
    )
    parser.add_argument("--loaders", type=int, default=0, help="the script's DataLoader processes")
    parser.add_argument(
        "--keep", type=Path, help="folder that keeps what is done: run again, it goes on"
    )
    add_common(parser, rounds=None)
    given = parser.parse_args(arguments)
    record = Recorder("study", given)
    with tempfile.TemporaryDirectory() as folder:
        courses = measure(record, given, given.keep or Path(folder))
    report(record, courses, images=record.figures["val_images"])
    record.finish(lambda axes: draw(axes, courses))


def measure(record: Recorder, given: argparse.Namespace, folder: Path) -> dict[str, list[Course]]:
    """Run the studies in turn."""
    from benchmarks.pictures import export_pictures
    from fersearch.data import load_data
    from fersearch.data.preprocessing import Preprocessing

    folder.mkdir(parents=True, exist_ok=True)
    data = load_data(given.data, cache=folder / "cache")
    pictures = export_pictures(data, folder / f"pictures-{data.info.sha256[:12]}")
    pixels = Preprocessing.of_training_images(data.train.images)
    budget = {"trials": given.trials, "epochs": given.epochs, "batch_size": given.batch_size,
              "teacher_epochs": given.teacher_epochs, "seeds": given.confirm_seeds}  # fmt: skip
    record.figures["val_images"] = len(data.val)
    courses: dict[str, list[Course]] = {"ours": [], "script": []}
    for round_number in range(given.seeds):
        seed = given.first_seed + round_number
        settings = {f"budget.{name}": value for name, value in budget.items()}
        commands = {
            "ours": [
                "benchmarks.study_ours", "--data", given.data, "--jobs", str(given.jobs),
                "--threads", str(given.threads),
                "--settings", json.dumps({**settings, "search.seed": seed, "teacher.seed": seed}),
            ],
            "script": [
                "benchmarks.handwritten_study", "--pictures", str(pictures),
                "--trials", str(given.trials), "--epochs", str(given.epochs),
                "--teacher-epochs", str(given.teacher_epochs),
                "--batch-size", str(given.batch_size), "--seed", str(seed),
                "--threads", str(given.threads or usable_cores()),
                "--loaders", str(given.loaders),
                "--mean", str(pixels.mean[0]), "--std", str(pixels.std[0]),
            ],
        }  # fmt: skip
        # Every second seed starts with the other one.
        for kind in sorted(commands, reverse=bool(round_number % 2)):
            home, words = folder / f"{kind}-{seed}", commands[kind]
            if kept(home, words) is None:
                shutil.rmtree(home, ignore_errors=True)  # of a run that was interrupted
                home.mkdir()
                run(words, home)
            last = kept(home, words)
            assert last is not None
            courses[kind].append(last)
            record.say(
                f"  seed {seed}, {kind}: {last.search:.1f} s for {given.trials} trials and "
                f"{last.epochs} epochs, best validation accuracy {last.accuracy:.2%}"
            )
            record.say(f"    started {last.measured}")
            if kind == "ours":
                tell_shares(record, home)
    return courses


def tell_shares(record: Recorder, home: Path) -> None:
    """Print where the time of our search went: shares of what its workers could have done."""
    folder = home / "studies" / "distill"
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    spent = {"teacher": 0.0, "trial": 0.0}
    for file in (folder / "runs").glob("*.json"):
        run_record = json.loads(file.read_text(encoding="utf-8"))
        if run_record["role"] in spent:
            spent[run_record["role"]] += run_record["seconds"]
    whole = result["seconds"]["search"] * result["jobs"]
    shares = {role: seconds / whole for role, seconds in spent.items()}
    record.figures.setdefault("shares of our search", []).append(shares)
    record.say(
        f"    of its workers' time: students {shares['trial']:.0%}, teachers "
        f"{shares['teacher']:.0%}, the rest (start, soft labels, waiting) "
        f"{1 - sum(shares.values()):.0%}"
    )


def report(record: Recorder, courses: dict[str, list[Course]], *, images: int) -> None:
    """Print and keep times and factors; accuracies are of so many validation ``images``."""
    ours, script = courses["ours"], courses["script"]
    record.add("our search", [item.search for item in ours], "s", digits=1)
    record.add("the script", [item.search for item in script], "s", digits=1)
    record.add("our whole study", [item.total for item in ours], "s", digits=1)
    record.compare("the script", "our search")
    record.compare("the script", "our whole study")
    record.figures["courses"] = {
        kind: [{"best": item.best, "search": item.search, "total": item.total} for item in items]
        for kind, items in courses.items()
    }
    # Accuracies within the interval cannot be told from the best one: both reach its lower end
    # sooner.
    lower = "the lower end of its 95 % interval"
    _time_to(record, courses, "the script's best", (0.0, 0.0), images)
    _time_to(record, courses, lower, (1.0, 1.0), images)
    _time_to(record, courses, f"the script to its best, ours to {lower}", (0.0, 1.0), images)


def _time_to(
    record: Recorder,
    courses: dict[str, list[Course]],
    what: str,
    halves: tuple[float, float],
    images: int,
) -> None:
    """Print and keep when the script and ours reached the script's best accuracy less a margin.

    Args:
        record: Where it is kept.
        courses: How the studies went.
        what: What they reached.
        halves: Margins of the script and of ours, in halves of the interval of its best accuracy.
        images: Number of validation images.
    """
    rows, factors = [], []
    for own, theirs in zip(courses["ours"], courses["script"], strict=True):
        half = half_width(theirs.accuracy, images)
        target, our_target = (theirs.accuracy - count * half for count in halves)
        row = {
            "target": target,
            "our_target": our_target,
            "our_best": own.accuracy,
            "script_seconds": time_to(theirs.best, target),
            "our_seconds": time_to(own.best, our_target),
        }
        rows.append(row)
        reached = row["our_seconds"]
        shown = "not reached by ours" if reached is None else f"ours after {reached:.1f} s"
        wanted = f"{target:.2%}" if target == our_target else f"{target:.2%} and {our_target:.2%}"
        record.say(
            f"  {what}, {wanted}: the script after {row['script_seconds'] or 0:.1f} s, {shown} "
            f"(its best {own.accuracy:.2%})"
        )
        if row["script_seconds"] and reached:
            factors.append(row["script_seconds"] / reached)
    record.figures[f"to {what}"] = rows
    if factors:
        record.figures[f"factors to {what}"] = factors
        record.say(
            f"  {what}, script / ours: {statistics.median(factors):.2f} "
            f"({min(factors):.2f}-{max(factors):.2f}), in {len(factors)} of {len(rows)} seeds"
        )


def draw(axes: Axes, courses: dict[str, list[Course]]) -> None:
    """Draw the best validation accuracy so far against time."""
    for kind, items in courses.items():
        for number, item in enumerate(items):
            times = [seconds for seconds, _ in item.best] + [item.search]
            values = [value for _, value in item.best] + [item.accuracy]
            label = kind if number == 0 else None
            axes.step(times, values, where="post", color=COLOURS[kind], label=label)
    axes.set_xlabel("seconds")
    axes.set_ylabel("best validation accuracy of a trial")
    axes.legend()


if __name__ == "__main__":
    main()
