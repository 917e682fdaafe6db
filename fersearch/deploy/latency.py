"""How long networks take for one image on one CPU thread, measured in turn in a fresh process.

Latencies are compared, so what else the machine does must hit all networks alike: one process of
its own (no caches, threads or allocations of a training run), and short turns in rounds instead of
one network after the other, each round beginning with another network. A turn begins with one run
that is not timed, so that no network pays for the caches that its predecessor filled. The same
module is that process: ``python -m fersearch.deploy.latency`` reads a request from standard input
and writes the times to standard output, both as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fersearch.environment import installed_version, processor_name, usable_cores
from fersearch.errors import FersearchError, InputError, suggestion
from fersearch.models.factory import create
from fersearch.plugins import load_installed_plugins, load_plugin
from fersearch.records import canonical_json, digest

__all__ = ["RUNTIMES", "Architecture", "Latency", "LatencyReport", "measure_latencies"]

WORKER = "fersearch.deploy.latency"
THREADS = 1
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
UNSTEADY = 1.3
LEAST_RUNS, LEAST_WARMUP = 200, 20

Runtime = Callable[[nn.Module, Tensor], Callable[[], object]]


def eager(network: nn.Module, image: Tensor) -> Callable[[], object]:
    """Return a call that runs the network once, as PyTorch does without compiling it."""
    return lambda: network(image)


RUNTIMES: dict[str, Runtime] = {"eager": eager}
"""What can run a network, by name: given the network in evaluation mode and its input, float32
``(1, channels, S, S)``, both channels-last, each returns the call that is timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network without its weights: all that its latency depends on.

    Attributes:
        model: timm name.
        options: Options that it is built with.
        num_classes: Number of logits.
        image_size: Height and width of the image in pixels.
    """

    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int
    image_size: int

    @property
    def key(self) -> str:
        """Digest of the four: equal for equal architectures."""
        return digest(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Latency of one image on one host, in milliseconds.

    Attributes:
        runtime: What ran the network: ``eager`` (PyTorch).
        threads: CPU threads.
        image_size: Height and width of the image in pixels.
        p50: Median.
        p90: 90th percentile.
        min: Smallest.
        runs: Timed runs.
        host: Processor, cores, system and PyTorch version that it was measured with.
        session: Name of the measurement: networks of one session were measured in turn.
        unsteady: Whether p50 / min exceeds 1.3: something else was running.
    """

    runtime: str
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
    """Latencies by :attr:`Architecture.key`, and why the missing ones are missing, by key."""

    latencies: Mapping[str, Latency]
    failures: Mapping[str, str]


