"""Checking the routing of a part and group, row by row, and its inverted index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..index import INDEX
from ..remote import Place, in_ranges
from ..routing import ROUTING, Side, from_arrow
from ..rowfile import RowFile
from ..schema import index_name, routing_name
from .problem import expect
from .table import OTHER_COLUMNS

AT_ONCE = 64  # row groups: 16,384 tokens of routing, half a million entries of an index
_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
SUMS = 2.0**-10  # probabilities in half precision add up to 1 twice as closely
MALFORMED = "it is not a well-formed inverted index of the routing"


def check_index(path: Place, manifest: dict[str, Any], part: dict[str, Any], group: int) -> int:
    """The checksum of an index's entries; raises Wrong where the index is malformed."""
    keys, rows = manifest["model"]["keys"], part["rows"][1] - part["rows"][0]
    file = RowFile(in_ranges(path, index_name(part["part"], group)))
    expect(len(file) % (2 * keys) == 0, MALFORMED)
    marks = line = 0
    for groups in _pieces(file):
        table = file.read(groups)
        expect(table.schema.equals(INDEX), OTHER_COLUMNS)
        table.validate(full=True)
        cell = (table["side"].to_numpy().astype(np.int64) - 1) * keys + table["key"].to_numpy()
        expect((cell == np.arange(line, line + len(cell)) % (2 * keys)).all(), MALFORMED)
        line += len(cell)
        places, probs = (table[name].combine_chunks() for name in ("places", "probs"))
        counts = places.value_lengths()
        expect(counts.equals(probs.value_lengths()), MALFORMED)
        of_line = np.repeat(np.arange(len(cell)), counts.to_numpy())
        where = places.flatten().to_numpy().astype(np.int64)
        expect((where < rows * manifest["model"]["heads"]).all(), MALFORMED)
        expect((np.diff(where)[np.diff(of_line) == 0] > 0).all(), MALFORMED)
        values = probs.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        marks += _marks(where, cell[of_line], values)
    return marks % 2**64


def read_routing(
    path: Place, manifest: dict[str, Any], part: dict[str, Any], group: int, kept: NDArray[np.bool_], marks: int
) -> Iterator[tuple[int, Side, Side]]:
    """Yield the part's routing in pieces: the first row of each in the part, and both sides.

    Raises Wrong where it is not what a router returns for the rows that are ``kept``, or, at the end, where its entries
    do not have the checksum ``marks`` of the index.
    """
    heads, keys = manifest["model"]["heads"], manifest["model"]["keys"]
    file = RowFile(in_ranges(path, routing_name(part["part"], group)))
    expect(len(file) == len(kept), f"it has {len(file):,} rows for {len(kept):,} tokens")
    row = found = 0
    for groups in _pieces(file):
        table = file.read(groups)
        expect(table.schema.equals(ROUTING), OTHER_COLUMNS)
        table.validate(full=True)
        lengths = [table[name].combine_chunks().value_lengths() for name in ROUTING.names]
        expect(
            lengths[0].equals(lengths[1]) and lengths[2].equals(lengths[3]),
            "rows have different numbers of keys and probabilities",
        )
        held = from_arrow(table)
        for number, side in enumerate(held):
            found += _check_side(side, kept[row : row + len(side)], row, number, heads, keys)
        yield row, *held
        row += len(table)
    expect(found % 2**64 == marks, "the index does not match the routing")


def _pieces(file: RowFile) -> Iterator[NDArray[np.int64]]:
    """Consecutive row groups to read together."""
    for begin in range(0, file.groups, AT_ONCE):
        yield np.arange(begin, min(begin + AT_ONCE, file.groups))


def _marks(place: NDArray[np.int64], key: NDArray[np.int64], prob: NDArray[np.float32]) -> int:
    """A checksum of entries that does not depend on their order."""
    mark = (place.astype(np.uint64) << np.uint64(17)) ^ key.astype(np.uint64)
    for odd in _ODD:
        mark *= odd
        mark ^= mark >> np.uint64(31)
    return int((mark * (prob.view(np.uint32).astype(np.uint64) | np.uint64(1))).sum())


def _check_side(side: Side, kept: NDArray[np.bool_], first: int, number: int, heads: int, keys: int) -> int:
    """The checksum of its entries."""
    counts = np.diff(side.starts)
    expect(
        ((counts > 0) == kept).all(),
        "it has routing of documents that are not kept, or lacks that of kept ones",
    )
    flat = side.keys.astype(np.int64)
    row = np.repeat(np.arange(len(side)), counts)
    expect(not len(flat) or flat.max() < heads * keys, "it has keys that the model does not have")
    expect((np.diff(flat)[np.diff(row) == 0] > 0).all(), "keys do not ascend within a row")
    expect(((side.probs > 0) & (side.probs <= 1)).all(), "it has probabilities outside 0 … 1")
    head, key = np.divmod(flat, keys)
    cell = row * heads + head
    sums = np.bincount(cell, side.probs, len(side) * heads).reshape(len(side), heads)[kept]
    expect(np.allclose(sums, 1, atol=SUMS), "probabilities of a head at a token do not add up to 1")
    return _marks(first * heads + cell, number * keys + key, side.probs)
