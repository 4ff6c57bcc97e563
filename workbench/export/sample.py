"""A few tokens of every expert from each octave of its scores: the sample that stands beside the best ones.

Every token row has a priority, the same in every run: a fixed permutation of the numbers below 2^36, so no two rows
share one. An expert keeps, of its active tokens in each bin of its histogram, the ``limit`` of least priority. Which
those are rests on nothing but the corpus: not on batches, parts or the order in which parts are merged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store.routing import Side
from ..store.schema import HISTOGRAM_BINS
from .pairs import active_pairs

BITS = 36  # of a priority: rows beyond 7e10 have none
_HALF, _MASK = np.uint64(BITS // 2), np.uint64(2**BITS - 1)
_ODD = (0xD6E8FEB86659FD93, 0xA5CB9243F2CEF9D5)  # any odd numbers permute; these spread neighbours
_COARSE = np.uint64(4)  # bits dropped in the table of limits, which halves it
WAITING = 2**21  # entries gathered before they are sorted in

Entries = NDArray[np.uint64]


def priority(numbers: NDArray[np.integer]) -> NDArray[np.uint64]:
    """The place of each number below 2^36 in a fixed permutation of them that looks random."""
    x = numbers.astype(np.uint64)
    x ^= x >> _HALF
    for odd in _ODD:
        x = x * np.uint64(odd) & _MASK
        x ^= x >> _HALF
    return x


def number_of(priorities: NDArray[np.uint64]) -> NDArray[np.int64]:
    """What :func:`priority` was asked."""
    x = priorities ^ (priorities >> _HALF)  # a shift by half the bits undoes itself
    for odd in reversed(_ODD):
        x = x * np.uint64(pow(odd, -1, 2**BITS)) & _MASK
        x ^= x >> _HALF
    return x.astype(np.int64)


@dataclass
class Sample:
    """Sampled tokens of a group's experts.

    Attributes:
        experts, heads: E * E, and the number of routing heads.
        limit: most entries of an expert and bin.
        entries: (n,) cell ``expert * bins + bin``, then, in the lower 36 bits, the row's priority; ascending.
        scores: (n,) float32.
    """

    experts: int
    heads: int
    limit: int
    entries: Entries = field(default_factory=lambda: np.zeros(0, np.uint64))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        self._limits: NDArray[np.uint32] | None = None  # of each cell: what a priority must not pass to get in
        self._waiting: list[tuple[Entries, NDArray[np.float32]]] = []
        self._waiting_size = 0

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: nothing that waits, no limits."""
        self.settle()
        return self.__dict__ | {"_limits": None}

    def add(self, side1: Side, side2: Side, num_keys: int, rows: NDArray[np.int64]) -> None:
        """Take in tokens by their routing and global rows."""
        places = priority(rows)
        if self._limits is None:
            self._limits = np.full(self.experts * HISTOGRAM_BINS, 2**32 - 1, np.uint32)
            self._set_limits()
        coarse = (places >> _COARSE).astype(np.uint32)
        for expert, token, score in active_pairs(side1, side2, self.heads, num_keys):
            cell = expert * HISTOGRAM_BINS + histogram_bin(score, self.heads)
            wanted = np.flatnonzero(coarse[token] <= self._limits[cell])
            self._wait((cell[wanted].astype(np.uint64) << np.uint64(BITS)) | places[token[wanted]], score[wanted])
            if self._waiting_size >= WAITING:
                self.settle()

    def merge(self, other: Sample) -> None:
        """Take in what other tokens gave."""
        other.settle()
        self._wait(other.entries, other.scores)
        self.settle()

    def settle(self) -> None:
        """Sorts in what waits; to be called before the entries are read."""
        if not self._waiting:
            return
        entries = np.concatenate([e for e, _ in self._waiting])
        scores = np.concatenate([s for _, s in self._waiting])
        self._waiting, self._waiting_size = [], 0
        order = np.argsort(entries)
        entries = np.concatenate([self.entries, entries[order]])
        scores = np.concatenate([self.scores, scores[order]])
        order = np.argsort(entries, kind="stable")  # two ascending runs, which this kind only merges
        entries = entries[order]
        kept = ~_repeats(entries >> np.uint64(BITS), self.limit)
        self.entries, self.scores = entries[kept], scores[order[kept]]
        if self._limits is not None:
            self._set_limits()

    def _wait(self, entries: Entries, scores: NDArray[np.float32]) -> None:
        self._waiting.append((entries, scores))
        self._waiting_size += len(entries)

    def _set_limits(self) -> None:
        assert self._limits is not None
        cells = self.entries >> np.uint64(BITS)
        last = _repeats(cells, self.limit - 1)
        self._limits[cells[last].astype(np.int64)] = ((self.entries[last] & _MASK) >> _COARSE).astype(np.uint32)

    def columns(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Expert, bin, score and row of every entry, by expert, then bin, then priority."""
        self.settle()
        cells = (self.entries >> np.uint64(BITS)).astype(np.int64)
        return *np.divmod(cells, HISTOGRAM_BINS), self.scores, number_of(self.entries & _MASK)  # type: ignore[return-value]


def histogram_bin(score: NDArray[np.float32], heads: int) -> NDArray[np.int64]:
    """The bin of each score, after :func:`workbench.store.schema.histogram_edges`, from its exponent bits."""
    exponent = (score.view(np.uint32) >> 23).astype(np.int64) - 127
    return np.clip(exponent - (heads - 1).bit_length() + HISTOGRAM_BINS, 0, HISTOGRAM_BINS - 1)


def _repeats(cells: NDArray[np.uint64], places: int) -> NDArray[np.bool_]:
    """Where the entry so many places before is of the same cell; cells ascend."""
    same = np.zeros(len(cells), bool)
    same[places:] = cells[places:] == cells[: max(len(cells) - places, 0)]
    return same
