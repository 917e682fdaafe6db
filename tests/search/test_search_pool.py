"""Worker processes of a study are stopped without leaving anything behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A semaphore of the operating system, as torch.compile and progress bars hold them.
PLUGIN = """
import multiprocessing, os, pathlib
lock = multiprocessing.get_context("spawn").Lock()
pathlib.Path(__file__).with_name(f"{os.getpid()}.started").touch()
"""
PROGRAM = """
import pathlib, sys, time
from fersearch.search.pool import ProcessPool

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    pool = ProcessPool(2, plugins=(str(folder / "plugin.py"),))
    end = time.monotonic() + 120
    while len(list(folder.glob("*.started"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    started = time.monotonic()
    pool.close()
    print([worker.process.exitcode for worker in pool._workers], time.monotonic() - started < 30)
"""


@pytest.mark.slow
def test_idle_workers_end_by_themselves_and_give_back_their_semaphores(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0, 0] True"
    assert "leaked" not in done.stderr
