"""`route` and `mix` in plain PyTorch with shapes that do not depend on values.

The ops take these definitions under the transforms of ``torch.func`` and in forward-mode differentiation: they can be
differentiated any number of times in both modes, and vectorised. They still form no array over expert pairs and tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import active_lists
from .route import inverse_deviation


def route_dense(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """``cuda_ext.route`` by its definition, with room for every key in every row: k is the number of keys.

    Raises nothing about values: a row of logits that has no routing gets probabilities that are NaN.
    """
    normalised = (logits.detach() - mean[:, None]) * inverse_deviation(var)[:, None]
    active = normalised >= normalised.amax(-1, keepdim=True).clamp(max=sigma)
    counts = active.sum(-1)
    padding = torch.arange(logits.shape[-1], device=logits.device) >= counts[..., None]
    keys = (~active).to(torch.int8).argsort(dim=-1, stable=True).masked_fill(padding, 0)  # active keys first, ascending
    probs = logits.masked_fill(~active, float("-inf")).softmax(-1).gather(-1, keys).masked_fill(padding, 0)
    return keys.to(torch.int16), probs, counts.to(torch.int32)


def mix_horizontal_dense(
    a: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    factors: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """``cuda_ext.mix`` of horizontal experts by its definition."""
    keys = a.shape[1]
    p, q = _dense(indices1, probs1, counts1, keys), _dense(indices2, probs2, counts2, keys)
    return _across(p, q, a, factors), _across(p, q, a.new_ones(*a.shape[:2], 1), factors)[..., 0]


def mix_vertical_dense(
    a1: Tensor,
    a2: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    factors: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``cuda_ext.mix`` of vertical experts by its definition."""
    keys = a1.shape[1]
    p, q = _dense(indices1, probs1, counts1, keys), _dense(indices2, probs2, counts2, keys)
    ones, flipped = a1.new_ones(*a1.shape[:2], 1), None if factors is None else factors.mT
    rows, columns = _across(q, p, ones, flipped), _across(p, q, ones, factors)
    cross1, cross2 = _across(q, p, a2, flipped), _across(p, q, a1, factors)
    return rows * a1, cross1, rows[..., 0], cross2, columns * a2, columns[..., 0]


def _dense(indices: Tensor, probs: Tensor, counts: Tensor, keys: int) -> Tensor:
    """Return the probabilities of one key set by key: (tokens, heads, keys)."""
    listed, probs = active_lists(indices, probs, counts)
    return probs.new_zeros(*probs.shape[:2], keys).scatter_add(-1, listed, probs)


def _across(source: Tensor, target: Tensor, a: Tensor, factors: Tensor | None) -> Tensor:
    """Sum over the keys of one set into those of the other: ``sum_hi target[h, j] source[h, i] S[i, j] a[i]``.

    Args:
        source, target: (tokens, heads, keys) probabilities.
        a: (tokens, keys, units).
        factors: S, by key of the source and key of the target.

    Returns:
        (tokens, keys, units).
    """
    if factors is None:
        return target.mT @ (source @ a)
    weighted = source[..., None] * a[:, None]  # (tokens, heads, keys, units)
    return (target[..., None] * (factors.mT @ weighted)).sum(1)
