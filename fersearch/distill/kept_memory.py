"""Memory that a training step frees stays with the process, in huge pages, for the next step."""

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
# Of madvise(2).
MADV_HUGEPAGE = 14
# Address space that is laid out in huge pages; nothing of it is taken before it is used.
ADVISED = 2**30 - 2**20


@functools.cache
def keep_freed_memory() -> bool:
    """Tell the C library not to hand freed memory back to the system; once a process.

    Every step of a training takes and frees the same blocks of up to tens of megabytes. By itself,
    glibc hands many of them back, and the system fills page by page with zeros what the next step
    asks for. Kept, they can lie in huge pages, which the processor finds faster; where the system
    leaves them to be asked for, they are. What both are worth stands in docs/performance.md. What
    a process took stays with it until its end; its peak is the same.

    Whoever tuned the allocator (``MALLOC_...``, ``GLIBC_TUNABLES``) keeps what they chose.

    Returns:
        Whether the C library was told; False where it is another one than glibc, too.
    """
    tuned = any(name.startswith("MALLOC_") for name in os.environ)
    if tuned or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    # The first of the two ends glibc's own adjusting of both, so the second must follow it.
    told = any(library.mallopt(M_MMAP_THRESHOLD, size) for size in BLOCKS) and bool(
        library.mallopt(M_TRIM_THRESHOLD, MOST)
    )
    if told:
        _ask_for_huge_pages(library)
    return told


def _ask_for_huge_pages(library: ctypes.CDLL) -> None:
    """Ask for huge pages in what the heap grows into next.

    A system that refuses, or has none, goes on as before: then this is worth nothing.
    """
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    # Taken and given back untouched: the heap has grown by that much, and keeps it.
    block = library.malloc(ADVISED)
    if block is None:
        return
    page = os.sysconf("SC_PAGE_SIZE")
    start = -(-block // page) * page
    library.madvise(start, (block + ADVISED - start) // page * page, MADV_HUGEPAGE)
    library.free(block)
