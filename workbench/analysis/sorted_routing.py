"""A copy of the routing of some tokens that is sorted by key, in files of this machine.

An analysis holds the activations of a few experts at a time. In the routing itself, their keys are scattered over all
rows, so every block of experts would decode everything; in the copy, it reads the entries of its own keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..store.routing import Side

if TYPE_CHECKING:
    from cuda_ext.routing import Routing

    from .activations import Block

ROWS = 8192  # tokens that are sorted together
GROUPS = 2  # copies of so many groups are held at once: where several threads read, one may be a group ahead

Sides = Callable[[int, int, int], tuple[Side, Side]]


class SortedRouting:
    """Makes the copy of a group when its first block is read, and lets go of the one before the last.

    A copy takes 6 bytes for each entry of a token's two lists of keys, in the folder that ``TMPDIR`` names.

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

    def pieces(self, block: Block) -> Iterator[tuple[int, Routing]]:
        """The routing of consecutive tokens restricted to a block's keys, and the number of the first token."""
        import torch

        from cuda_ext.routing import Routing

        with self._lock:
            copy = self._copies.get(block.group) or self._sort(block.group)
        for number, start in enumerate(range(0, self._tokens, ROWS)):
            tokens = min(ROWS, self._tokens - start)
            arrays: list[NDArray[Any]] = []
            for key_set, (low, high) in enumerate((block.first, block.second)):
                side = self._restored(*copy.entries(key_set, number, low, high), low, tokens)
                arrays += side.padded(self._heads, self._keys)
            yield start, Routing(*map(torch.from_numpy, arrays), num_keys=self._keys)  # type: ignore[misc, arg-type]

    def _restored(
        self, place: NDArray[np.uint32], prob: NDArray[np.float16], counts: NDArray[np.int64], low: int, tokens: int
    ) -> Side:
        """Entries sorted by key, as a side of consecutive tokens."""
        key = np.repeat(np.arange(low, low + len(counts)), counts)
        order = np.argsort(place, kind="stable")
        place, key = place[order].astype(np.int64), key[order]
        row, head = np.divmod(place, self._heads)
        starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=tokens))])
        return Side((head * self._keys + key).astype(np.uint16), prob[order].astype(np.float32), starts)

    def _sort(self, group: int) -> _Copy:
        for old in sorted(self._copies)[: 1 - GROUPS or None]:
            del self._copies[old]
        folder = TemporaryDirectory(prefix="monet-")
        offsets: list[list[NDArray[np.int64]]] = [[], []]
        ends = [0, 0]
        files = [[Path(folder.name) / f"{kind}{n}" for kind in ("place", "prob")] for n in (1, 2)]
        handles = [[path.open("wb") for path in pair] for pair in files]
        try:
            for start in range(0, self._tokens, ROWS):
                for key_set, side in enumerate(self._sides(group, start, min(ROWS, self._tokens - start))):
                    head, key = np.divmod(side.keys, self._keys)
                    row = np.repeat(np.arange(len(side), dtype=np.uint32), np.diff(side.starts))
                    order = np.argsort(key, kind="stable")
                    (row * np.uint32(self._heads) + head)[order].astype(np.uint32).tofile(handles[key_set][0])
                    side.probs[order].astype(np.float16).tofile(handles[key_set][1])  # as the run stores them
                    counts = np.bincount(key, minlength=self._keys)
                    offsets[key_set].append(ends[key_set] + np.concatenate([[0], np.cumsum(counts)]))
                    ends[key_set] = int(offsets[key_set][-1][-1])
        finally:
            for handle in (handle for pair in handles for handle in pair):
                handle.close()
        self._copies[group] = copy = _Copy(
            folder,
            [_mapped(place, np.uint32) for place, _ in files],
            [_mapped(prob, np.float16) for _, prob in files],
            [np.stack(of_set) for of_set in offsets],
        )
        return copy


@dataclass(frozen=True)
class _Copy:
    """One group's entries: by key set, pieces of ``ROWS`` tokens, each sorted by key, then place.

    Attributes:
        folder: of the files, removed with this.
        place: per key set, token of the piece times heads, plus the head.
        prob: per key set, the probabilities.
        offsets: per key set, (pieces, E + 1) where the entries of each key begin.
    """

    folder: TemporaryDirectory[str]
    place: list[NDArray[np.uint32]]
    prob: list[NDArray[np.float16]]
    offsets: list[NDArray[np.int64]]

    def entries(
        self, key_set: int, piece: int, low: int, high: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.float16], NDArray[np.int64]]:
        """Places and probabilities of the entries of a range of keys in a piece, and how many each key has."""
        offsets = self.offsets[key_set][piece, low : high + 1]
        span = slice(offsets[0], offsets[-1])
        return self.place[key_set][span], self.prob[key_set][span], np.diff(offsets)


def _mapped(path: Path, kind: type[np.generic]) -> NDArray[Any]:
    if not path.stat().st_size:
        return np.zeros(0, kind)  # a file of no bytes cannot be mapped
    return np.memmap(path, kind, mode="r")
