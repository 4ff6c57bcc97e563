"""The definitions of `mix` and its gradients in plain PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .pairs import active_lists, factors_at


def _take(per_key: Tensor, indices: Tensor) -> Tensor:
    """Gather rows of (tokens, keys, n) at (tokens, heads, k) indices: (tokens, heads, k, n)."""
    where = indices.flatten(1)[..., None].expand(-1, -1, per_key.shape[-1])
    return per_key.gather(1, where).unflatten(1, indices.shape[1:])


def _spread(values: Tensor, indices: Tensor, keys: int) -> Tensor:
    """Sum (tokens, heads, k, n) over heads into (tokens, keys, n)."""
    tokens, _, _, n = values.shape
    where = indices.flatten(1)[..., None].expand(-1, -1, n)
    return values.new_zeros(tokens, keys, n).scatter_add(1, where, values.flatten(1, 2))


def mix_horizontal_reference(
    a: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    factors: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """``cuda_ext.mix`` of horizontal experts by its definition. Differentiable in every float tensor."""
    (i, p), (j, q) = active_lists(indices1, probs1, counts1), active_lists(indices2, probs2, counts2)
    factor = factors_at(factors, i[..., :, None], j[..., None, :], p)
    weights = p[..., :, None] * q[..., None, :] * factor  # (tokens, heads, k1, k2)
    top = _spread(weights.mT @ _take(a, i), j, a.shape[1])
    return top, _spread(weights.sum(-2)[..., None], j, a.shape[1])[..., 0]


def mix_vertical_reference(
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
    """``cuda_ext.mix`` of vertical experts by its definition. Differentiable in every float tensor."""
    keys = a1.shape[1]
    (i, p), (j, q) = active_lists(indices1, probs1, counts1), active_lists(indices2, probs2, counts2)
    factor = factors_at(factors, i[..., :, None], j[..., None, :], p)
    weights = p[..., :, None] * q[..., None, :] * factor  # (tokens, heads, k1, k2)
    rows = _spread(weights.sum(-1)[..., None], i, keys)
    columns = _spread(weights.sum(-2)[..., None], j, keys)
    cross1 = _spread(weights @ _take(a2, j), i, keys)
    cross2 = _spread(weights.mT @ _take(a1, i), j, keys)
    return rows * a1, cross1, rows[..., 0], cross2, columns * a2, columns[..., 0]


def mix_vertical_backward_reference(
    straight1: Tensor,
    cross1: Tensor,
    rows: Tensor,
    cross2: Tensor,
    straight2: Tensor,
    columns: Tensor,
    a1: Tensor,
    a2: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    factors: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of a1, a2, probs1 and probs2, given those of ``mix_vertical_reference``'s outputs."""
    keys = a1.shape[1]
    (i, p), (j, q) = active_lists(indices1, probs1, counts1), active_lists(indices2, probs2, counts2)
    factor = factors_at(factors, i[..., :, None], j[..., None, :], p)
    weights = p[..., :, None] * q[..., None, :] * factor
    grads = factor * _weight_gradients(
        straight1, cross1, rows, cross2, straight2, columns, a1, a2, indices1, counts1, indices2, counts2
    )
    to_a1 = _spread(weights @ _take(cross2, j), i, keys) + _spread(weights.sum(-1)[..., None], i, keys) * straight1
    to_a2 = _spread(weights.mT @ _take(cross1, i), j, keys) + _spread(weights.sum(-2)[..., None], j, keys) * straight2
    return to_a1, to_a2, (grads * q[..., None, :]).sum(-1), (grads * p[..., :, None]).sum(-2)


def mix_horizontal_backward_reference(
    top: Tensor, bias: Tensor, a: Tensor, *routing_and_factors: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a, probs1 and probs2, given those of ``mix_horizontal_reference``'s outputs."""
    no_units, no_keys = torch.zeros_like(a), torch.zeros_like(bias)
    to_a, _, to_p, to_q = mix_vertical_backward_reference(
        no_units, no_units, no_keys, top, no_units, bias, a, no_units, *routing_and_factors
    )
    return to_a, to_p, to_q


def factor_gradient(
    straight1: Tensor,
    cross1: Tensor,
    rows: Tensor,
    cross2: Tensor,
    straight2: Tensor,
    columns: Tensor,
    a1: Tensor,
    a2: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
) -> Tensor:
    """Return the gradient of S, (keys, keys), given those of ``mix_vertical_reference``'s outputs."""
    keys = a1.shape[1]
    (i, p), (j, q) = active_lists(indices1, probs1, counts1), active_lists(indices2, probs2, counts2)
    grads = (p[..., :, None] * q[..., None, :]) * _weight_gradients(
        straight1, cross1, rows, cross2, straight2, columns, a1, a2, indices1, counts1, indices2, counts2
    )
    where = i[..., :, None] * keys + j[..., None, :]
    return grads.new_zeros(keys * keys).index_add(0, where.flatten(), grads.flatten()).view(keys, keys)


def _weight_gradients(
    straight1: Tensor,
    cross1: Tensor,
    rows: Tensor,
    cross2: Tensor,
    straight2: Tensor,
    columns: Tensor,
    a1: Tensor,
    a2: Tensor,
    indices1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    counts2: Tensor,
) -> Tensor:
    """Return the gradient of ``W[i, j]`` for each pair of a head's lists, (tokens, heads, k1, k2); 0 at padding."""
    (i, real1), (j, real2) = (
        active_lists(indices, torch.ones_like(indices, dtype=a1.dtype), counts)
        for indices, counts in ((indices1, counts1), (indices2, counts2))
    )
    by_row = _take((rows + (straight1 * a1).sum(-1))[..., None], i)
    by_column = _take((columns + (straight2 * a2).sum(-1))[..., None], j).mT
    products = _take(a1, i) @ _take(cross2, j).mT + _take(cross1, i) @ _take(a2, j).mT
    return (products + by_row + by_column) * (real1[..., :, None] * real2[..., None, :])
