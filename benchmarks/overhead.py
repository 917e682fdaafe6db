"""What everything but training costs: the search, the tracking, the start.

    python -m benchmarks overhead --trials 1000 --rounds 3 --out results/

The search runs trials that train nothing (``benchmarks/overhead_search.py``). ``alone`` is our
search without tracking, ``tracked`` the same with MLflow in the workspace, ``bare`` is Optuna with
the same sampler and pruner on the same kind of SQLite file. A default trial takes about eight
seconds (``--trial-seconds``): the share of the tracking is of that.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.harness import Recorder, add_common, interleaved, timed

MARKS = """
import sys, time
start = time.perf_counter()
import fersearch
imported = time.perf_counter()
if __name__ == "__main__":
    def listener(progress):
        print("FIRST", time.perf_counter() - start, flush=True)
        raise SystemExit
    fersearch.run_study("distill", data=DATA, workspace=sys.argv[1], jobs=1, listener=listener)
"""
STUDY_DATA = "synthetic:train=64,val=32,test=32,image_size=16"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the parts that were asked for."""
    parser = argparse.ArgumentParser(prog="overhead", description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=8, help="reports of a trial, pruning apart")
    parser.add_argument("--sampler", default="tpe", choices=["tpe", "random", "gp", "nsga2"])
    parser.add_argument("--pruner", default="hyperband", choices=["hyperband", "median", "none"])
    parser.add_argument("--tracked-trials", type=int, default=100)
    parser.add_argument("--starts", type=int, default=5, help="fresh processes of each kind")
    parser.add_argument("--trial-seconds", type=float, default=8.0)
    parser.add_argument(
        "--part", action="append", choices=["search", "tracking", "start"], help="default: all"
    )
    add_common(parser, rounds=3)
    given = parser.parse_args(arguments)
    parts = given.part or ["search", "tracking", "start"]
    record = Recorder("overhead", given)
    if "search" in parts:
        measure_search(record, given)
    if "tracking" in parts:
        measure_tracking(record, given)
    if "start" in parts:
        measure_start(record, given)
    record.finish()


