"""What an export has gathered so far, kept between parts so that it can go on after a crash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cuda_ext import Statistics

from ..store.files import replacing
from ..store.schema import HISTOGRAM_BINS, INTERVAL_EXAMPLES
from .sample import Sample

_GATHERED = ("tokens", "mass", "histogram", "best_scores", "best_rows")


@dataclass
class Totals:
    """Statistics, best tokens and sampled tokens of one group's experts over some tokens.

    Totals of parts merge into the totals of them all, to the bit, in any order and grouping.
    """

    statistics: Statistics
    sample: Sample

    @classmethod
    def empty(cls, model: dict[str, Any], labels: int, settings: dict[str, Any]) -> Totals:
        """Of no token; arguments are a manifest's model, number of labels and settings."""
        keys, heads = model["keys"], model["heads"]
        lists = {"best": settings["examples"], "per_document": settings["examples_per_document"]}
        statistics = Statistics.empty(keys, heads, labels, bins=HISTOGRAM_BINS, **lists)
        return cls(statistics, Sample(keys**2, heads, INTERVAL_EXAMPLES))

    def merge(self, other: Totals) -> None:
        """Take in, in place, those of other whole documents."""
        self.statistics.merge(other.statistics)
        self.sample.merge(other.sample)

    def save(self, path: Path) -> None:
        """Write them to one file, atomically."""
        self.sample.settle()
        arrays = {name: getattr(self.statistics, name).numpy() for name in _GATHERED}
        arrays |= {"entries": self.sample.entries, "scores": self.sample.scores}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, next_row=self.statistics.next_row, **arrays)  # type: ignore[arg-type]

    def load(self, path: Path) -> None:
        """Take them back, bit for bit."""
        with np.load(path, allow_pickle=False) as saved:
            for name in _GATHERED:
                setattr(self.statistics, name, torch.from_numpy(saved[name]))
            self.statistics.next_row = int(saved["next_row"])
            self.sample.entries, self.sample.scores = saved["entries"], saved["scores"]


def state_name(part: int, group: int) -> str:
    """Path inside the run of a group's totals up to and with a part."""
    return f"state/part-{part:05d}-group-{group}.npz"


def memory_needed(num_keys: int, labels: int, groups: int, examples: int) -> int:
    """Bytes that totals take at most, whatever the corpus's length."""
    statistics = 8 * (2 * labels + HISTOGRAM_BINS) + 12 * examples
    sample = HISTOGRAM_BINS * (12 * INTERVAL_EXAMPLES + 4)
    return groups * num_keys**2 * (statistics + sample)


def physical_memory() -> int | None:
    """Bytes of memory this machine has, where the system tells."""
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
