"""Memory that a training step frees stays with the process for the next step."""

from __future__ import annotations

import ctypes
import functools
import os
import platform

__all__ = ["keep_freed_memory"]

# Parameters of mallopt(3).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MOST = 2**31 - 1
# Older C libraries refuse more than 32 MiB.
BLOCKS = (2**30, 2**25)


@functools.cache
def keep_freed_memory() -> bool:
    """Tell the C library not to hand freed memory back to the system; once a process.

    Every step of a training takes and frees the same blocks of up to tens of megabytes. By itself,
    glibc hands many of them back, and the system fills page by page with zeros what the next step
    asks for: 1-4 % of a step, see docs/performance.md. What a process took stays with it until its
    end; its peak is the same.

    Whoever tuned the allocator (``MALLOC_...``, ``GLIBC_TUNABLES``) keeps what they chose.

    Returns:
        Whether the C library was told; False where it is another one than glibc, too.
    """
    tuned = any(name.startswith("MALLOC_") for name in os.environ)
    if tuned or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # The first of the two ends glibc's own adjusting of both, so the second must follow it.
    return any(mallopt(M_MMAP_THRESHOLD, size) for size in BLOCKS) and bool(
        mallopt(M_TRIM_THRESHOLD, MOST)
    )
