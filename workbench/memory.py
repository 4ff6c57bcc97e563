"""The process's heap, kept: large temporaries that a model makes over and over are then reused, not mapped anew."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_heap() -> bool:
    """Tells glibc's malloc to keep freed memory instead of returning it; False where there is no glibc.

    A forward or training step allocates the same large tensors each time; mapped anew, their page faults take a
    third of its time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def resident_memory() -> int | None:
    """Bytes of physical memory this process holds now, where the system tells."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
