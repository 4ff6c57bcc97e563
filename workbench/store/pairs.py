"""The active experts of a few tokens, one entry per token and expert."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .routing import Side


@dataclass(frozen=True)
class Pairs:
    """Every active (token, expert) once, sorted by token, then expert.

    Attributes:
        token: (n,) which of the tokens, from 0.
        expert: (n,) flat ids.
        score: (n,) float32, summed over heads.
    """

    token: NDArray[np.int64]
    expert: NDArray[np.int64]
    score: NDArray[np.float32]


def expand(side1: Side, side2: Side, heads: int, num_keys: int) -> Pairs:
    """Active experts of the tokens of both sides; memory grows with their number, summed over heads."""
    (cell1, key1), (cell2, key2) = (_cells(side, heads, num_keys) for side in (side1, side2))
    counts = np.bincount(cell2, minlength=len(side2) * heads)
    begins = np.cumsum(counts) - counts
    partners = counts[cell1]  # each entry of set 1 meets all entries of set 2 of its token and head
    one = np.repeat(np.arange(len(cell1)), partners)
    two = np.arange(len(one)) + np.repeat(begins[cell1] - (np.cumsum(partners) - partners), partners)
    score = side1.probs[one] * side2.probs[two]
    token = cell1 // heads
    pair, which = _numbered((token * num_keys**2 + key1 * num_keys)[one] + key2[two])
    total = np.bincount(which, weights=score, minlength=len(pair)).astype(np.float32)
    return Pairs(*np.divmod(pair, num_keys**2), total)


def _cells(side: Side, heads: int, num_keys: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each entry the token times heads plus the head, ascending, and the key."""
    head, key = np.divmod(side.keys, num_keys)
    return np.repeat(np.arange(len(side)) * heads, np.diff(side.starts)) + head, key.astype(np.int64)


def _numbered(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``np.unique(values, return_inverse=True)`` of values in ascending runs, which a stable sort merges: a quarter of
    the time."""
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    first = np.diff(ascending, prepend=-1) > 0
    which = np.empty(len(values), np.int64)
    which[order] = np.cumsum(first) - 1
    return ascending[first], which


def neighbours(pairs: Pairs, expert: int, num_keys: int, n: int) -> pd.DataFrame:
    """The ``n`` experts whose scores over the tokens of ``pairs`` are most like an expert's, see ``Run.neighbours``."""
    own = np.zeros(int(pairs.token.max(initial=-1)) + 1)
    mine = pairs.expert == expert
    own[pairs.token[mine]] = pairs.score[mine]
    beside = own[pairs.token]  # the expert's score where each entry's is
    found, which = _numbered(pairs.expert)
    product, square = (np.bincount(which, pairs.score * other, len(found)) for other in (beside, pairs.score))
    shared = np.bincount(which[beside > 0], minlength=len(found))
    similarity = product / np.sqrt(square * (own**2).sum())
    order = np.argsort(-similarity, kind="stable")
    order = order[(shared[order] > 0) & (found[order] != expert)][:n]
    i, j = np.divmod(found[order], num_keys)
    return pd.DataFrame(
        {
            "expert": found[order],
            "similarity": similarity[order],
            "shared": shared[order],
            "key": np.where(i == expert // num_keys, 1, np.where(j == expert % num_keys, 2, 0)),
        }
    )
