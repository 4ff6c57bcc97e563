"""Expert layers with single experts scaled: the sums no longer factor, so they run over the active pairs only."""

from __future__ import annotations

import torch
from torch import Tensor

from .experts import HorizontalExperts, VerticalExperts
from .routing import Routing


def _take(per_key: Tensor, indices: Tensor) -> Tensor:
    """Rows of (tokens, keys, units) at (tokens, heads, k): (tokens, heads, k, units)."""
    tokens, _, units = per_key.shape
    flat = indices.long().reshape(tokens, -1, 1).expand(-1, -1, units)
    return per_key.gather(1, flat).view(*indices.shape, units)


def _spread(values: Tensor, indices: Tensor, keys: int) -> Tensor:
    """Sum (tokens, heads, k, units) over heads into (tokens, keys, units)."""
    tokens, units = len(values), values.shape[-1]
    flat = indices.long().reshape(tokens, -1, 1).expand(-1, -1, units)
    return values.new_zeros(tokens, keys, units).scatter_add(1, flat, values.reshape(tokens, -1, units))


def edited_output(
    experts: HorizontalExperts | VerticalExperts, x: Tensor, routing: Routing, factors: Tensor
) -> Tensor:
    """``y = sum_ij S[i, j] G[i, j] E_ij(x)``, exact, over the active pairs.

    Args:
        experts: the expert layer.
        x: (..., hidden) its input, tokens flattened in the order of ``routing``.
        routing: the tokens' routing.
        factors: S, (E, E).

    Returns:
        (..., hidden), as the unedited layer.
    """
    tokens = x.reshape(-1, x.shape[-1])
    i, j = routing.indices1.long(), routing.indices2.long()
    pair = routing.probs1[..., :, None] * routing.probs2[..., None, :]  # (tokens, heads, k1, k2)
    weight = (pair * factors.to(pair)[i[..., :, None], j[..., None, :]]).to(x.dtype)
    keys = experts.keys
    if isinstance(experts, HorizontalExperts):
        mixed = weight.mT @ _take(experts.hidden(tokens), i)  # (tokens, heads, k2, units)
        bias = _spread(weight.sum(-2)[..., None], j, keys)[..., 0]
        out = experts.v(_spread(mixed, j, keys).flatten(-2)) + bias @ experts.b
    else:
        a1, a2 = experts.hidden(tokens)
        rows = _spread(weight.sum(-1)[..., None], i, keys)[..., 0]  # (tokens, keys)
        columns = _spread(weight.sum(-2)[..., None], j, keys)[..., 0]
        cross1 = _spread(weight @ _take(a2, j), i, keys)  # what V12_i multiplies
        cross2 = _spread(weight.mT @ _take(a1, i), j, keys)
        out = experts.project(rows[..., None] * a1, cross1, rows, cross2, columns[..., None] * a2, columns)
    return out.view(*x.shape[:-1], -1)
