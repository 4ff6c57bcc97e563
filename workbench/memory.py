"""The process's heap: keep freed memory, so that the large temporaries of a model are reused and not mapped again."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h


def keep_heap() -> bool:
    """Tell glibc's malloc to keep freed memory instead of returning it; return False where there is no glibc.

    A forward or training step allocates the same large tensors each time; if they are mapped again, page faults take a
    third of its time. Threads started later share one heap: separate ones would be split into pieces of 64 MB, which
    are unmapped when they become empty.
    """
    mallopt = _of_glibc("mallopt")
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_ARENA_MAX: 1}
    return mallopt is not None and all(mallopt(*setting) for setting in settings.items())


def trim_heap() -> None:
    """Return free memory in the heap to the system, where there is glibc.

    A heap that is kept becomes fragmented as blocks of many sizes come and go, and should be trimmed now and then.
    """
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def _of_glibc(function: str) -> Any:
    return getattr(ctypes.CDLL(None), function, None) if sys.platform == "linux" else None


def resident_memory() -> int | None:
    """Return the resident memory of this process in bytes, or None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
