"""A run of baselines that was killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, TINY_DATA

pytestmark = pytest.mark.slow

RIVALS = ROOT / "tests" / "plugins" / "tiny_baselines.py"


def command(workspace, tiny_plugin, *names):
    return [
        *(sys.executable, "-m", "fersearch", "baseline", "run", *names),
        *("--data", TINY_DATA, "--plugin", str(tiny_plugin), "--plugin", str(RIVALS)),
        *("--workspace", str(workspace), "--no-track", "--epochs", "3", "--seeds", "2"),
        *("--batch-size", "8", "--jobs", "1", "--threads", "1", "--json"),
    ]


@pytest.fixture
def workspace(tmp_path, tiny_data, tiny_cache):
    folder = tmp_path / "workspace"
    shutil.copytree(tiny_cache / "data", folder / "cache" / "data")
    return folder


def figures(result):
    return {name: row["test"]["accuracy"] for name, row in result["rows"].items()}


def test_a_killed_run_of_baselines_continues_to_the_same_figures(
    workspace, tiny_plugin, tmp_path, tiny_cache
):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    names = ("tiny_rival", "slow_rival")
    killed = subprocess.Popen(
        command(workspace, tiny_plugin, *names),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    folder = workspace / "baselines" / "baselines"
    deadline = time.monotonic() + 300
    # A checkpoint of the slow one: the quick one has finished, the slow one is in the middle.
    while not list(folder.glob("checkpoints/slow_rival-*.pt")):
        assert time.monotonic() < deadline, "nothing happened in time"
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = {path.name: path.read_text() for path in (folder / "runs").glob("tiny_rival-*.json")}
    assert len(kept) == 2
    assert not (folder / "test_reads.jsonl").exists()

    def finish(place):
        done = subprocess.run(
            command(place, tiny_plugin, *names),
            capture_output=True,
            text=True,
            env=environment,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    continued = finish(workspace)
    assert {name: (folder / "runs" / name).read_text() for name in kept} == kept
    assert continued["test_reads"] == 1
    assert not list(folder.glob("checkpoints/*"))
    straight = tmp_path / "straight"
    shutil.copytree(tiny_cache / "data", straight / "cache" / "data")
    assert figures(finish(straight)) == figures(continued)


def test_a_run_that_is_running_is_refused(workspace, tiny_plugin):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(
        command(workspace, tiny_plugin, "slow_rival"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        deadline = time.monotonic() + 300
        while not (workspace / "baselines" / "baselines" / "protocol.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)  # so that it still runs, however slow this machine is
        second = subprocess.run(
            command(workspace, tiny_plugin, "slow_rival"),
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 1
    assert "is being run by another process" in second.stderr
