"""Latencies that were measured once are shown again, as long as nothing has changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fersearch.api import latencies
from fersearch.api.latencies import Measured, chosen_runtimes, session_latencies
from fersearch.deploy.latency import Architecture, Latency, LatencyReport, describe_host
from fersearch.deploy.runtimes import runtime_version
from fersearch.errors import FersearchError, InputError

NAMES = ("onnxruntime", "eager")
FIRST, SECOND = (Architecture(model=name, num_classes=7, image_size=48) for name in ("a", "b"))


def latency(name: str, session: str, *, p50: float = 2.0, least: float = 1.9) -> Latency:
    return Latency(
        runtime=name,
        runtime_version=runtime_version(name),
        threads=1,
        image_size=48,
        p50=p50,
        p90=2 * p50,
        min=least,
        runs=200,
        host=describe_host(),
        session=session,
        unsteady=p50 > 1.3 * least,
    )


class Bench:
    """Stands in for the measuring processes, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.failures: dict[tuple[str, str], str] = {}
        self.died: frozenset[tuple[str, str]] = frozenset()
        self.unsteady = False

    def __call__(self, wanted: Any, *, runtimes: Any, **_: Any) -> LatencyReport:
        self.asked.append(tuple(runtimes))
        session = f"session-{len(self.asked)}"
        least = 1.0 if self.unsteady else 1.9
        return LatencyReport(
            latencies={
                (item.key, name): latency(name, session, least=least)
                for item in wanted
                for name in runtimes
                if (item.key, name) not in self.failures
            },
            failures=self.failures,
            died=self.died,
        )


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr(latencies, "measure_latencies", made)
    return made


def ask(home: Path, *wanted: Architecture, runtimes: Any = NAMES, **options: Any) -> Measured:
    return session_latencies(
        wanted or (FIRST, SECOND), home, runtimes=runtimes, **{"measure": True, **options}
    )


def age(home: Path) -> None:
    """Make the sessions that are kept older than those to come."""
    for path in (home / "cache" / "latency").glob("*.json"):
        os.utime(path, (path.stat().st_mtime - 100,) * 2)


def test_a_session_serves_all_that_it_covers(bench: Bench, tmp_path: Path) -> None:
    first = ask(tmp_path)
    assert set(first.latencies) == {(item.key, name) for item in (FIRST, SECOND) for name in NAMES}
    assert ask(tmp_path) == first
    fewer = ask(tmp_path, SECOND, runtimes=("eager",))
    assert fewer.latencies == {(SECOND.key, "eager"): first.latencies[SECOND.key, "eager"]}
    assert ask(tmp_path, measure=False) == first
    assert bench.asked == [NAMES]
    third = Architecture(model="c", num_classes=7, image_size=48)
    more = ask(tmp_path, FIRST, third)
    assert {item.session for item in more.latencies.values()} == {"session-2"}  # never mixed
    assert len(bench.asked) == 2


def test_nothing_is_measured_that_may_not_be(bench: Bench, tmp_path: Path) -> None:
    assert ask(tmp_path, measure=False) == Measured(latencies={})
    assert bench.asked == []
    assert not (tmp_path / "cache").exists()


def test_the_steadiest_session_is_shown_and_of_equals_the_newest(
    bench: Bench, tmp_path: Path
) -> None:
    def sessions(*wanted: Architecture, **options: Any) -> set[str]:
        return {item.session for item in ask(tmp_path, *wanted, **options).latencies.values()}

    assert sessions(FIRST) == {"session-1"}
    age(tmp_path)
    bench.unsteady = True
    assert sessions(FIRST, SECOND) == {"session-2"}
    assert sessions(FIRST) == {"session-1"}
    age(tmp_path)
    bench.unsteady = False
    third = Architecture(model="c", num_classes=7, image_size=48)
    assert sessions(FIRST, third) == {"session-3"}
    assert sessions(FIRST) == {"session-3"}


@pytest.mark.parametrize("change", ["host", "maker", "runtime"])
def test_another_host_or_version_is_measured_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    ask(tmp_path)
    if change == "host":
        monkeypatch.setattr(latencies, "describe_host", lambda: "another host")
    elif change == "maker":
        monkeypatch.setattr(latencies, "makers", lambda: {"torch": "99"})
    else:
        monkeypatch.setattr(latencies, "runtime_version", lambda name: "99")
    assert ask(tmp_path, measure=False).latencies == {}
    ask(tmp_path)
    assert len(bench.asked) == 2


