"""The sparse routing of tokens as Parquet rows: one row per token and group, with every active key.

Both key sets are a list of flat keys ``h * E + i``, ascending, so an entry also names its head: it is a row of the
router's weight matrix. Probabilities are stored in half precision (3 decimal digits); an active entry is never rounded
to 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import UnsupportedError

TINY = np.float16(6e-8)  # the smallest half-precision number above 0
MAX_FLAT_KEYS = 2**16


@dataclass(frozen=True)
class Side:
    """One key set's active entries of consecutive tokens, flattened.

    Attributes:
        keys: (entries,) flat keys ``h * E + i``, ascending within a token.
        probs: (entries,) probabilities, above 0.
        starts: (tokens + 1,) where each token's entries begin.
    """

    keys: NDArray[np.uint16]
    probs: NDArray[np.floating]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, tokens: slice) -> Side:
        begin, end, _ = tokens.indices(len(self))
        starts = self.starts[begin : end + 1]
        entries = slice(starts[0], starts[-1])
        return Side(self.keys[entries], self.probs[entries], starts - starts[0])

    @staticmethod
    def empty() -> Side:
        """No tokens."""
        return Side(np.zeros(0, np.uint16), np.zeros(0, np.float32), np.zeros(1, np.int64))

    @staticmethod
    def from_padded(indices: NDArray[np.int16], probs: NDArray[np.float32], num_keys: int) -> Side:
        """From (tokens, heads, k) padded lists; padding has probability 0."""
        heads = indices.shape[1]
        if heads * num_keys > MAX_FLAT_KEYS:
            raise UnsupportedError(f"a run stores at most {MAX_FLAT_KEYS} heads x keys; got {heads} x {num_keys}.")
        active = probs > 0
        flat = indices.astype(np.uint16) + (np.arange(heads) * num_keys).astype(np.uint16)[:, None]
        return Side(flat[active], probs[active], _starts(active.sum((1, 2))))

    @staticmethod
    def cat(sides: list[Side]) -> Side:
        """Concatenation over tokens."""
        counts = np.concatenate([np.diff(s.starts) for s in sides])
        return Side(np.concatenate([s.keys for s in sides]), np.concatenate([s.probs for s in sides]), _starts(counts))

    def only(self, kept: NDArray[np.bool_]) -> Side:
        """The same tokens, without entries where ``kept`` is False."""
        if kept.all():
            return self
        counts = np.diff(self.starts)
        entries = np.repeat(kept, counts)
        return Side(self.keys[entries], self.probs[entries], _starts(counts * kept))

    def within(self, low: int, high: int, num_keys: int) -> Side:
        """The same tokens, without entries of other keys than ``low`` to ``high - 1``."""
        key = self.keys % num_keys
        chosen = (key >= low) & (key < high)
        before = np.zeros(len(chosen) + 1, np.int64)
        np.cumsum(chosen, out=before[1:])
        return Side(self.keys[chosen], self.probs[chosen], before[self.starts])

    def take(self, tokens: NDArray[np.int64]) -> Side:
        """The routing of chosen tokens, in the given order."""
        counts = np.diff(self.starts)[tokens]
        starts = _starts(counts)
        entries = np.arange(starts[-1]) + np.repeat(self.starts[:-1][tokens] - starts[:-1], counts)
        return Side(self.keys[entries], self.probs[entries], starts)

    def padded(self, heads: int, num_keys: int) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.int32]]:
        """(tokens, heads, k) indices and probabilities, (tokens, heads) counts, as ``Routing`` holds them."""
        head, index = np.divmod(self.keys, num_keys)
        cell = np.repeat(np.arange(len(self)) * heads, np.diff(self.starts)) + head
        counts = np.bincount(cell, minlength=len(self) * heads)
        slot = np.arange(len(cell)) - np.repeat(_starts(counts)[:-1], counts)
        width = int(counts.max(initial=0))
        indices = np.zeros((len(counts), width), np.int16)
        probs = np.zeros((len(counts), width), np.float32)
        indices[cell, slot], probs[cell, slot] = index, self.probs
        shape = (len(self), heads)
        return indices.reshape(*shape, width), probs.reshape(*shape, width), counts.reshape(shape).astype(np.int32)

    def column(self, key: int, heads: int, num_keys: int) -> NDArray[np.float32]:
        """Probability of one key at every token and head, (tokens, heads); 0 where it is not active."""
        found = np.flatnonzero(self.keys % num_keys == key)
        token = np.searchsorted(self.starts, found, side="right") - 1
        column = np.zeros((len(self), heads), np.float32)
        column[token, self.keys[found] // num_keys] = self.probs[found]
        return column


def _starts(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


HALVES = pa.large_list(pa.field("element", pa.float16(), False))
_LISTS = {"keys": pa.large_list(pa.field("element", pa.uint16(), False)), "probs": HALVES}
ROUTING = pa.schema([pa.field(f"{kind}{side}", _LISTS[kind], False) for side in (1, 2) for kind in ("keys", "probs")])
ROW_GROUP = 256  # tokens per row group, the least that is read for one token; smaller ones cost bytes and memory

# Keys as differences, as they ascend; probabilities plain, since DuckDB reads no other coding of half precision.
PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "write_statistics": False,
    "use_dictionary": False,
    "column_encoding": {
        f"{kind}{side}.list.element": encoding
        for side in (1, 2)
        for kind, encoding in (("keys", "DELTA_BINARY_PACKED"), ("probs", "PLAIN"))
    },
}


def halves(probs: NDArray[np.floating]) -> NDArray[np.float16]:
    """Probabilities as they are stored."""
    return np.maximum(probs.astype(np.float16), TINY)


def to_arrow(side1: Side, side2: Side) -> pa.Table:
    """Rows of the routing file."""
    columns = []
    for side in (side1, side2):
        starts = pa.array(side.starts)
        for values, kind in ((side.keys, "keys"), (halves(side.probs), "probs")):
            columns.append(pa.LargeListArray.from_arrays(starts, pa.array(values), type=_LISTS[kind]))
    return pa.Table.from_arrays(columns, schema=ROUTING)


def from_arrow(table: pa.Table) -> tuple[Side, Side]:
    """The sides of rows of a routing file, probabilities as float32."""
    sides = []
    for number in (1, 2):
        keys, probs = (table.column(f"{kind}{number}").combine_chunks() for kind in ("keys", "probs"))
        starts = keys.offsets.to_numpy()
        half = probs.flatten().to_numpy(zero_copy_only=False)
        sides.append(Side(keys.flatten().to_numpy(), half.astype(np.float32), (starts - starts[0]).astype(np.int64)))
    return sides[0], sides[1]
