"""The process's heap, kept: large temporaries that a model makes over and over are then reused, not mapped anew."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep_heap() -> bool:
    """Tells glibc's malloc to keep freed memory instead of returning it; False where there is no glibc.

    A forward or training step allocates the same large tensors each time; mapped anew, their page faults take a
    third of its time. Threads begun later share one heap: those of their own would be cut into pieces of 64 MB, which
    are unmapped when they empty.
    """
    mallopt = _of_glibc("mallopt")
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_ARENA_MAX: 1}
    return mallopt is not None and all(mallopt(*setting) for setting in settings.items())


def trim_heap() -> None:
    """Returns what is free in the heap to the system, where there is glibc.

    A heap that is kept grows while blocks of many sizes come and go; now and then it should begin anew.
    """
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def _of_glibc(function: str) -> Any:
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None


def resident_memory() -> int | None:
    """Bytes of physical memory this process holds now, where the system tells."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