def measure_search(record: Recorder, given: argparse.Namespace) -> None:
    """Compare a search of trials that do nothing with the same in bare Optuna."""
    from benchmarks import overhead_search as search
    from fersearch.data import load_data

    spec = search.make_spec(given.trials, given.epochs, sampler=given.sampler, pruner=given.pruner)
    blocks: dict[str, list[list[float]]] = {"ours": [], "bare": []}
    processor: dict[str, list[float]] = {"ours": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        data = load_data(STUDY_DATA, cache=Path(folder) / "cache")

        def run(name: str, search_in: Callable[[Path], list[float]]) -> float:
            with tempfile.TemporaryDirectory(dir=folder) as workspace:
                before = time.process_time()
                times = search_in(Path(workspace))
                processor[name].append(1000 * (time.process_time() - before) / given.trials)
                blocks[name].append(search.by_block(times))
                return search.per_trial(times)

        found = interleaved(
            {
                "ours": lambda: run("ours", lambda home: search.our_search(spec, data, home)),
                "bare": lambda: run("bare", lambda home: search.bare_search(spec, home)),
            },
            rounds=given.rounds,
            warmup=0,
        )
    record.say(f"{given.trials} trials of {given.epochs} epochs that do nothing, {given.sampler}")
    for name, title in (("ours", "our search"), ("bare", "bare Optuna")):
        record.add(title, found[name], "ms a trial")
        record.add(f"{title}, processor", processor[name], "ms a trial")
        record.figures[f"{title}, by {search.TRIALS_A_BLOCK} trials"] = blocks[name]
    record.compare("our search", "bare Optuna")
    record.compare("our search, processor", "bare Optuna, processor")
    tail = [rounds[-1] / rounds[0] for rounds in blocks["ours"]]
    record.say(f"  last block / first block of our search: {statistics.median(tail):.2f}")


def measure_tracking(record: Recorder, given: argparse.Namespace) -> None:
    """Compare the search with and without MLflow, and time a run written to it by itself."""
    from benchmarks import overhead_search as search
    from benchmarks.tracking import write_runs
    from fersearch.data import load_data
    from fersearch.track import Tracker

    trials = given.tracked_trials
    spec = search.make_spec(trials, given.epochs, sampler="random", pruner="none")
    with tempfile.TemporaryDirectory() as folder:
        data = load_data(STUDY_DATA, cache=Path(folder) / "cache")

        processor: dict[str, list[float]] = {"alone": [], "tracked": []}

        def alone() -> float:
            with tempfile.TemporaryDirectory(dir=folder) as workspace:
                before = time.process_time()
                times = search.our_search(spec, data, Path(workspace))
                processor["alone"].append(1000 * (time.process_time() - before) / trials)
                return search.per_trial(times)

        def tracked() -> float:
            with tempfile.TemporaryDirectory(dir=folder) as workspace:
                tracker = Tracker.open(
                    workspace=Path(workspace), tracking_uri=None, experiment="benchmark"
                )
                tracker.start_study(spec.name, protocol={})
                tracker.flush()  # a new store is made ready once, whatever the number of trials
                start, before = time.perf_counter(), time.process_time()
                search.our_search(spec, data, Path(workspace), tracker=tracker)
                tracker.flush()
                seconds = time.perf_counter() - start
                processor["tracked"].append(1000 * (time.process_time() - before) / trials)
                tracker.close()
                return 1000 * seconds / trials

        found = interleaved({"alone": alone, "tracked": tracked}, rounds=given.rounds, warmup=0)
        written = [write_runs(50, Path(folder) / f"runs{n}").written for n in range(given.rounds)]
    record.say(f"{trials} trials that do nothing, with MLflow and without")
    record.add("search alone", found["alone"], "ms a trial")
    record.add("search, tracked", found["tracked"], "ms a trial")
    record.add("MLflow run, 10 epochs of 7 figures", written, "ms a run")
    shares = {}
    for title, series in (("tracking", found), ("tracking, processor", processor)):
        cost = [a - b for a, b in zip(series["tracked"], series["alone"], strict=True)]
        record.add(title, cost, "ms a trial")
        shares[title] = statistics.median(cost) / 1000 / given.trial_seconds
        record.say(f"  share of a trial of {given.trial_seconds:g} s: {shares[title]:.2%}")
    record.figures["shares_of_a_trial"] = shares


def measure_start(record: Recorder, given: argparse.Namespace) -> None:
    """Time fresh processes: the import, the help, a study up to its first sign of life."""
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, env=environment
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)[:60]} failed: {done.stderr[-500:]}")
        return done.stdout

    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "first.py"
        script.write_text(MARKS.replace("DATA", repr(STUDY_DATA)), encoding="utf-8")
        workspace = str(Path(folder) / "workspace")

        def first_line(home: str) -> float:
            return float(run(str(script), home).split()[-1])

        first_line(workspace)  # decodes the data and makes the two stores
        number = iter(range(10**6))
        found = interleaved(
            {
                "python -c pass": lambda: timed(lambda: run("-c", "pass")),
                "import fersearch": lambda: timed(lambda: run("-c", "import fersearch")),
                "fersearch --help": lambda: timed(lambda: run("-m", "fersearch", "--help")),
                "import optuna, torch, mlflow": lambda: timed(
                    lambda: run("-c", "import optuna, torch, mlflow")
                ),
                "study, first line": lambda: first_line(workspace),
                "study, first line, new workspace": lambda: first_line(
                    str(Path(folder) / f"new{next(number)}")
                ),
            },
            rounds=given.starts,
            warmup=1,
        )
    record.say("fresh processes, from the start to the end or to the first line of a study")
    for name, values in found.items():
        record.add(name, values, "s")


if __name__ == "__main__":
    main()
