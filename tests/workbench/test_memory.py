"""What is free in the heap goes back to the system when that is asked for."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

HELD = """
import numpy as np
from workbench.memory import keep_heap, resident_memory, trim_heap
keep_heap()
blocks = [np.ones(2**17) for _ in range(200)]  # 1 MB each
last = np.ones(2**17)  # nothing below it can be given back by lowering the heap's end
full = resident_memory()
del blocks
kept = resident_memory()
trim_heap()
print(full - kept, full - resident_memory())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this system's C library is not glibc")
def test_a_kept_heap_keeps_memory_until_it_is_trimmed() -> None:
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    kept, trimmed = map(int, done.stdout.split())
    assert kept < 20e6
    assert trimmed > 150e6
