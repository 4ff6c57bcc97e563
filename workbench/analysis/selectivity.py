"""How far experts prefer one label: shares, the paper's rule and the scores derived from them. Pure array functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

RATIO = 2.0
MIN_TOKENS = 10
GENERALIST = -1

Floats = NDArray[np.float64]


def label_shares(mass: ArrayLike, label_tokens: ArrayLike) -> Floats:
    """How an expert's routing score divides over the labels, were all labels of one size.

    The rate of a label is the expert's mean score over all tokens of the label, ``mass / tokens``; its share is its
    part of the sum of rates. So an expert that does not care about labels has equal shares, whatever the corpus holds
    of each.

    Args:
        mass: (experts, labels) sums of routing scores.
        label_tokens: (labels,) tokens of each label; a label without tokens has rate 0.

    Returns:
        (experts, labels), rows summing to 1; all 0 for an expert without mass.
    """
    tokens = np.asarray(label_tokens, np.float64)
    rate = np.divide(np.asarray(mass, np.float64), tokens, out=np.zeros(np.shape(mass)), where=tokens > 0)
    total = rate.sum(-1, keepdims=True)
    return np.divide(rate, total, out=np.zeros_like(rate), where=total > 0)


def advantage(shares: Floats) -> Floats:
    """Share of an expert's first label over that of its second, (experts,); infinite where it has one label only."""
    second, first = np.partition(shares, -2, axis=-1)[..., -2:].T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(first > 0, first / second, 1.0)


def specialised_label(
    shares: Floats, tokens: ArrayLike, ratio: float = RATIO, min_tokens: int = MIN_TOKENS
) -> NDArray[np.int64]:
    """The label an expert is specialised in (paper, 5.1): its rate there is at least ``ratio`` times its second rate.

    An expert seen once has one label only, so it passes any ratio; one that does not care about labels passes by chance
    too while it has been seen little: of experts with seven equal labels, the rule at 2 takes 100 % of those seen once,
    46 % of those seen 5 times, 30 % at 10, 17 % at 20, 5 % at 50 (simulated, scores drawn from a gamma distribution of
    shape 0.8). ``min_tokens`` keeps out the emptiest; what remains is for a test to say, see
    :mod:`workbench.analysis.null`.

    Args:
        shares: (experts, labels) of :func:`label_shares`.
        tokens: (experts,) tokens where the expert is active.
        ratio: first rate over second rate.
        min_tokens: experts active at fewer tokens are generalists.

    Returns:
        (experts,) position of the label, or :data:`GENERALIST`.
    """
    chosen = (advantage(shares) >= ratio) & (np.asarray(tokens) >= min_tokens) & (shares.sum(-1) > 0)
    return np.where(chosen, shares.argmax(-1), GENERALIST)


def monosemanticity(shares: Floats) -> Floats:
    """``1 - H(share) / log L``: 1 for an expert of one label, 0 for one that treats all L labels alike, (experts,).

    Entropy-based selectivity as used for neurons and tissues alike (Schug et al. 2005, Genome Biology 6:R33, define
    specificity by this entropy); here over labels weighted by size. Biased upwards where few tokens were seen.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(shares > 0, shares * np.log(shares), 0.0).sum(-1)
    return np.where(shares.sum(-1) > 0, 1.0 - entropy / np.log(shares.shape[-1]), 0.0)
