"""Label information: what an expert's being active tells about the label of a token."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..shares import Floats, label_sizes
from .score import LabelCounts, LabelScore


def label_information(tokens: Floats, label_tokens: ArrayLike) -> Floats:
    """Mutual information, in nats per token, between an expert being active at a token and the token's label.

    ``I(A; Y) = h(sum_y p_y a_y) - sum_y p_y h(a_y)``, where p_y is the part of all tokens that have label y, a_y the
    part of those where the expert is active, and h the entropy of a yes-or-no variable (Cover & Thomas 2006, eq. 2.45).
    Bounded by the entropy of A, so rare experts score low whatever they prefer.

    Args:
        tokens: (labels, ...) active tokens.
        label_tokens: (labels,) or (labels, ...) tokens of each label.

    Returns:
        (...), nats per token, at least 0.
    """
    sizes = label_sizes(label_tokens, tokens)
    weight = sizes / sizes.sum(0)
    rates = np.divide(
        tokens, sizes, out=np.zeros(np.broadcast_shapes(tokens.shape, sizes.shape), tokens.dtype), where=sizes > 0
    )
    mean, conditional = np.zeros_like(rates[0]), np.zeros_like(rates[0])
    for part, rate in zip(weight, rates, strict=True):
        mean += part * rate
        conditional += part * _binary_entropy(rate)
    return np.maximum(_binary_entropy(mean) - conditional, 0)


def _binary_entropy(p: Floats) -> Floats:
    q = 1 - p
    return -p * np.log(np.where(p > 0, p, 1)) - q * np.log(np.where(q > 0, q, 1))


def _compute(counts: LabelCounts) -> Floats:
    return label_information(counts.tokens, counts.label_tokens)


LABEL_INFORMATION = LabelScore(
    name="information",
    title="label information",
    definition="Mutual information between an expert being active at a token and the token's label, in nats per token.",
    source="Cover & Thomas 2006, eq. 2.45",
    unit="nats per token",
    compute=_compute,
)
