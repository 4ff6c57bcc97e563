"""Which experts a reader can make something of: how few and how rare the tokens are that they score highest on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from ...store import Run

READABLE_TOKENS = 20  # active tokens of a readable expert: fewer say little, confirmed or not
READABLE_SCORE = 0.1  # its highest score: an expert that never scores higher has little weight in the model


def interest(run: Run, group: int) -> pd.DataFrame:
    """How far the best tokens of every expert stand out, read from the examples alone.

    ``p`` is how an expert's score over its best tokens (the run's examples, a few per document) divides over token
    ids, ``q`` how often each id is in the corpus, ``m`` the mean score of these tokens. Interest is
    ``sum_v p_v log(p_v / q_v) + log m``, in nats: high where few and rare tokens, one or a family of them, take all
    of a strong expert's score; low where the tokens are many, or frequent as punctuation is, or the scores weak.

    Args:
        run: an opened run.
        group: number of the layer group.

    Returns:
        Index ``expert``, those with examples, rising; columns

        - ``token_entropy``: entropy of p in nats, 0 for one token id;
        - ``interest``: in nats.

    Raises:
        NotFoundError: the run has no such group.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import interest
        >>> bool((interest(open_run("runs/demo"), 0)["token_entropy"] >= 0).all())
        True
    """
    best = run.best_tokens(group)
    best = best[best["score"] > 0]
    vocabulary = len(run.token_counts)
    pair = best["expert"].to_numpy(np.int64) * vocabulary + best["token"].to_numpy()
    order = np.argsort(pair, kind="stable")
    pair, score = pair[order], best["score"].to_numpy(np.float64)[order]
    first = np.flatnonzero(np.diff(pair, prepend=-1))  # of each expert and token id
    expert, token = np.divmod(pair[first], vocabulary)
    start = np.flatnonzero(np.diff(expert, prepend=-1))  # of each expert among these
    if not len(start):
        return pd.DataFrame({"token_entropy": [], "interest": []}, index=pd.Index([], name="expert", dtype=np.int64))
    mass = np.add.reduceat(score, first)
    total = np.add.reduceat(mass, start)
    entropy = np.maximum(np.log(total) - np.add.reduceat(mass * np.log(mass), start) / total, 0.0)
    rarity = -np.log(run.token_counts[token] / run.tokens_total)
    surprise = np.add.reduceat(mass * rarity, start) / total
    mean = total / np.diff(np.append(first[start], len(pair)))
    return pd.DataFrame(
        {"token_entropy": entropy, "interest": surprise - entropy + np.log(mean)},
        index=pd.Index(expert[start], name="expert"),
    )
