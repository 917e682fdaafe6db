"""How long networks take for one image on one CPU thread, in the runtimes that deploy them.

Latencies are compared, so what else the machine does must hit all networks in all runtimes alike:
one fresh process (no caches, threads or allocations of a training run), and short turns in rounds
instead of one network after the other (:mod:`fersearch.deploy.latency_worker`). A runtime that
reads files is given ONNX files with initial weights, made before anything is timed and kept in a
cache: a latency does not depend on the values of the weights.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fersearch.deploy.architecture import Architecture
from fersearch.deploy.runtimes import (
    DEPLOYED,
    RUNTIMES,
    THREADS,
    FileRuntime,
    check_installed,
)
from fersearch.environment import processor_name, usable_cores
from fersearch.errors import FersearchError, InputError
from fersearch.records import canonical_json, digest

__all__ = [
    "Architecture",
    "Latency",
    "LatencyReport",
    "describe_host",
    "measure_latencies",
]

WORKER = "fersearch.deploy.latency_worker"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
UNSTEADY = 1.3
LEAST_RUNS, LEAST_WARMUP = 200, 20

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Latency of one image in one runtime on one host, in milliseconds.

    Attributes:
        runtime: What ran the network, a name in :data:`fersearch.deploy.runtimes.RUNTIMES`.
        runtime_version: Its version; empty where it has none.
        threads: CPU threads.
        image_size: Height and width of the image in pixels.
        p50: Median.
        p90: 90th percentile.
        min: Smallest.
        runs: Timed runs.
        host: Processor, cores and system that it was measured on.
        session: Name of the measurement: what one session measured was measured in turn.
        unsteady: Whether p50 / min exceeds 1.3: something else was running.
    """

    runtime: str
    runtime_version: str = ""
    threads: int
    image_size: int
    p50: float
    p90: float
    min: float
    runs: int
    host: str
    session: str
    unsteady: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """What a session measured, by :attr:`Architecture.key` and name of the runtime.

    Attributes:
        latencies: The latencies.
        failures: Why the missing ones are missing.
        died: Those of the failures whose exporting process died: trying again may help.
    """

    latencies: Mapping[Pair, Latency]
    failures: Mapping[Pair, str]
    died: frozenset[Pair] = field(default=frozenset())


class WorkerDiedError(FersearchError):
    """A worker process ended without an answer.

    Args:
        cause: What ended it.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"the process that measures latencies died: {cause}",
            "measure the networks one by one to find which one ends it",
        )
        self.cause = cause


def measure_latencies(
    architectures: Sequence[Architecture],
    *,
    runtimes: Sequence[str] = DEPLOYED,
    cache: Path | None = None,
    plugins: Sequence[str | Path] = (),
    rounds: int = 20,
    runs_per_round: int = 10,
    warmup: int = 20,
    timeout: float = 600.0,
    tell: Callable[[str], None] = lambda text: None,
) -> LatencyReport:
    """Measure every network in every runtime, in turn, with initial weights, batch 1.

    Args:
        architectures: The networks; equal ones are measured once.
        runtimes: Names in :data:`fersearch.deploy.runtimes.RUNTIMES`, or that a plug-in adds.
        cache: Folder of the exported ONNX files, whose content may be deleted at any time; a
            temporary one when None.
        plugins: Python files that register networks or runtimes; installed plug-ins are loaded too.
        rounds: Turns of each network in each runtime.
        runs_per_round: Timed runs in a turn; at least 200 over all rounds.
        warmup: Runs of each network in each runtime before the first round, at least 20.
        timeout: Seconds after which the measurement is given up; the exports before it have as
            many for each network.
        tell: Told what is being done.

    Returns:
        The latencies. A network that cannot be built, exported or run is among the failures, and
        does not disturb the others.

    Raises:
        InputError: Too few runs, an unknown runtime, one that is not installed, or a plug-in that
            cannot be loaded.
        FersearchError: The measuring process died or took too long.
    """
    runs = rounds * runs_per_round
    if min(rounds, runs_per_round) < 1 or runs < LEAST_RUNS or warmup < LEAST_WARMUP:
        raise InputError(
            f"{rounds} rounds of {runs_per_round} runs after {warmup} are too few for a latency",
            f"use {LEAST_RUNS} timed runs or more, after at least {LEAST_WARMUP}",
        )
    names = list(dict.fromkeys(runtimes))
    for name in names:
        if name in RUNTIMES:  # a plug-in may know the others
            check_installed(name)
    wanted = {architecture.key: architecture for architecture in architectures}
    if not wanted or not names:
        return LatencyReport(latencies={}, failures={})
    request = {
        "architectures": wanted,
        "plugins": [str(Path(plugin).resolve()) for plugin in plugins],
        "runtimes": names,
    }
    with tempfile.TemporaryDirectory(prefix="fersearch-onnx-") as scratch:
        folder = Path(scratch) if cache is None else cache.resolve()
        exported = Exported(files={}, failures={}, died=frozenset())
        # One that is not known here is a plug-in's: it may read files.
        if any(isinstance(RUNTIMES.get(name), FileRuntime | None) for name in names):
            tell(f"exporting {len(wanted)} networks to ONNX; those in the cache are taken from it")
            exported = export(request, folder, timeout=timeout * len(wanted))
        tell(f"timing {len(wanted)} networks in {' and '.join(names)}, in turn")
        reply = ask_worker(
            {
                **request,
                "task": "measure",
                "files": exported.files,
                "unexported": exported.failures,
                "rounds": rounds,
                "runs_per_round": runs_per_round,
                "warmup": warmup,
            },
            timeout=timeout,
        )
    return collected(reply, wanted, died_in_export=exported.died)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What the exports gave: paths and failures by key and precision, and who died."""

    files: Mapping[str, Mapping[str, str]]
    failures: Mapping[str, Mapping[str, str]]
    died: frozenset[str]


