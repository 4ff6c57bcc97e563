"""The best tokens of every expert, in bounded memory, a document giving at most a set number of them.

Entries always stand in (expert, row) order: a document's tokens are then neighbours, and equal scores fall to the
lower row by position alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .statistics import Activations

Mask = NDArray[np.bool_]


def _starts_of_runs(*columns: NDArray) -> NDArray[np.int64]:
    """Where a row differs from the one before."""
    fresh = np.zeros(len(columns[0]), bool)
    fresh[:1] = True
    for column in columns:
        fresh[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(fresh)


def rank_runs(starts: NDArray[np.int64], score: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Entries by run, then highest score first, the earlier of equals first; and the rank of each within its run.

    Args:
        starts: (runs,) where each run of ``score`` begins.
        score: (n,) float32, not negative.
    """
    sizes = np.diff(starts, append=len(score))
    first = np.repeat(starts, sizes)
    slot = np.arange(len(score)) - first
    run = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    falling = np.uint64(2**31 - 1) - score.view(np.uint32)  # scores are not negative, so their bits are ordered
    slot_bits = int(sizes.max(initial=1) - 1).bit_length()
    if len(sizes).bit_length() + 31 + slot_bits > 64:
        return np.lexsort((falling, run)), slot
    # One integer holds run, score and place: sorting integers is many times faster than sorting by several columns.
    packed = (run << np.uint64(31 + slot_bits)) | (falling << np.uint64(slot_bits)) | slot.astype(np.uint64)
    packed.sort()
    return first + (packed & np.uint64((1 << slot_bits) - 1)).astype(np.int64), slot


def best_of_runs(starts: NDArray[np.int64], score: NDArray[np.float32], limit: int) -> Mask:
    """The ``limit`` highest scores of each run, the earlier of equals; arguments as in :func:`rank_runs`."""
    sizes = np.diff(starts, append=len(score))
    crowded = sizes > limit
    kept = np.repeat(~crowded, sizes)
    among = np.flatnonzero(~kept)
    order, rank = rank_runs(np.cumsum(sizes[crowded]) - sizes[crowded], score[among])
    kept[among[order[rank < limit]]] = True
    return kept


@dataclass
class TopLists:
    """The best tokens of experts, flat.

    Attributes:
        expert: (n,) int32 flat ids, ascending.
        score: (n,) float32.
        row: (n,) int64 global token rows, ascending within an expert.
    """

    expert: NDArray[np.int32]
    score: NDArray[np.float32]
    row: NDArray[np.int64]

    @classmethod
    def empty(cls) -> TopLists:
        """No expert has any."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def arrays(self) -> dict[str, NDArray]:
        """The columns by name."""
        return {"expert": self.expert, "score": self.score, "row": self.row}

    def take(self, chosen: NDArray) -> TopLists:
        """Some entries, by mask or index."""
        return TopLists(self.expert[chosen], self.score[chosen], self.row[chosen])

    def merge(self, later: TopLists, limit: int) -> TopLists:
        """The best of both; ``later`` comes from later documents, so no document is in both."""
        joined = TopLists(
            *(np.concatenate(pair) for pair in zip(self.arrays().values(), later.arrays().values(), strict=True))
        )
        joined = joined.take(np.argsort(joined.expert, kind="stable"))
        return joined.take(best_of_runs(_starts_of_runs(joined.expert), joined.score, limit))

    def ranked(self) -> TopLists:
        """Best first within each expert; equal scores by row."""
        return self.take(rank_runs(_starts_of_runs(self.expert), self.score)[0])


class Collector:
    """Gathers the best tokens of one part of the corpus.

    Each expert has slots for twice its list, filled in row order; an expert whose slots run out is cut back to its
    best ``limit``, whose lowest score is from then on the least that gets in.

    Args:
        experts: E * E.
        limit: length of a list.
        per_document: most entries of one document.
        documents: (rows,) which document each row of the part belongs to, ascending.
    """

    def __init__(self, experts: int, limit: int, per_document: int, documents: NDArray[np.int64]) -> None:
        self.limit, self.per_document, self.documents = limit, per_document, documents
        self.scores = np.zeros((experts, 2 * limit), np.float32)
        self.rows = np.zeros((experts, 2 * limit), np.uint32)
        self.counts = np.zeros(experts, np.int64)
        self.threshold = np.zeros(experts, np.float32)

    def add(self, found: Activations, first_row: int) -> None:
        """Take in activations of tokens that come after all before; token 0 is row ``first_row`` of the part."""
        wanted = found.score > self.threshold[found.expert]
        expert, score, row = found.expert[wanted], found.score[wanted], found.token[wanted] + first_row
        starts = _starts_of_runs(expert)
        if len(starts) and np.diff(starts, append=len(expert)).max() > self.limit:
            kept = self._best(expert, score, row)
            expert, score, row = expert[kept], score[kept], row[kept]
            starts = _starts_of_runs(expert)
        sizes, seen = np.diff(starts, append=len(expert)), expert[starts]
        self._cut_back(seen[self.counts[seen] + sizes > 2 * self.limit])
        slot = np.repeat(self.counts[seen] - starts, sizes) + np.arange(len(expert))
        self.scores[expert, slot], self.rows[expert, slot] = score, row
        self.counts[seen] += sizes

    def _best(self, expert: NDArray[np.int64], score: NDArray[np.float32], row: NDArray) -> Mask:
        kept = best_of_runs(_starts_of_runs(expert, self.documents[row]), score, self.per_document)
        chosen = np.flatnonzero(kept)
        kept[chosen] = best_of_runs(_starts_of_runs(expert[chosen]), score[chosen], self.limit)
        return kept

    def _cut_back(self, experts: NDArray[np.int64]) -> None:
        """Leaves these experts' best in their slots, and sets what it takes to get in."""
        if not len(experts):
            return
        filled = np.arange(2 * self.limit) < self.counts[experts, None]
        expert = np.repeat(experts, self.counts[experts])
        score, row = self.scores[experts][filled], self.rows[experts][filled]
        kept = self._best(expert, score, row)
        expert, score, row = expert[kept], score[kept], row[kept]
        starts = _starts_of_runs(expert)
        sizes, seen = np.diff(starts, append=len(expert)), expert[starts]
        slot = np.arange(len(expert)) - np.repeat(starts, sizes)
        self.scores[expert, slot], self.rows[expert, slot] = score, row
        self.counts[seen] = sizes
        full = sizes == self.limit
        self.threshold[seen[full]] = np.minimum.reduceat(score, starts)[full]

    def finish(self, first_row: int) -> TopLists:
        """The lists, with rows counted from the part's first global row."""
        self._cut_back(np.flatnonzero(self.counts))
        filled = np.arange(2 * self.limit) < self.counts[:, None]
        expert = np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)
        return TopLists(expert, self.scores[filled], self.rows[filled].astype(np.int64) + first_row)
