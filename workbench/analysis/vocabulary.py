"""How few different tokens an expert fires at: the entropy of its vocabulary."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .cross_table import CrossTable


def vocabulary_entropy(table: CrossTable) -> pd.Series:
    """Entropy, in nats, of the token id at an expert's active tokens.

    ``H = log n - sum_v c_v log(c_v) / n`` over the counts c_v of token v among n active tokens: the plug-in estimate
    (Shannon 1948), 0 for an expert of one token. It cannot exceed log n, so experts seen little look pure; hold it
    against a null of experts seen as often.

    Args:
        table: active tokens of experts by token id.

    Returns:
        The entropy of each expert of the table; the index is its flat id.
    """
    expert, place = np.unique(table.expert, return_inverse=True)
    total = np.bincount(place, table.tokens)
    entropy = np.log(total) - np.bincount(place, table.tokens * np.log(table.tokens)) / total
    return pd.Series(np.maximum(entropy, 0.0), index=expert)
