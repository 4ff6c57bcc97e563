"""A fixed order of all token rows, and of all documents, that looks random; samples are taken from its beginning.

A row's priority is its place in a fixed permutation of the numbers below 2^36, so it is the same in every run. Samples
of least priority depend on the corpus alone: not on batches, parts or the order in which parts are merged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 36  # of a priority: numbers beyond 7e10 have none
_HALF, _MASK = np.uint64(BITS // 2), np.uint64(2**BITS - 1)
_ODD = (0xD6E8FEB86659FD93, 0xA5CB9243F2CEF9D5)  # any odd numbers permute; these spread neighbours


def priority(numbers: NDArray[np.integer]) -> NDArray[np.int64]:
    """The place of each number below 2^36 in a fixed permutation of them that looks random."""
    x = numbers.astype(np.uint64)
    x ^= x >> _HALF
    for odd in _ODD:
        x = x * np.uint64(odd) & _MASK
        x ^= x >> _HALF
    return x.astype(np.int64)


def number_of(priorities: NDArray[np.integer]) -> NDArray[np.int64]:
    """The inverse of ``priority``."""
    x = priorities.astype(np.uint64)
    x ^= x >> _HALF  # a shift by half the bits undoes itself
    for odd in reversed(_ODD):
        x = x * np.uint64(pow(odd, -1, 2**BITS)) & _MASK
        x ^= x >> _HALF
    return x.astype(np.int64)
