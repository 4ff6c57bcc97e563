"""Near copies among the documents of a corpus, found by MinHash as their tokens are read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHINGLE = 5  # consecutive tokens that are compared as one
BANDS, ROWS = 16, 4  # two documents that share 0.7 of their shingles have a band in common in 98.8 % of cases
SIMILAR = 0.7  # Jaccard similarity of shingles, as estimated, from which a document is a copy
_CHUNK = 4096  # shingles hashed at once

Hashes = NDArray[np.uint64]


class NearCopies:
    """Tells of each document which earlier one it repeats, if any.

    A document is the set of its runs of ``SHINGLE`` tokens. The fraction of minima of random hashes on which two sets
    agree estimates their Jaccard similarity (Broder, 1997); minima are looked up in bands, so no document is compared
    with all earlier ones. Only documents that copy none are remembered, in about 600 bytes each.

    Examples:
        >>> import numpy as np
        >>> copies, text = NearCopies(), np.arange(50)
        >>> copies.original(text), copies.original(text[::-1]), copies.original(np.append(text, 7))
        (0, 1, 0)
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._multiply = rng.integers(1, 2**63, BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
        self._add = rng.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64)
        self._documents = 0
        self._first: list[dict[bytes, int]] = [{} for _ in range(BANDS)]  # band -> the first document that has it
        self._minima: dict[int, NDArray[np.uint32]] = {}

    def original(self, tokens: NDArray[np.integer]) -> int:
        """Take the next document, and return the number of the first one that it nearly repeats, or its own.

        Args:
            tokens: (n,) its token ids, without control tokens.
        """
        number = self._documents
        self._documents += 1
        if not len(tokens):
            return number
        minima = self._minimum(_shingles(tokens))
        bands = [band.tobytes() for band in minima.reshape(BANDS, ROWS)]
        candidates = {known[band] for band, known in zip(bands, self._first, strict=True) if band in known}
        likeness = {n: float((self._minima[n] == minima).mean()) for n in candidates}
        best = max(likeness, key=lambda n: (likeness[n], -n), default=None)
        if best is not None and likeness[best] >= SIMILAR:
            return best
        self._minima[number] = minima
        for band, known in zip(bands, self._first, strict=True):
            known.setdefault(band, number)
        return number

    def _minimum(self, hashes: Hashes) -> NDArray[np.uint32]:
        """(hashes,) the least value of each random hash over a set."""
        least = np.full(BANDS * ROWS, np.iinfo(np.uint32).max, np.uint32)
        for start in range(0, len(hashes), _CHUNK):
            mixed = hashes[start : start + _CHUNK, None] * self._multiply + self._add
            least = np.minimum(least, (mixed >> np.uint64(32)).astype(np.uint32).min(0))
        return least


def _shingles(tokens: NDArray[np.integer]) -> Hashes:
    """A hash of every run of ``SHINGLE`` tokens; of a shorter document, one of all of it."""
    ids = tokens.astype(np.uint64) + np.uint64(1)
    size = min(SHINGLE, len(ids))
    hashes = np.zeros(len(ids) - size + 1, np.uint64)
    for at in range(size):
        hashes = (hashes ^ ids[at : at + len(hashes)]) * np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(29)
    return hashes
