"""The process that exports networks, and the one that times them.

``python -m fersearch.deploy.latency_worker`` reads a request from standard input and writes the
answer to standard output, both as JSON; :mod:`fersearch.deploy.latency` asks. Exports have a
process of their own, so that the one that times holds nothing but what it times.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from fersearch.deploy.architecture import Architecture
from fersearch.deploy.graph_cache import cached_graph
from fersearch.deploy.runtimes import (
    THREADS,
    Call,
    FileRuntime,
    Runtime,
    find_runtime,
    runtime_version,
)
from fersearch.errors import FersearchError
from fersearch.plugins import load_installed_plugins, load_plugin
from fersearch.records import canonical_json

__all__ = ["answer", "main"]

Result = TypeVar("Result")
Pair = tuple[str, str]


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what a request asks for: ``export`` or ``measure``.

    Args:
        request: ``task``; ``architectures`` by key; ``plugins``, paths; ``runtimes``, names. To
            export: ``folder``. To measure: ``files``, the paths of the exported files by key and
            precision, and ``unexported``, why the others are missing; ``rounds``,
            ``runs_per_round`` and ``warmup``.

    Returns:
        What the task gave, or ``error`` and ``hint`` where the request is refused.
    """
    try:
        load_installed_plugins()
        for plugin in request["plugins"]:
            load_plugin(plugin)
        runtimes = {name: find_runtime(name) for name in request["runtimes"]}
    except FersearchError as error:
        return {"error": error.message, "hint": error.hint}
    wanted = {key: Architecture(**plain) for key, plain in request["architectures"].items()}
    if request["task"] == "export":
        return export(wanted, runtimes, Path(request["folder"]))
    return measure(wanted, runtimes, request)


def export(
    wanted: Mapping[str, Architecture], runtimes: Mapping[str, Runtime], folder: Path
) -> dict[str, Any]:
    """Return the ONNX files that the runtimes need, by key and precision; failures likewise."""
    needed = [item.precision for item in runtimes.values() if isinstance(item, FileRuntime)]
    files: dict[str, dict[str, str]] = {key: {} for key in wanted}
    failures: dict[str, dict[str, str]] = {key: {} for key in wanted}
    for key, architecture in wanted.items():
        for precision in sorted(set(needed)):  # fp32 first: the other is made from it
            if "fp32" in failures[key]:
                failures[key][precision] = failures[key]["fp32"]
                continue
            try:
                path = cached_graph(architecture, precision, folder)
                files[key][precision] = str(path)
            except FersearchError as error:
                failures[key][precision] = str(error)
            except Exception as error:  # noqa: BLE001 - named, and told with the network's row
                failures[key][precision] = f"it cannot be built: {first_words(error)}"
    return {"files": files, "failures": failures}


def measure(
    wanted: Mapping[str, Architecture],
    runtimes: Mapping[str, Runtime],
    request: Mapping[str, Any],
) -> dict[str, Any]:
    """Return nanoseconds of every network in every runtime, in turn, and what failed.

    A turn begins with one run that is not timed, so that no network pays for the caches that its
    predecessor filled; each round begins with another network.
    """
    failures: dict[Pair, str] = {}
    calls: dict[Pair, Call] = {}
    with torch.inference_mode():
        for key, architecture in wanted.items():
            for name, runtime in runtimes.items():
                files = request["files"].get(key, {})
                if isinstance(runtime, FileRuntime) and runtime.precision not in files:
                    failures[key, name] = request["unexported"][key][runtime.precision]
                    continue
                try:
                    call = prepared(runtime, architecture, files)
                    timed(call, request["warmup"])
                    calls[key, name] = call
                except FersearchError as error:
                    failures[key, name] = str(error)
        times: dict[Pair, list[int]] = {pair: [] for pair in calls}
        for number in range(request["rounds"]):
            order = list(calls)
            first = number % max(1, len(order))
            for pair in order[first:] + order[:first]:
                try:
                    times[pair] += timed(calls[pair], request["runs_per_round"])
                except FersearchError as error:
                    failures[pair] = str(error)
                    del calls[pair], times[pair]
    return {
        "nanoseconds": [[key, name, found] for (key, name), found in times.items()],
        "failures": [[key, name, why] for (key, name), why in failures.items()],
        "versions": {name: runtime_version(name) for name in runtimes},
    }


def prepared(runtime: Runtime, architecture: Architecture, files: Mapping[str, str]) -> Call:
    """Return the call that runs one network once.

    Raises:
        FersearchError: It cannot be built or prepared.
    """
    side = architecture.image_size
    if isinstance(runtime, FileRuntime):
        path = Path(files[runtime.precision])
        pixels = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32)
        start = runtime.start
        return attempt("prepared", lambda: start(path, pixels))
    network = attempt("built", architecture.build).to(memory_format=torch.channels_last)
    channels = int(getattr(network, "in_chans", 3))
    image = torch.randn(1, channels, side, side).to(memory_format=torch.channels_last)
    return attempt("prepared", lambda: runtime(network, image))


def timed(call: Call, runs: int) -> list[int]:
    """Return the nanoseconds of ``runs`` calls after one that is not timed.

    Raises:
        FersearchError: A call fails.
    """

    def run() -> list[int]:
        times = []
        call()
        for _ in range(runs):
            start = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - start)
        return times

    return attempt("run", run)


def attempt(what: str, make: Callable[[], Result]) -> Result:
    """Return what ``make`` gives; whatever a network or a runtime raises is told in one line.

    Raises:
        FersearchError: It failed.
    """
    try:
        return make()
    except FersearchError:
        raise
    except Exception as error:
        raise FersearchError(f"it cannot be {what}: {first_words(error)}") from error


def first_words(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says."""
    text = str(error).strip().partition("\n")[0].strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def main() -> None:
    """Answer the request on standard input; whatever else is printed goes to standard error."""
    with redirect_stdout(sys.stderr):
        request = json.loads(sys.stdin.read())
        torch.set_num_threads(THREADS)
        torch.set_num_interop_threads(THREADS)
        if request["task"] == "measure":
            gc.disable()
        reply = answer(request)
    sys.stdout.write(f"\n{canonical_json(reply)}\n")


if __name__ == "__main__":
    main()
