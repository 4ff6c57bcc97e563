"""How far experts prefer one label: label shares and the paper's rule on them. Pure array functions.

Arrays have the labels first: ``(labels, ...)``, the rest being experts, or permutations and experts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..defaults import MIN_TOKENS, RATIO

GENERALIST = -1  # number of the label of an expert without one

Floats = NDArray[np.floating[Any]]


def label_shares(mass: Floats, label_tokens: ArrayLike) -> Floats:
    """How an expert's mass divides over the labels, with each label weighted as though all were of one size.

    The rate of a label is the expert's mean score over all tokens of the label, ``mass / tokens``; its share is its
    part of the sum of rates. So an expert that ignores labels has equal shares, however much text each label has.

    Args:
        mass: (labels, ...) sums of routing scores.
        label_tokens: (labels,) or (labels, ...) tokens of each label; a label without tokens has rate 0.

    Returns:
        (labels, ...), summing to 1 over labels; all 0 for an expert without mass.
    """
    tokens = label_sizes(label_tokens, mass)
    rate = mass * np.divide(1, tokens, out=np.zeros(tokens.shape, mass.dtype), where=tokens > 0)
    total = rate.sum(0)
    return np.divide(rate, total, out=np.zeros_like(rate), where=total > 0)


def label_sizes(label_tokens: ArrayLike, values: Floats) -> Floats:
    """Tokens of labels in the dtype of ``values`` and with as many dimensions."""
    tokens = np.asarray(label_tokens, values.dtype)
    return tokens.reshape(tokens.shape + (1,) * (values.ndim - tokens.ndim))


def first_two(shares: Floats) -> tuple[Floats, Floats]:
    """Largest and second largest share."""
    first, second = shares[0], np.zeros_like(shares[0])
    for share in shares[1:]:
        second = np.maximum(second, np.minimum(first, share))
        first = np.maximum(first, share)
    return first, second


def advantage(shares: Floats) -> Floats:
    """First share over second share; infinite for an expert that has one label only, 1 for one without mass."""
    first, second = first_two(shares)
    with np.errstate(all="ignore"):
        return np.where(first > 0, first / second, 1.0).astype(shares.dtype)


def specialised_label(
    shares: Floats, tokens: ArrayLike, ratio: float = RATIO, min_tokens: int = MIN_TOKENS
) -> NDArray[np.int64]:
    """The label an expert is specialised in (paper, 5.1): its rate there is at least ``ratio`` times its second rate.

    The rule alone proves little. An expert active once has one label only, so it passes any ratio, and one that ignores
    labels passes by chance while it has been active at few tokens: of experts with seven equal labels, the rule at 2
    takes 100 % of those active once, 46 % of those active 5 times, 30 % at 10, 17 % at 20, 5 % at 50 (simulated, scores
    drawn from a gamma distribution of shape 0.8). ``min_tokens`` leaves out the rarest; for the others see the
    permutation test of ``workbench.analysis.specialisation.label_null``.

    Args:
        shares: (labels, experts) of ``label_shares``.
        tokens: (experts,) active tokens.
        ratio: first share over second share.
        min_tokens: experts active at fewer tokens get no label.

    Returns:
        (experts,) number of the label, or ``GENERALIST``.
    """
    chosen = (advantage(shares) >= ratio) & (np.asarray(tokens) >= min_tokens) & (shares.sum(0) > 0)
    return np.where(chosen, shares.argmax(0), GENERALIST)
