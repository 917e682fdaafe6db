"""How time and memory grow: with images, image size, trials, students and workers.

    python -m benchmarks scaling --part images --sizes 1000 10000 100000 --out results/

``images``   images a second, seconds to open, memory: stores of random pixels, a fresh process each
``pixels``   images a second at several image sizes
``trials``   milliseconds a trial of our search and of bare Optuna, early and late in a long search
``students`` images a second of several students
``workers``  images a second of one, two, ... processes with one thread each

Memory is what a process holds more than after the same steps over a tiny store. Pages of the
memory-mapped files are counted apart: the system drops them when it needs the room.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import Recorder, add_common, interleaved
from fersearch.environment import usable_cores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = ("images", "pixels", "trials", "students", "workers")
STUDENTS = ("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x2_0", "resnet18")


def worker(store: Path, **options: object) -> dict[str, Any]:
    """Run the worker in a fresh process and return what it found."""
    words = [sys.executable, "-m", "benchmarks.scaling_worker", "--store", str(store)]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the worker failed: {done.stderr[-1000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the parts that were asked for."""
    parser = argparse.ArgumentParser(
        prog="scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20000, 100000])
    parser.add_argument("--image-sizes", type=int, nargs="+", default=[48, 112, 224])
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 500, 1000, 2000])
    parser.add_argument("--students", nargs="+", default=list(STUDENTS))
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    parser.add_argument("--cache", type=Path, help="folder that keeps the stores for next time")
    add_common(parser, rounds=3)
    given = parser.parse_args(arguments)
    given.threads = given.threads or usable_cores()
    record = Recorder("scaling", given)
    with tempfile.TemporaryDirectory() as folder:
        home = given.cache or Path(folder)
        for part in given.part or PARTS:
            MEASURES[part](record, given, home)
    record.finish(lambda axes: draw(axes, record.figures))