def measure_latencies(
    architectures: Sequence[Architecture],
    *,
    plugins: Sequence[str | Path] = (),
    runtime: str = "eager",
    rounds: int = 20,
    runs_per_round: int = 10,
    warmup: int = 20,
    timeout: float = 600.0,
) -> LatencyReport:
    """Measure the networks in turn, each with initial weights, batch 1, float32, channels-last.

    Args:
        architectures: The networks; equal ones are measured once.
        plugins: Python files that register networks or runtimes; installed plug-ins are loaded too.
        runtime: A name in :data:`RUNTIMES`, or one that a plug-in adds.
        rounds: Turns of each network.
        runs_per_round: Timed runs in a turn; at least 200 over all rounds.
        warmup: Runs of each network before the first round, at least 20.
        timeout: Seconds after which the measurement is given up.

    Returns:
        The latencies. A network that cannot be built or run is among the failures, and does not
        disturb the others.

    Raises:
        InputError: Too few runs, an unknown runtime, or a plug-in that cannot be loaded.
        FersearchError: The measuring process died or took too long.
    """
    runs = rounds * runs_per_round
    if min(rounds, runs_per_round) < 1 or runs < LEAST_RUNS or warmup < LEAST_WARMUP:
        raise InputError(
            f"{rounds} rounds of {runs_per_round} runs after {warmup} are too few for a latency",
            f"use {LEAST_RUNS} timed runs or more, after at least {LEAST_WARMUP}",
        )
    wanted = {architecture.key: architecture for architecture in architectures}
    if not wanted:
        return LatencyReport(latencies={}, failures={})
    host = describe_host()
    reply = ask_worker(
        {
            "architectures": wanted,
            "plugins": [str(Path(plugin).resolve()) for plugin in plugins],
            "runtime": runtime,
            "rounds": rounds,
            "runs_per_round": runs_per_round,
            "warmup": warmup,
        },
        timeout=timeout,
    )
    session = digest([host, time.time_ns()], length=12)
    latencies = {}
    for key, nanoseconds in reply["nanoseconds"].items():
        p50, p90, least = (float(np.percentile(nanoseconds, q)) / 1e6 for q in (50, 90, 0))
        latencies[key] = Latency(
            runtime=runtime,
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
    return LatencyReport(latencies=latencies, failures=reply["failures"])


def describe_host() -> str:
    """Return processor, usable cores, system and PyTorch version in one line."""
    cores = usable_cores()
    return (
        f"{processor_name()}, {cores} core{'s' if cores > 1 else ''}, "
        f"{platform.system()} {platform.machine()}, PyTorch {installed_version('torch')}"
    )


def ask_worker(request: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
    """Return the reply of a fresh process to ``request``.

    Raises:
        InputError: The process refused the request.
        FersearchError: It could not be started, died or took too long.
    """
    environment = {
        **os.environ,
        **{name: str(THREADS) for name in THREAD_VARIABLES},
        # What this process can import, in the same order; -P adds nothing to it.
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
    }
    quiet = "ignore::RuntimeWarning:runpy"  # that the package has imported this module already
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-W", quiet, "-m", WORKER],
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
        raise FersearchError(
            f"the process that measures latencies died: {cause_of_death(done)}",
            "measure the networks one by one to find which one ends it",
        )
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


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Build and time the networks of a request; called in the measuring process."""
    try:
        load_installed_plugins()
        for plugin in request["plugins"]:
            load_plugin(plugin)
        runtime = RUNTIMES.get(request["runtime"])
        if runtime is None:
            raise InputError(
                f"unknown runtime {request['runtime']!r}", suggestion(request["runtime"], RUNTIMES)
            )
    except FersearchError as error:
        return {"error": error.message, "hint": error.hint}
    failures: dict[str, str] = {}
    calls: dict[str, Callable[[], object]] = {}
    with torch.inference_mode():
        for key, wanted in request["architectures"].items():
            try:
                calls[key] = prepared(runtime, wanted, warmup=request["warmup"])
            except FersearchError as error:
                failures[key] = str(error)
        times: dict[str, list[int]] = {key: [] for key in calls}
        for number in range(request["rounds"]):
            order = list(calls)
            first = number % max(1, len(order))
            for key in order[first:] + order[:first]:
                try:
                    times[key] += timed(calls[key], request["runs_per_round"])
                except FersearchError as error:
                    failures[key] = str(error)
                    del calls[key], times[key]
    return {"nanoseconds": times, "failures": failures}


def prepared(runtime: Runtime, wanted: Mapping[str, Any], *, warmup: int) -> Callable[[], object]:
    """Build one network and run it ``warmup`` times.

    Raises:
        FersearchError: It cannot be built or run.
    """
    torch.manual_seed(0)
    network = create(
        wanted["model"],
        num_classes=wanted["num_classes"],
        image_size=wanted["image_size"],
        **wanted["options"],
    )
    network = network.eval().to(memory_format=torch.channels_last)
    side, channels = wanted["image_size"], int(getattr(network, "in_chans", 3))
    image = torch.randn(1, channels, side, side).to(memory_format=torch.channels_last)
    try:
        call = runtime(network, image)
    except Exception as error:
        raise FersearchError(f"it cannot be prepared: {type(error).__name__}: {error}") from error
    timed(call, warmup)
    return call


def timed(call: Callable[[], object], runs: int) -> list[int]:
    """Return the nanoseconds of ``runs`` calls after one that is not timed.

    Raises:
        FersearchError: A call fails.
    """
    times = []
    try:
        call()
        for _ in range(runs):
            start = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - start)
    except Exception as error:
        raise FersearchError(f"it cannot be run: {type(error).__name__}: {error}") from error
    return times


def main() -> None:
    """Answer the request on standard input; whatever else is printed goes to standard error."""
    with redirect_stdout(sys.stderr):
        torch.set_num_threads(THREADS)
        torch.set_num_interop_threads(THREADS)
        gc.disable()
        reply = answer(json.loads(sys.stdin.read()))
    sys.stdout.write(f"\n{canonical_json(reply)}\n")


if __name__ == "__main__":
    # Not this copy of the module but the one that plug-ins import, with its table of runtimes.
    from fersearch.deploy import latency

    latency.main()
