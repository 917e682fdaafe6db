"""Freed memory stays with a process that trains, in huge pages where there are some."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.step import HANDED_BACK

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library than glibc"
)

BLOCKS = """
import resource
import sys

import torch

from fersearch.distill.kept_memory import keep_freed_memory

def huge():
    kilobytes = [line.split()[1] for line in open("/proc/self/smaps") if "AnonHuge" in line]
    return sum(map(int, kilobytes)) / 1e3

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

told = sys.argv[1] == "keep" and keep_freed_memory()
for _ in range(3):
    torch.zeros(12_000_000)  # 48 MB: more than glibc keeps by itself
before = faults()
for _ in range(10):
    torch.zeros(12_000_000)
print(told, (faults() - before) / 10, huge())
"""


def blocks(mode: str, **variables: str) -> tuple[str, float, float]:
    """Whether the C library was told; page faults for each block; megabytes in huge pages."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))
    }
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS, mode],
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    told, faults, huge = done.stdout.split()
    return told, float(faults), float(huge)


def test_the_same_block_is_taken_again_without_page_faults() -> None:
    pages = 48e6 / os.sysconf("SC_PAGE_SIZE")
    told, faults, _ = blocks("keep")
    assert told == "True"
    assert faults < 0.1 * pages
    if os.sysconf("SC_PAGE_SIZE") == 4096:
        assert blocks("leave")[1] > 0.5 * pages, "the C library keeps such blocks by itself"


@pytest.mark.skipif(
    not HUGE_PAGES.exists() or "[madvise]" not in HUGE_PAGES.read_text(encoding="utf-8"),
    reason="huge pages are always given here, or never",
)
def test_huge_pages_are_asked_for_where_the_system_waits_for_that() -> None:
    assert blocks("keep")[2] > 40
    assert blocks("leave")[2] < 10


@pytest.mark.parametrize(
    "variables",
    [{"MALLOC_TOP_PAD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, HANDED_BACK],
)
def test_who_tuned_the_allocator_keeps_what_they_chose(variables: dict[str, str]) -> None:
    assert blocks("keep", **variables)[0] == "False"
