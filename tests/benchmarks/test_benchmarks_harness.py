"""The benchmarks' harness: rounds in turn, ratios of rounds, and what is written down."""

from __future__ import annotations

import argparse
import json
import math

import pytest

from benchmarks import __main__ as entry
from benchmarks.harness import Recorder, interleaved, machine, ratio, timed, versions


def test_a_ratio_is_the_median_of_the_rounds_ratios_not_the_ratio_of_medians():
    found = ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0])  # ratios 2, 3, 1; medians 4 / 3
    assert (found.median, found.low, found.high) == (2.0, 1.0, 3.0)
    assert str(found) == "2.00 (1.00-3.00)"


@pytest.mark.parametrize(("over", "under"), [([1.0, 2.0], [1.0]), ([], [])])
def test_rounds_that_do_not_match_are_refused(over, under):
    with pytest.raises(ValueError, match=r"."):
        ratio(over, under)


def test_tasks_run_in_turn_every_second_round_backwards_and_warming_up_is_left_out():
    order = []

    def task(name, values):
        def run():
            order.append(name)
            return next(values)

        return run

    found = interleaved(
        {"a": task("a", iter([9.0, 1.0, 2.0])), "b": task("b", iter([9.0, 3.0, 4.0]))},
        rounds=2,
        warmup=1,
    )
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1.0, 2.0], "b": [3.0, 4.0]}


def test_a_task_without_a_figure_is_timed():
    found = interleaved({"a": lambda: None}, rounds=2, warmup=0)
    assert len(found["a"]) == 2
    assert all(0 <= value < 5 for value in found["a"])
    assert timed(lambda: None) >= 0


def test_the_file_holds_the_machine_the_versions_every_timing_and_the_ratios(tmp_path, capsys):
    given = argparse.Namespace(rounds=3, out=tmp_path / "new")
    record = Recorder("example", given)
    record.add("ours", [1.0, 2.0, 3.0], "s")
    record.add("theirs", [2.0, 8.0, 3.0], "s")
    record.figures["other"] = {"x": math.pi}
    assert record.compare("theirs", "ours").median == 2.0
    record.finish()
    content = json.loads((tmp_path / "new" / "example.json").read_text(encoding="utf-8"))
    assert content["benchmark"] == "example"
    assert content["options"] == {"rounds": 3}
    assert content["series"]["theirs"] == {"unit": "s", "values": [2.0, 8.0, 3.0]}
    assert content["ratios"] == {"theirs / ours": {"median": 2.0, "low": 1.0, "high": 4.0}}
    assert content["figures"] == {"other": {"x": math.pi}}
    assert {"processor", "cores", "physical_cores"} <= set(content["machine"])
    assert {"torch", "optuna", "mlflow", "fersearch", "commit"} <= set(content["versions"])
    assert {"load_before", "load_after", "started", "ended"} <= set(content)
    assert (tmp_path / "new" / "example.png").read_bytes().startswith(b"\x89PNG")
    assert "theirs / ours: 2.00 (1.00-4.00)" in capsys.readouterr().out


def test_nothing_is_written_where_no_folder_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = Recorder("example", argparse.Namespace(out=None))
    record.add("ours", [1.0], "s")
    record.finish()
    assert list(tmp_path.iterdir()) == []


def test_the_machines_own_name_is_not_written_down():
    import platform

    assert "host" not in machine()
    assert platform.node() not in machine().values()
    assert versions()["python"] == platform.python_version()


def test_a_benchmark_runs_by_its_name(capsys):
    assert entry.main([]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in entry.BENCHMARKS)
    assert entry.main(["nonsense"]) == 2
    assert "there is no benchmark 'nonsense'" in capsys.readouterr().err


@pytest.mark.parametrize("name", entry.BENCHMARKS)
def test_every_benchmark_explains_its_options(name, capsys):
    with pytest.raises(SystemExit) as ended:
        entry.main([name, "--help"])
    assert ended.value.code == 0
    assert "--out" in capsys.readouterr().out
