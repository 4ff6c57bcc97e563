"""A copy of the routing of some tokens in which the keys of a block of experts lie together, in files of this machine.

An analysis holds the activations of a few experts at a time. In the routing itself, their keys are scattered over all
rows, so every block of experts would decode everything; in the copy, it reads the entries of its own keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store.routing import Side

ROWS = 8192  # tokens that are sorted together
ENTRIES = 2**18  # of a key set that are joined with the other's at a time, about: bounds memory
GROUPS = 2  # copies of so many groups are held at once: where several threads read, one may be a group ahead
SCORE_BITS = 32

Sides = Callable[[int, int, int], tuple[Side, Side]]
Edges = tuple[list[int], list[int]]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
KINDS: dict[str, type[np.generic]] = {"place": np.uint32, "key": np.uint16, "prob": np.float16}


class SortedRouting:
    """Makes the copy of a group when its first block is read, and lets go of the one before the last.

    A copy takes 8 bytes for each entry of a token's two lists of keys, in the folder that ``TMPDIR`` names.

    Args:
        sides: reads the routing: called with group, first token and number of tokens.
        tokens: how many tokens there are.
        heads, num_keys: of the routing.
    """

    def __init__(self, sides: Sides, tokens: int, heads: int, num_keys: int) -> None:
        self._sides, self._tokens = sides, tokens
        self._heads, self._keys = heads, num_keys
        self._copies: dict[int, _Copy] = {}
        self._lock = Lock()

    def pairs(self, group: int, edges: Edges, first: int, second: int) -> Iterator[Pairs]:
        """Active pairs of the experts whose keys lie in one range of each set, consecutive tokens at a time.

        Args:
            group: of the experts.
            edges: of each key set, where its ranges begin, and E; the same for all blocks of a group.
            first, second: numbers of a range of set 1 and of set 2.

        Yields:
            Flat ids, tokens and scores, (n,) each, as ``Routing.pairs_by_expert``: by expert, then token, to the same
            bits.
        """
        with self._lock:
            copy = self._copies.get(group) or self._sort(group, edges)
        begin = 0
        while begin < copy.pieces:
            end = copy.reach(begin, first, second)
            yield self._joined(copy.entries(0, first, begin, end), copy.entries(1, second, begin, end), begin * ROWS)
            begin = end

    def _joined(self, side1: _Entries, side2: _Entries, start: int) -> Pairs:
        """The pairs of two lists of entries that share a place; places ascend in either."""
        places = 1 + max(int(side.place[-1]) if len(side.place) else 0 for side in (side1, side2))
        there = np.bincount(side2.place, minlength=places)
        before = np.cumsum(there) - there
        count = there[side1.place]
        at1 = np.repeat(np.arange(len(count)), count)
        at2 = np.arange(len(at1)) - np.repeat(np.cumsum(count) - count - before[side1.place], count)
        expert = side1.key[at1].astype(np.int64) * self._keys + side2.key[at2]
        token = side1.place[at1] // self._heads
        score = side1.prob[at1].astype(np.float32) * side2.prob[at2].astype(np.float32)
        # By place, and of equal places the lower score first, as ``Routing`` sums heads. In one number, where place and
        # score fit into it, one sort orders both.
        low, tokens = int(expert.min(initial=self._keys**2)), places // self._heads + 1
        place = (expert - low) * tokens + token
        if not len(place) or int(place.max()) < 1 << (63 - SCORE_BITS):
            packed = place << SCORE_BITS | score.view(np.int32)
            packed.sort()
            place, score = packed >> SCORE_BITS, packed.astype(np.int32).view(np.float32)
        else:
            order = np.lexsort((score, place))
            place, score = place[order], score[order]
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        if len(starts) < len(place):  # several heads reach the same expert
            place, score = place[starts], np.add.reduceat(score, starts)
        expert, token = np.divmod(place, tokens)
        return expert + low, start + token, score

    def _sort(self, group: int, edges: Edges) -> _Copy:
        for old in sorted(self._copies)[: 1 - GROUPS or None]:
            del self._copies[old]
        folder = TemporaryDirectory(prefix="monet-")
        offsets: list[list[NDArray[np.int64]]] = [[], []]
        files = [{kind: Path(folder.name) / f"{kind}{n}" for kind in KINDS} for n in (1, 2)]
        handles = [{kind: path.open("wb") for kind, path in of_set.items()} for of_set in files]
        try:
            for start in range(0, self._tokens, ROWS):
                sides = self._sides(group, start, min(ROWS, self._tokens - start))
                for side, cuts, written, ends in zip(sides, edges, handles, offsets, strict=True):
                    head, key = np.divmod(side.keys, self._keys)
                    row = np.repeat(np.arange(len(side), dtype=np.uint32), np.diff(side.starts))
                    within = (np.searchsorted(cuts, key, side="right") - 1).astype(np.uint16)
                    order = np.argsort(within, kind="stable")  # entries ascend by place already
                    values = {"place": row * np.uint32(self._heads) + head, "key": key, "prob": side.probs}
                    for kind, value in values.items():
                        value[order].astype(KINDS[kind]).tofile(written[kind])  # halves, as the run stores them
                    counts = np.bincount(within, minlength=len(cuts) - 1)
                    ends.append((ends[-1][-1] if ends else 0) + np.concatenate([[0], np.cumsum(counts)]))
        finally:
            for handle in (handle for of_set in handles for handle in of_set.values()):
                handle.close()
        arrays = [{kind: _mapped(path, KINDS[kind]) for kind, path in of_set.items()} for of_set in files]
        self._copies[group] = copy = _Copy(folder, arrays, [np.stack(ends) for ends in offsets], self._heads)
        return copy


@dataclass(frozen=True)
class _Entries:
    """Entries of consecutive tokens: places, which are token times heads plus head and ascend; keys; probabilities."""

    place: NDArray[np.int64]
    key: NDArray[np.uint16]
    prob: NDArray[np.float16]


@dataclass(frozen=True)
class _Copy:
    """One group's entries: by key set, pieces of ``ROWS`` tokens, in each piece range by range of keys.

    Attributes:
        folder: of the files, removed with this.
        arrays: per key set, the values of ``KINDS``; places count from the piece's first token.
        offsets: per key set, (pieces, ranges + 1) where the entries of each range begin.
        heads: of the routing.
    """

    folder: TemporaryDirectory[str]
    arrays: list[dict[str, NDArray[Any]]]
    offsets: list[NDArray[np.int64]]
    heads: int

    @property
    def pieces(self) -> int:
        """Their number."""
        return len(self.offsets[0])

    def reach(self, begin: int, first: int, second: int) -> int:
        """The piece before which about ``ENTRIES`` entries of either set end, from a piece on."""
        sizes = (
            np.diff(offsets[begin:, at : at + 2], axis=1)[:, 0]
            for offsets, at in zip(self.offsets, (first, second), strict=True)
        )
        reached = np.cumsum(np.maximum(*sizes))
        return begin + max(1, int(np.searchsorted(reached, ENTRIES, side="right")))

    def entries(self, key_set: int, keys: int, begin: int, end: int) -> _Entries:
        """The entries of a range of keys in some pieces."""
        spans = self.offsets[key_set][begin:end, keys : keys + 2]
        found = {
            kind: np.concatenate([array[slice(*span)] for span in spans.tolist()])
            for kind, array in self.arrays[key_set].items()
        }
        piece = np.repeat(np.arange(end - begin) * (ROWS * self.heads), spans[:, 1] - spans[:, 0])
        return _Entries(found["place"] + piece, found["key"], found["prob"])


def _mapped(path: Path, kind: type[np.generic]) -> NDArray[Any]:
    if not path.stat().st_size:
        return np.zeros(0, kind)  # a file of no bytes cannot be mapped
    return np.memmap(path, kind, mode="r")