def export(request: Mapping[str, Any], folder: Path, *, timeout: float) -> Exported:
    """Make the ONNX files that are missing, in one process; in one each should that one die."""
    task = {**request, "task": "export", "folder": str(folder)}
    try:
        return Exported(**ask_worker(task, timeout=timeout), died=frozenset())
    except WorkerDiedError:
        pass
    files: dict[str, Mapping[str, str]] = {}
    failures: dict[str, Mapping[str, str]] = {}
    died = set()
    for key, architecture in request["architectures"].items():
        try:
            reply = ask_worker({**task, "architectures": {key: architecture}}, timeout=timeout)
            files |= reply["files"]
            failures |= reply["failures"]
        except WorkerDiedError as error:
            reason = f"the process that exported it to ONNX died: {error.cause}"
            failures[key] = {"fp32": reason, "int8": reason}
            died.add(key)
    return Exported(files=files, failures=failures, died=frozenset(died))


def collected(
    reply: Mapping[str, Any],
    wanted: Mapping[str, Architecture],
    *,
    died_in_export: frozenset[str],
) -> LatencyReport:
    """Return the times of the measuring process as figures of one session."""
    host = describe_host()
    session = digest([host, time.time_ns()], length=12)
    latencies = {}
    for key, name, nanoseconds in reply["nanoseconds"]:
        p50, p90, least = (float(np.percentile(nanoseconds, q)) / 1e6 for q in (50, 90, 0))
        latencies[key, name] = Latency(
            runtime=name,
            runtime_version=reply["versions"][name],
            threads=THREADS,
            image_size=wanted[key].image_size,
            p50=p50,
            p90=p90,
            min=least,
            runs=len(nanoseconds),
            host=host,
            session=session,
            unsteady=p50 > UNSTEADY * least,
        )
    failures = {(key, name): why for key, name, why in reply["failures"]}
    died = frozenset(pair for pair in failures if pair[0] in died_in_export)
    return LatencyReport(latencies=latencies, failures=failures, died=died)


def describe_host() -> str:
    """Return processor, usable cores and system in one line."""
    cores = usable_cores()
    return (
        f"{processor_name()}, {cores} core{'s' if cores > 1 else ''}, "
        f"{platform.system()} {platform.machine()}"
    )


def ask_worker(request: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
    """Return the reply of a fresh process to ``request``.

    Raises:
        InputError: The process refused the request.
        WorkerDiedError: It died.
        FersearchError: It could not be started, gave no answer or took too long.
    """
    environment = {
        **os.environ,
        **{name: str(THREADS) for name in THREAD_VARIABLES},
        # What this process can import, in the same order; -P adds nothing to it.
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", WORKER],
            input=canonical_json(request),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FersearchError(
            f"the latencies were not measured within {timeout:g} s",
            "allow more time, or measure fewer or smaller networks",
        ) from error
    except OSError as error:
        raise FersearchError(f"cannot start a process to measure latencies: {error}") from error
    if done.returncode != 0:
        raise WorkerDiedError(cause_of_death(done))
    try:
        # The last line: what a library prints on being imported comes before.
        reply: dict[str, Any] = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError as error:
        raise FersearchError(
            f"the process that measures latencies gave no answer: {done.stdout[-200:]!r}"
        ) from error
    if "error" in reply:
        raise InputError(reply["error"], reply["hint"])
    return reply


def cause_of_death(done: subprocess.CompletedProcess[str]) -> str:
    """Return the signal that ended a process, or the last line of what it complained of."""
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}"
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}, without a word"
