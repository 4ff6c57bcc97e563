"""The totals of an export so far, saved after each part so that an interrupted export can continue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cuda_ext import Statistics
from cuda_ext.routing import Routing

from ..store.files import replacing
from ..store.schema import HISTOGRAM_BINS, INTERVAL_EXAMPLES

_WHOLE = ("tokens", "mass", "histogram", "best_scores", "best_rows")
_SAMPLED = ("sample_priorities", "sample_scores")  # most places are empty
STATE = "state"  # folder of it in a run


@dataclass
class Totals:
    """Statistics, best tokens and sampled tokens of one group's experts over some tokens.

    Totals of parts merge into the totals of all of them, in any order and grouping, to the same bits.

    Attributes:
        statistics: of all tokens; its lists hold no tokens of documents that copy an earlier one.
        highest_copied: (experts,) float32 highest score at the tokens of copies; None where there are none.
    """

    statistics: Statistics
    highest_copied: Tensor | None = None

    @property
    def maximum(self) -> Tensor:
        """(experts,) float32 highest score of each expert at any token."""
        best = self.statistics.maximum
        return best if self.highest_copied is None else torch.maximum(best, self.highest_copied)

    def take_copies(self, routing: Routing) -> None:
        """Note the highest scores at tokens of copies."""
        _, expert, score = routing.pairs()
        highest = torch.zeros(self.statistics.keys**2, device=score.device).scatter_reduce_(
            0, expert, score.float(), "amax"
        )
        self._raise_copied(highest)

    def _raise_copied(self, highest: Tensor) -> None:
        held = self.highest_copied
        self.highest_copied = highest if held is None else torch.maximum(held, highest)

    @classmethod
    def empty(
        cls, model: dict[str, Any], labels: int, settings: dict[str, Any], device: torch.device | str = "cpu"
    ) -> Totals:
        """Totals over no tokens on a device, for a manifest's model, number of labels and settings."""
        lists = {"best": settings["examples"], "per_document": settings["examples_per_document"]}
        lists |= {"bins": HISTOGRAM_BINS, "sampled": INTERVAL_EXAMPLES}
        return cls(Statistics.empty(model["keys"], model["heads"], labels, **lists, device=device))

    def to(self, device: torch.device | str) -> Totals:
        """A copy on a device."""
        copied = self.highest_copied
        return Totals(self.statistics.to(device), None if copied is None else copied.to(device))

    def merge(self, other: Totals) -> None:
        """Add the totals of other whole documents, in place."""
        self.statistics.merge(other.statistics)
        if other.highest_copied is not None:
            self._raise_copied(other.highest_copied)

    def save(self, path: Path) -> None:
        """Write them to one file, atomically."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **self._arrays())

    def load(self, path: Path) -> None:
        """Read saved totals into these, which must be empty."""
        with np.load(path, allow_pickle=False) as saved:
            self._take(saved)

    def __reduce__(self) -> Any:
        """Pickle without the places that have no sampled token."""
        s = self.statistics
        sizes = {"labels": s.tokens.shape[1], "best": s.best_rows.shape[1], "per_document": s.per_document}
        sizes |= {"bins": s.histogram.shape[1], "sampled": s.sample_scores.shape[2]}
        return _unpacked, (s.keys, s.heads, sizes, self._arrays())

    def _arrays(self) -> dict[str, NDArray[Any] | int]:
        s = self.statistics
        kept = s.sample_priorities.numpy().ravel() >= 0
        arrays = {name: getattr(s, name).numpy() for name in _WHOLE}
        arrays |= {name: getattr(s, name).numpy().ravel()[kept] for name in _SAMPLED}
        if s.carried is not None:
            arrays["carried"] = s.carried.numpy()
        if self.highest_copied is not None:
            arrays["highest_copied"] = self.highest_copied.numpy()
        return arrays | {"sampled": np.packbits(kept), "next_row": s.next_row, "mass_bound": s.mass_bound}

    def _take(self, arrays: Any) -> None:
        for name in (*_WHOLE, *(["carried"] if "carried" in arrays else [])):
            setattr(self.statistics, name, torch.from_numpy(np.require(arrays[name], requirements="W")))
        if "highest_copied" in arrays:
            self.highest_copied = torch.from_numpy(np.require(arrays["highest_copied"], requirements="W"))
        places = self.statistics.sample_priorities.numel()
        kept = np.unpackbits(arrays["sampled"], count=places).view(bool)
        for name in _SAMPLED:
            getattr(self.statistics, name).numpy().ravel()[kept] = arrays[name]
        self.statistics.next_row, self.statistics.mass_bound = int(arrays["next_row"]), int(arrays["mass_bound"])


def _unpacked(keys: int, heads: int, sizes: dict[str, int], arrays: dict[str, Any]) -> Totals:
    totals = Totals(Statistics.empty(keys, heads, **sizes))  # type: ignore[arg-type]
    totals._take(arrays)
    return totals


def state_name(part: int, group: int) -> str:
    """Path inside the run of a group's totals up to and including a part."""
    return f"{STATE}/part-{part:05d}-group-{group}.npz"


def memory_needed(num_keys: int, labels: int, groups: int, examples: int) -> int:
    """Upper bound on the bytes that totals take, whatever the corpus's length."""
    statistics = 8 * (2 * labels + HISTOGRAM_BINS) + 12 * examples
    sample = HISTOGRAM_BINS * 12 * INTERVAL_EXAMPLES
    return groups * num_keys**2 * (statistics + sample)


def physical_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
