"""Expert layers with single experts scaled: the sums no longer factor, so they run over the active pairs only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from .routing import Routing

if TYPE_CHECKING:
    from .experts import ExpertLayer


def _take(per_key: Tensor, indices: Tensor) -> Tensor:
    """Columns of (tokens, units, keys) at (tokens, heads, k): (tokens, heads, units, k)."""
    heads = indices.shape[1]
    wide = per_key[:, None].expand(-1, heads, -1, -1)
    return wide.gather(-1, indices[:, :, None, :].expand(-1, -1, per_key.shape[1], -1))


def _spread(values: Tensor, indices: Tensor, keys: int) -> Tensor:
    """Sum (tokens, heads, units, k) over heads into (tokens, units, keys)."""
    tokens, heads, units, width = values.shape
    where = indices[:, None].expand(-1, units, -1, -1).reshape(tokens, units, heads * width)
    return values.new_zeros(tokens, units, keys).scatter_add(-1, where, values.transpose(1, 2).flatten(-2))


def edited_output(experts: ExpertLayer, x: Tensor, routing: Routing, factors: Tensor) -> Tensor:
    """``y = sum_ij S[i, j] G[i, j] E_ij(x)``, exact, over the active pairs.

    Args:
        experts: the expert layer.
        x: (..., hidden) its input, tokens flattened in the order of ``routing``.
        routing: the tokens' routing.
        factors: S, (E, E).

    Returns:
        (..., hidden), as the unedited layer.
    """
    return combine_edited(experts, experts.hidden(x), routing, factors)


def combine_edited(experts: Any, hidden: Tensor | tuple[Tensor, Tensor], routing: Routing, factors: Tensor) -> Tensor:
    """:func:`edited_output` from the activations that ``experts.hidden`` gave: one tensor when the experts are
    horizontal, one of each key set when they are vertical."""
    a1, a2 = (hidden, hidden) if isinstance(hidden, Tensor) else hidden
    shape = a1.shape[:-2]
    a1, a2 = a1.flatten(0, -3), a2.flatten(0, -3)  # (tokens, units, keys)
    i, j = routing.indices1.long(), routing.indices2.long()
    pair = routing.probs1[..., :, None] * routing.probs2[..., None, :]  # (tokens, heads, k1, k2)
    weight = (pair * factors.to(pair)[i[..., :, None], j[..., None, :]]).to(a1.dtype)
    keys = experts.keys
    if isinstance(hidden, Tensor):
        mixed = _take(a1, i) @ weight  # (tokens, heads, units, k2)
        bias = _spread(weight.sum(-2)[:, :, None], j, keys)[:, 0]  # (tokens, keys)
        out = experts.project(_spread(mixed, j, keys), bias)
    else:
        rows = _spread(weight.sum(-1)[:, :, None], i, keys)  # (tokens, 1, keys)
        columns = _spread(weight.sum(-2)[:, :, None], j, keys)
        cross1 = _spread(_take(a2, j) @ weight.mT, i, keys)  # what V12_i multiplies
        cross2 = _spread(_take(a1, i) @ weight, j, keys)
        out = experts.project(rows * a1, cross1, rows[:, 0], cross2, columns * a2, columns[:, 0])
    return out.view(*shape, -1)
