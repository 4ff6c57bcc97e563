"""The inverted index of a part's routing: for each key, the places (token and head) where it is active.

Finding every token of an expert in the routing itself would take a scan. In the index, key i of set 1 and key j of set
2 are one row each per block of tokens, and expert (i, j) is active at the places that both rows have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import UnsupportedError
from .routing import HALVES, Side, halves
from .rowfile import RowFile

BLOCK_ENTRIES = 2**21  # entries of routing that are inverted together: bounds memory
ROW_GROUP_ENTRIES = 8_192  # about as many per row group of the index: those of one key, or of several rare ones
MAX_PLACES = 2**32

_PLACES = pa.large_list(pa.field("element", pa.uint32(), False))
INDEX = pa.schema(
    [
        pa.field("side", pa.int8(), False),  # key set, 1 or 2
        pa.field("key", pa.int32(), False),
        pa.field("places", _PLACES, False),  # row of the part * heads + head, ascending
        pa.field("probs", HALVES, False),
    ]
)
_PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "write_statistics": False,
    "use_dictionary": False,
    "column_encoding": {"places.list.element": "DELTA_BINARY_PACKED", "probs.list.element": "PLAIN"},
}


class IndexWriter:
    """Inverts a part's routing as its rows come, in blocks of rows; a block has every key of set 1, then of set 2.

    A context manager that closes the file.
    """

    def __init__(self, path: Path, heads: int, num_keys: int) -> None:
        self.heads, self.num_keys = heads, num_keys
        self._file = pq.ParquetWriter(path, INDEX, **_PARQUET)
        self._waiting: list[tuple[Side, Side]] = []
        self._row = self._entries = 0

    def add(self, side1: Side, side2: Side) -> None:
        """Add the next rows.

        Raises:
            UnsupportedError: the part has more rows than an index can count.
        """
        self._waiting.append((side1, side2))
        self._entries += len(side1.keys) + len(side2.keys)
        if self._entries >= BLOCK_ENTRIES:
            self.flush()

    def flush(self) -> None:
        """Write the rows added so far as a block."""
        if not self._waiting:
            return
        sides = [Side.cat([*pieces]) for pieces in zip(*self._waiting, strict=True)]
        self._waiting, self._entries = [], 0
        if (self._row + len(sides[0])) * self.heads > MAX_PLACES:
            raise UnsupportedError(f"a part holds at most {MAX_PLACES // self.heads:,} tokens.")
        for number, side in enumerate(sides, start=1):
            row_group_size = max(1, ROW_GROUP_ENTRIES * self.num_keys // max(len(side.keys), 1))
            self._file.write_table(self._inverted(number, side), row_group_size=row_group_size)
        self._row += len(sides[0])

    def _inverted(self, number: int, side: Side) -> pa.Table:
        head, key = np.divmod(side.keys, self.num_keys)
        row = np.repeat(np.arange(self._row, self._row + len(side)), np.diff(side.starts))
        order = np.argsort(key, kind="stable")  # entries are sorted by row, then head
        starts = np.concatenate([[0], np.cumsum(np.bincount(key, minlength=self.num_keys))])
        lists = [
            pa.LargeListArray.from_arrays(pa.array(starts), pa.array(values[order]), type=kind)
            for values, kind in (
                ((row * self.heads + head).astype(np.uint32), _PLACES),
                (halves(side.probs), HALVES),
            )
        ]
        sides = pa.array(np.full(self.num_keys, number, np.int8))
        return pa.Table.from_arrays([sides, pa.array(np.arange(self.num_keys, dtype=np.int32)), *lists], schema=INDEX)

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.flush()
        self._file.close()


def find_expert(
    index: RowFile, i: int, j: int, heads: int, num_keys: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows of the part where expert (i, j) is active, ascending, and its scores there."""
    blocks = np.arange(len(index) // (2 * num_keys)) * 2 * num_keys
    (place1, prob1), (place2, prob2) = (_entries(index, blocks + at) for at in (i, num_keys + j))
    dense = np.zeros(1 + max(int(place.max(initial=0)) for place in (place1, place2)), np.float32)  # a part's places
    dense[place2] = prob2
    score = prob1 * dense[place1]
    both = np.flatnonzero(score)  # no product of half precisions is too small for float32
    row, score = place1[both].astype(np.int64) // heads, score[both]
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    return row[starts], np.add.reduceat(score, starts) if len(starts) else score


def find_key(
    index: RowFile, key_set: int, key: int, heads: int, num_keys: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the rows of the part where a key of set 1 or 2 is active, ascending, and its weights there, summed over
    heads."""
    blocks = np.arange(len(index) // (2 * num_keys)) * 2 * num_keys
    place, weight = _entries(index, blocks + (key_set - 1) * num_keys + key)
    row = place.astype(np.int64) // heads
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    return row[starts], np.add.reduceat(weight, starts) if len(starts) else weight


def find_keys(
    index: RowFile, keys: NDArray[np.int64], num_keys: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.float32]]:
    """Return the entries of some keys: which of ``keys``, the place, the probability; those of a key ascend by place.

    Keys of set 2 are numbered from E on.
    """
    blocks = np.arange(len(index) // (2 * num_keys)) * 2 * num_keys
    table, at = index.rows((blocks[:, None] + keys).ravel(), ["places", "probs"])
    places, probs = (table[name].take(pa.array(at)).combine_chunks() for name in ("places", "probs"))
    lengths = places.value_lengths().to_numpy()
    which = np.repeat(np.tile(np.arange(len(keys)), len(blocks)), lengths)
    return which, places.flatten().to_numpy(), probs.flatten().to_numpy().astype(np.float32)


def blocks_of(index: RowFile, heads: int, num_keys: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield, block by block, every row of the part where a key is active and that key, each pair once; keys of set 2
    are numbered from E on."""
    for first in range(0, len(index), 2 * num_keys):
        places = index.rows(np.arange(first, first + 2 * num_keys), ["places"])[0]["places"].combine_chunks()
        key = np.repeat(np.arange(2 * num_keys), places.value_lengths().to_numpy())
        row = places.flatten().to_numpy().astype(np.int64) // heads
        once = np.flatnonzero((np.diff(row, prepend=-1) != 0) | (np.diff(key, prepend=-1) != 0))
        yield row[once], key[once]


def _entries(index: RowFile, rows: NDArray[np.int64]) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
    table, at = index.rows(rows, ["places", "probs"])
    places, probs = (table[name].take(pa.array(at)).combine_chunks().flatten() for name in ("places", "probs"))
    return places.to_numpy(), probs.to_numpy().astype(np.float32)