def test_what_failed_is_remembered_until_another_plug_in_is_given(
    bench: Bench, tmp_path: Path
) -> None:
    bench.failures = {(SECOND.key, name): "unknown model 'b'" for name in NAMES}
    first = ask(tmp_path)
    assert first.warnings == ("no latency of b in onnxruntime and eager: unknown model 'b'",)
    assert ask(tmp_path) == first
    assert len(bench.asked) == 1
    plugin = tmp_path / "mine.py"
    plugin.write_text("one")
    bench.failures = {}
    assert ask(tmp_path, plugins=[plugin]).warnings == ()
    assert len(bench.asked) == 2
    # What the plug-in brought stays known without it; an edited plug-in may be another network.
    assert ask(tmp_path).warnings == ()
    assert len(bench.asked) == 2
    plugin.write_text("two")
    ask(tmp_path, plugins=[plugin])
    assert len(bench.asked) == 3


def test_what_failed_because_a_process_died_is_tried_again(bench: Bench, tmp_path: Path) -> None:
    bench.failures = {(SECOND.key, "onnxruntime"): "the process died"}
    bench.died = frozenset(bench.failures)
    assert len(ask(tmp_path).warnings) == 1
    ask(tmp_path)
    assert len(bench.asked) == 2


OLD = {
    "latencies": {
        FIRST.key: {
            "runtime": "eager",
            "threads": 1,
            "image_size": 48,
            "p50": 3.5,
            "p90": 4.0,
            "min": 3.4,
            "runs": 200,
            "host": "AMD EPYC, 2 cores, Linux x86_64, PyTorch 2.15.0",
            "session": "92334ae7d709",
            "unsteady": False,
        }
    },
    "failures": {},
}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", json.dumps(OLD), json.dumps({**OLD, "format_version": 2})],
    ids=["empty", "a list", "an object", "the first format", "mixed"],
)
def test_old_and_damaged_sessions_are_measured_again(
    bench: Bench, tmp_path: Path, content: str
) -> None:
    folder = tmp_path / "cache" / "latency"
    folder.mkdir(parents=True)
    (folder / "92334ae7d709.json").write_text(content)
    found = ask(tmp_path, FIRST, runtimes=("eager",))
    assert found.latencies[FIRST.key, "eager"].session == "session-1"
    assert [path.name for path in folder.iterdir()] == ["session-1.json"]


def test_a_measurement_that_fails_as_a_whole_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> LatencyReport:
        raise FersearchError("the process that measures latencies died: killed by SIGKILL")

    monkeypatch.setattr(latencies, "measure_latencies", fail)
    found = ask(tmp_path)
    assert found.latencies == {}
    assert "could not be measured: the process that measures latencies died" in found.warnings[0]


def test_what_no_session_holds_is_not_written(bench: Bench, tmp_path: Path) -> None:
    bench.failures = {(FIRST.key, name): "it is too odd" for name in NAMES}
    assert len(ask(tmp_path, FIRST).warnings) == 1
    assert not (tmp_path / "cache" / "latency").exists()


def test_runtimes_are_those_asked_for_or_the_deployed_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert chosen_runtimes(()) == (("onnxruntime", "onnxruntime-int8"), ())
    assert chosen_runtimes(("eager", "onnxruntime", "eager")) == (("eager", "onnxruntime"), ())

    def refuse(name: str) -> None:
        if name != "eager":
            raise InputError("onnx is not installed", "get it")

    monkeypatch.setattr(latencies, "check_installed", refuse)
    names, warnings = chosen_runtimes(())
    assert names == ("eager",)
    assert "eager mode" in warnings[0]
    assert warnings[0].endswith("onnx is not installed; get it")
    with pytest.raises(InputError, match="onnx is not installed"):
        chosen_runtimes(("onnxruntime",))


def test_figures_survive_the_disk(bench: Bench, tmp_path: Path) -> None:
    ask(tmp_path)
    (session,) = latencies.kept_sessions(tmp_path / "cache" / "latency")
    assert session.latencies[FIRST.key, "eager"] == latency("eager", "session-1")
