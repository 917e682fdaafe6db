"""Latencies for reports: measured once on a host, kept in the workspace's cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fersearch.deploy.graph_cache import EXPORTERS
from fersearch.deploy.latency import (
    Architecture,
    Latency,
    LatencyReport,
    describe_host,
    measure_latencies,
)
from fersearch.deploy.runtimes import DEPLOYED, EAGER, check_installed, runtime_version
from fersearch.environment import installed_version
from fersearch.errors import FersearchError, InputError
from fersearch.files import write_json
from fersearch.records import to_plain

__all__ = ["Measured", "chosen_runtimes", "session_latencies"]

# Of the files of a session; those of other formats are measured again.
FORMAT_VERSION = 2

Pair = tuple[str, str]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The latencies of one session.

    Attributes:
        latencies: By key of the architecture and name of the runtime.
        warnings: Which are missing and why, one sentence each.
    """

    latencies: Mapping[Pair, Latency]
    warnings: tuple[str, ...] = ()


def chosen_runtimes(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the runtimes to measure, the main one first, and warnings.

    Args:
        names: What was asked for. When nothing was: ONNX Runtime in both precisions, or PyTorch in
            eager mode, with a warning, where the packages for it are missing.

    Raises:
        InputError: One that was asked for is unknown or not installed.
    """
    for name in names:
        check_installed(name)
    if names:
        return tuple(dict.fromkeys(names)), ()
    try:
        for name in DEPLOYED:
            check_installed(name)
    except InputError as error:
        return (EAGER,), (
            f"latencies are those of PyTorch in eager mode, not of a runtime that models are "
            f"deployed in: {error.message}; {error.hint}",
        )
    return DEPLOYED, ()


def session_latencies(
    wanted: Sequence[Architecture],
    home: Path,
    *,
    runtimes: Sequence[str],
    measure: bool,
    plugins: Sequence[str | Path] = (),
    tell: Tell = lambda text: None,
) -> Measured:
    """Return the latencies of one session that covers all networks in all runtimes.

    Figures of different sessions are never mixed: something else may have run meanwhile.

    Args:
        wanted: The networks.
        home: The workspace; sessions are kept in its ``cache/latency``, ONNX files in its
            ``cache/onnx``. Both may be deleted at any time.
        runtimes: Names of the runtimes.
        measure: Whether a session is measured where the cache holds none.
        plugins: Files that register networks or runtimes.
        tell: Told what is being done.
    """
    folder = home / "cache" / "latency"
    pairs = [(item.key, name) for item in wanted for name in runtimes]
    files = plugin_digests(plugins)
    models = {item.key: item.model for item in wanted}
    kept = [item for item in kept_sessions(folder) if item.covers(pairs, files)]
    if kept:
        # Of equally good ones the newest, which stands last.
        session = min(reversed(kept), key=lambda item: item.faults(pairs))
        failures = {pair: session.failures[pair] for pair in pairs if pair in session.failures}
        return Measured(
            latencies={pair: session.latencies[pair] for pair in pairs if pair not in failures},
            warnings=failure_words(failures, models),
        )
    if not measure or not pairs:
        return Measured(latencies={})
    try:
        report = measure_latencies(
            wanted, runtimes=runtimes, cache=home / "cache" / "onnx", plugins=plugins, tell=tell
        )
    except FersearchError as error:
        return Measured(latencies={}, warnings=(f"the latencies could not be measured: {error}",))
    keep_session(folder, report, files)
    return Measured(latencies=report.latencies, warnings=failure_words(report.failures, models))


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that was kept.

    Attributes:
        latencies: Its latencies.
        failures: What it could not measure, and why.
        versions: Versions of what makes ONNX files, by distribution.
        plugins: SHA-256 of the plug-in files that were given, by path.
    """

    latencies: Mapping[Pair, Latency]
    failures: Mapping[Pair, str]
    versions: Mapping[str, str]
    plugins: Mapping[str, str]

    def covers(self, pairs: Sequence[Pair], plugins: Mapping[str, str]) -> bool:
        """Return whether it holds what is wanted, measured on this host by the same software.

        What failed is tried again when a plug-in is given that was not; everything is measured
        again when one was edited.
        """
        host = describe_host()
        if self.versions != makers() or any(
            item.host != host or item.runtime_version != runtime_version(item.runtime)
            for item in self.latencies.values()
        ):
            return False
        if any(self.plugins.get(path, found) != found for path, found in plugins.items()):
            return False
        known: set[Pair] = set(self.latencies)
        if set(plugins) <= set(self.plugins):
            known |= set(self.failures)
        return known.issuperset(pairs)

    def faults(self, pairs: Sequence[Pair]) -> tuple[int, int]:
        """Return how many of the wanted figures are missing, and how many were unsteady."""
        found = [self.latencies[pair] for pair in pairs if pair in self.latencies]
        return len(pairs) - len(found), sum(item.unsteady for item in found)


def makers() -> dict[str, str]:
    """Return the versions of what makes ONNX files; empty for what is not installed."""
    return {name: installed_version(name) or "" for name in (*EXPORTERS, "onnxruntime")}


def plugin_digests(plugins: Sequence[str | Path]) -> dict[str, str]:
    """Return the SHA-256 of plug-in files by their path; they were loaded, so they are there."""
    paths = [Path(plugin).resolve() for plugin in plugins]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def kept_sessions(folder: Path) -> list[Session]:
    """Return the sessions of a folder, the oldest first; what cannot be read is deleted."""
    found = []
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime):
        try:
            found.append(read_session(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            path.unlink(missing_ok=True)  # a cache: measured again
    return found


def read_session(content: Mapping[str, Any]) -> Session:
    """Return a session from its JSON; raises what reading another shape raises."""
    if content["format_version"] != FORMAT_VERSION:
        raise ValueError(f"format version {content['format_version']}")
    return Session(
        latencies={
            (item["architecture"], item["figures"]["runtime"]): Latency(**item["figures"])
            for item in content["latencies"]
        },
        failures={
            (item["architecture"], item["runtime"]): str(item["reason"])
            for item in content["failures"]
        },
        versions=dict(content["versions"]),
        plugins=dict(content["plugins"]),
    )


def keep_session(folder: Path, report: LatencyReport, plugins: Mapping[str, str]) -> None:
    """Write a session; what failed because a process died is not kept, and so tried again."""
    names = [item.session for item in report.latencies.values()]
    if not names:
        return
    content = {
        "format_version": FORMAT_VERSION,
        "versions": makers(),
        "plugins": plugins,
        "latencies": [
            {"architecture": key, "figures": figures}
            for (key, _), figures in report.latencies.items()
        ],
        "failures": [
            {"architecture": key, "runtime": name, "reason": why}
            for (key, name), why in report.failures.items()
            if (key, name) not in report.died
        ],
    }
    write_json(folder / f"{names[0]}.json", to_plain(content))


def failure_words(failures: Mapping[Pair, str], models: Mapping[str, str]) -> tuple[str, ...]:
    """Say which latencies are missing, a sentence a network and reason."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for (key, name), why in failures.items():
        grouped.setdefault((key, why), []).append(name)
    return tuple(
        f"no latency of {models[key]} in {' and '.join(names)}: {why}"
        for (key, why), names in grouped.items()
    )
