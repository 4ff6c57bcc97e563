"""From null scores to p-values, and from p-values to verdicts at a controlled rate of false discoveries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STRATUM = 5000  # null scores that an observed one is compared with, about


def pooled_p(scores: Floats, sizes: Floats, null_scores: Floats, null_sizes: Floats) -> Floats:
    """How often a null score of about the same size is at least as large.

    Size is what the null's spread depends on, such as the tokens an expert was seen at. Experts are sorted by it and
    cut into strata of about ``STRATUM`` null scores; within one, the null scores of all experts are pooled, which
    resolves p-values that a few draws for each expert alone could not: ``p = (1 + r) / (1 + n)``.

    Args:
        scores, sizes: (experts,); NaN scores give NaN.
        null_scores, null_sizes: (draws,); NaN scores do not count.
    """
    drawn = ~np.isnan(null_scores)
    order = np.argsort(null_sizes[drawn], kind="stable")
    null_scores, null_sizes = null_scores[drawn][order], null_sizes[drawn][order]
    strata = max(1, len(null_scores) // STRATUM)
    edges = np.unique(null_sizes[np.arange(1, strata) * len(null_sizes) // strata]) if strata > 1 else np.zeros(0)
    stratum, null_stratum = (np.searchsorted(edges, values, side="right") for values in (sizes, null_sizes))
    p = np.full(len(scores), np.nan)
    for number in range(len(edges) + 1):
        pool = np.sort(null_scores[null_stratum == number])
        mine = (stratum == number) & ~np.isnan(scores)
        p[mine] = (1 + len(pool) - np.searchsorted(pool, scores[mine], side="left")) / (1 + len(pool))
    return p


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The false discovery rate at which each p-value would still be called significant (Benjamini & Hochberg 1995).

    NaN stands for a hypothesis that was not tested; it gives NaN and does not count.
    """
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    q = np.full(len(p), np.nan)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q
