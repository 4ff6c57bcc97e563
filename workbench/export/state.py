"""What an export has gathered so far, kept between parts so that it can go on after a crash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..store.files import replacing
from .statistics import Statistics
from .toplists import TopLists


@dataclass
class Totals:
    """Statistics and best tokens of one group's experts over the parts read so far."""

    statistics: Statistics
    lists: TopLists

    def save(self, path: Path) -> None:
        """Write them to one file, atomically."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **(self.statistics.arrays() | self.lists.arrays()))  # type: ignore[arg-type]

    def load(self, path: Path) -> None:
        """Take them back, bit for bit."""
        with np.load(path, allow_pickle=False) as saved:
            for kept in (self.statistics, self.lists):
                for name in kept.arrays():
                    setattr(kept, name, saved[name])


def state_name(part: int, group: int) -> str:
    """Path inside the run of a group's totals up to and with a part."""
    return f"state/part-{part:05d}-group-{group}.npz"


def memory_needed(num_keys: int, labels: int, groups: int, examples: int, bins: int) -> int:
    """Bytes that totals, one part's statistics and its collectors take, whatever the corpus's length."""
    statistics = 16 * labels + 8 * bins + 4
    lists, slots = 16 * examples, 2 * 8 * examples
    return groups * num_keys**2 * (2 * (statistics + lists) + slots)


def physical_memory() -> int | None:
    """Bytes of memory this machine has, where the system tells."""
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
