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
    """Active experts of the tokens of both sides; memory grows with tokens x heads x longest list squared."""
    indices1, probs1, _ = side1.padded(heads, num_keys)
    indices2, probs2, _ = side2.padded(heads, num_keys)
    score = probs1[..., :, None] * probs2[..., None, :]  # (tokens, heads, k1, k2)
    expert = indices1[..., :, None].astype(np.int64) * num_keys + indices2[..., None, :]
    token, *_ = active = np.nonzero(score)
    pair, which = np.unique(token * num_keys**2 + expert[active], return_inverse=True)
    total = np.bincount(which, weights=score[active], minlength=len(pair)).astype(np.float32)
    return Pairs(*np.divmod(pair, num_keys**2), total)


def neighbours(pairs: Pairs, expert: int, num_keys: int, n: int) -> pd.DataFrame:
    """The ``n`` experts whose scores over the tokens of ``pairs`` are most like an expert's, see ``Run.neighbours``."""
    own = np.zeros(int(pairs.token.max(initial=-1)) + 1)
    mine = pairs.expert == expert
    own[pairs.token[mine]] = pairs.score[mine]
    beside = own[pairs.token]  # the expert's score where each entry's is
    found, which = np.unique(pairs.expert, return_inverse=True)
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
