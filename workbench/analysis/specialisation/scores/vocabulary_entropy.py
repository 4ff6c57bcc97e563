"""Vocabulary entropy: how few different tokens an expert is active at."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .score import TextScore


def vocabulary_entropy(expert: NDArray[np.int64], token: NDArray[np.int64], count: NDArray[np.int64]) -> pd.Series:
    """Entropy, in nats, of the token id at an expert's active tokens.

    ``H = log n - sum_v c_v log(c_v) / n`` over the counts c_v of token v among n active tokens: the plug-in estimate
    (Shannon 1948), 0 for an expert of one token. It cannot exceed log n, so experts seen little look pure; compare it
    with a null of experts seen as often.

    Args:
        expert, token, count: (n,) how often an expert is active at a token id; equal experts together.

    Returns:
        The entropy of each expert; the index is its flat id.
    """
    starts = np.flatnonzero(np.diff(expert, prepend=-1))
    total = np.add.reduceat(count, starts)
    entropy = np.log(total) - np.add.reduceat(count * np.log(count), starts) / total
    return pd.Series(np.maximum(entropy, 0.0), index=expert[starts])


VOCABULARY_ENTROPY = TextScore(
    name="vocabulary_entropy",
    title="vocabulary entropy",
    definition="Entropy of the token ids that an expert is active at, in nats: 0 if it is active at one token id only.",
    source="Shannon 1948",
    unit="nats",
    higher_is_purer=False,
    compute=vocabulary_entropy,
)
