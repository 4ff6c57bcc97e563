"""A few tokens of every expert from each octave of its scores: the sample that stands beside the best ones.

Every token row has a priority, the same in every run: a fixed permutation of the numbers below 2^36, so no two rows
share one. An expert keeps, of its active tokens in each bin of its histogram, those of least priority
(:func:`cuda_ext.accumulate`). Which those are rests on nothing but the corpus: not on batches, parts or the order in
which parts are merged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cuda_ext import Statistics

BITS = 36  # of a priority: rows beyond 7e10 have none
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
    """What :func:`priority` was asked."""
    x = priorities.astype(np.uint64)
    x ^= x >> _HALF  # a shift by half the bits undoes itself
    for odd in reversed(_ODD):
        x = x * np.uint64(pow(odd, -1, 2**BITS)) & _MASK
        x ^= x >> _HALF
    return x.astype(np.int64)


def sampled_tokens(statistics: Statistics, experts: slice = slice(0, None)) -> list[NDArray]:
    """Expert, bin, score and row of every sampled token of a run of experts, by expert, bin and priority."""
    priorities, scores = (t.numpy()[experts] for t in (statistics.sample_priorities, statistics.sample_scores))
    kept = np.flatnonzero(priorities >= 0)
    expert, place = np.divmod(kept // priorities.shape[2], priorities.shape[1])
    return [experts.start + expert, place, scores.ravel()[kept], number_of(priorities.ravel()[kept])]