def measure_workers_of_stores(
    record: Recorder,
    given: argparse.Namespace,
    part: str,
    cases: Mapping[str, tuple[Path, dict[str, object]]],
) -> dict[str, list[dict[str, Any]]]:
    """Run each case's worker in turn, round after round; record images a second."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}

    def task(name: str) -> Callable[[], float]:
        def run() -> float:
            store, options = cases[name]
            common = {"steps": given.steps, "threads": given.threads}
            found[name].append(worker(store, **{**common, **options}))
            return float(found[name][-1]["images_per_second"])

        return run

    speeds = interleaved({name: task(name) for name in cases}, rounds=given.rounds, warmup=0)
    for name, values in speeds.items():
        record.add(name, values, "images/s", digits=0)
    names = list(cases)
    for name in names[1:]:
        record.compare(name, names[0])
    record.figures[part] = {name: statistics.median(values) for name, values in speeds.items()}
    return found


def measure_images(record: Recorder, given: argparse.Namespace, home: Path) -> None:
    """Measure stores of several sizes."""
    from benchmarks.noise import make_noise

    cases: dict[str, tuple[Path, dict[str, object]]] = {}
    for count in given.sizes:
        store = home / f"noise-{count}-{given.image_size}"
        make_noise(store, images=count, image_size=given.image_size)
        options = {
            "images": count, "image_size": given.image_size, "batch_size": given.batch_size
        }  # fmt: skip
        cases[f"{count} images"] = (store, options)
    found = measure_workers_of_stores(record, given, "images", cases)
    rows = {}
    for name, items in found.items():
        rows[name] = {
            "open_seconds": statistics.median(item["open_seconds"] for item in items),
            **{
                field: statistics.median(item["growth"][field] for item in items)
                for field in ("VmRSS", "RssAnon", "RssFile")
            },
        }
        row = rows[name]
        record.say(
            f"  {name}: opened in {row['open_seconds']:.2f} s, {row['RssAnon']:+.1f} MB of its "
            f"own, {row['RssFile']:+.1f} MB of mapped files"
        )
    record.figures["memory_mb"] = rows


def measure_pixels(record: Recorder, given: argparse.Namespace, home: Path) -> None:
    """Measure several image sizes."""
    from benchmarks.noise import make_noise

    count = given.batch_size * (given.steps + 1)
    cases: dict[str, tuple[Path, dict[str, object]]] = {}
    for size in given.image_sizes:
        store = home / f"noise-{count}-{size}"
        make_noise(store, images=count, image_size=size)
        options = {"images": count, "image_size": size, "batch_size": given.batch_size}
        cases[f"{size} px"] = (store, options)
    measure_workers_of_stores(record, given, "pixels", cases)


def measure_students(record: Recorder, given: argparse.Namespace, home: Path) -> None:
    """Measure several students."""
    from benchmarks.noise import make_noise

    count = given.batch_size * (given.steps + 1)
    store = home / f"noise-{count}-{given.image_size}"
    make_noise(store, images=count, image_size=given.image_size)
    cases: dict[str, tuple[Path, dict[str, object]]] = {
        name: (
            store,
            {
                "images": count,
                "image_size": given.image_size,
                "batch_size": given.batch_size,
                "student": name,
            },
        )
        for name in given.students
    }
    measure_workers_of_stores(record, given, "students", cases)


def measure_trials(record: Recorder, given: argparse.Namespace, home: Path) -> None:
    """Measure a long search without training: what a trial costs after so many others."""
    from benchmarks import overhead_search as search
    from benchmarks.noise import make_noise

    most = max(given.trials)
    data = make_noise(home / "noise-64-16", images=64, image_size=16)
    spec = search.make_spec(most, 8, sampler="tpe", pruner="hyperband")
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as bare:
        times = {
            "ours": search.our_search(spec, data, Path(ours)),
            "bare": search.bare_search(spec, Path(bare)),
        }
    rows: dict[str, dict[str, float]] = {}
    for count in sorted(given.trials):
        first = max(0, count - search.TRIALS_A_BLOCK)
        rows[str(count)] = {
            name: search.per_trial(values[first : count + 1]) for name, values in times.items()
        } | {"ours_in_all": times["ours"][count] - times["ours"][0]}
        row = rows[str(count)]
        record.say(
            f"  after {count} trials: {row['ours']:.1f} ms a trial, bare Optuna {row['bare']:.1f} "
            f"({row['ours'] / row['bare']:.2f}); {row['ours_in_all']:.1f} s in all"
        )
    record.figures["trials"] = rows


def measure_workers(record: Recorder, given: argparse.Namespace, home: Path) -> None:
    """Measure several processes that train at once."""
    from benchmarks.loops import LoopSetup, open_data
    from benchmarks.step import Pair, speed

    setup = LoopSetup(
        folder=home,
        images=given.batch_size * given.steps,
        image_size=given.image_size,
        batch_size=given.batch_size,
    )
    open_data(setup)
    pairs = {f"{count} workers": Pair("replay", setup, count) for count in given.workers}
    try:
        found = interleaved(
            {name: speed(pair.epoch) for name, pair in pairs.items()}, rounds=given.rounds
        )
    finally:
        for pair in pairs.values():
            pair.close()
    for name, values in found.items():
        record.add(name, values, "images/s", digits=0)
    names = list(found)
    for name in names[1:]:
        record.compare(name, names[0])
    record.figures["workers"] = {name: statistics.median(found[name]) for name in names}


MEASURES: dict[str, Callable[[Recorder, argparse.Namespace, Path], None]] = {
    "images": measure_images,
    "pixels": measure_pixels,
    "trials": measure_trials,
    "students": measure_students,
    "workers": measure_workers,
}


def draw(axes: Axes, figures: Mapping[str, Any]) -> None:
    """Draw each part's speeds relative to its first; a search's as bare Optuna's time / ours."""
    for part, rows in figures.items():
        if part == "trials":
            names, values = list(rows), [row["bare"] / row["ours"] for row in rows.values()]
        elif part in MEASURES:
            names, values = list(rows), list(rows.values())
            values = [value / values[0] for value in values]
        else:
            continue
        axes.plot(range(len(values)), values, "o-", label=f"{part}: {', '.join(names)}")
    axes.set_xlabel("from the first to the last of each part")
    axes.set_ylabel("relative speed")
    axes.axhline(1, color="grey", linewidth=0.5)
    if axes.lines:
        axes.legend(fontsize=7)


if __name__ == "__main__":
    main()
