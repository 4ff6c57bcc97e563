"""Sums over the active keys and pairs of each token, instead of over all keys.

Two uses. Factors for single experts keep the sums over i and j from factoring, so they must run over pairs; the active
pairs of a token and head are a rectangle, its active keys of set 1 by those of set 2, over which the factors are
gathered once and multiplied as the small matrix they are. And where few keys are active, the output weights of those
keys alone cost less than products over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from .routing import Routing

ROWS = 1024  # (token, head) rows at a time, and of these
BLOCK = 128  # rows padded to one width: what is at work stays in the processor's cache


def active_sums(
    a1: Tensor, a2: Tensor, routing: Routing, factors: Tensor | None
) -> Iterator[tuple[Routing, Tensor, Tensor, Tensor, Tensor]]:
    """What each active key's experts add up to, under factors S if any, for a few tokens at a time.

    Args:
        a1, a2: (tokens, units, keys) activations of key sets 1 and 2; the numbers of units may differ and may be 0.
        routing: of these tokens.
        factors: S, (keys, keys), or None where every factor is 1.

    Yields:
        the tokens' routing, with probabilities p and q; the activations at its keys, (tokens, heads, units, k), of both
        sets; then for the keys i of set 1 ``p_i sum_j S[i, j] q_j [a2_j, 1]`` and for the keys j of set 2
        ``q_j sum_i S[i, j] p_i [a1_i, 1]``: (tokens, heads, units + 1, k), the last unit the sum of weights.
    """
    dtype = torch.promote_types(a1.dtype, routing.probs1.dtype)
    if factors is not None:
        factors = factors.to(a1.device, dtype)
    step = max(1, ROWS // routing.heads)
    for start in range(0, len(routing), step):
        chosen = slice(start, start + step)
        part = routing[chosen]
        here1 = _at_keys(a1[chosen].to(dtype), part.indices1)
        here2 = _at_keys(a2[chosen].to(dtype), part.indices2)
        p, q = part.probs1[:, :, None].to(dtype), part.probs2[:, :, None].to(dtype)  # (tokens, heads, 1, k)
        from1, from2 = torch.cat([here1 * p, p], 2), torch.cat([here2 * q, q], 2)
        if factors is None:
            to1, to2 = from2.sum(-1, keepdim=True), from1.sum(-1, keepdim=True)
        else:
            to1, to2 = _over_pairs(from1, from2, part, factors)
        yield part, here1, here2, to1 * p, to2 * q


def _at_keys(a: Tensor, indices: Tensor) -> Tensor:
    """(tokens, units, keys) at (tokens, heads, k): (tokens, heads, units, k)."""
    where = indices.long().flatten(1)[:, None].expand(-1, a.shape[1], -1)
    return a.gather(-1, where).unflatten(-1, indices.shape[1:]).transpose(1, 2)


def _over_pairs(from1: Tensor, from2: Tensor, routing: Routing, factors: Tensor) -> tuple[Tensor, Tensor]:
    """``sum_j S[i, j] from2[j]`` and ``sum_i S[i, j] from1[i]`` at the active keys: (tokens, heads, units, k)."""
    shape1, shape2 = (*from2.shape[:3], from1.shape[-1]), (*from1.shape[:3], from2.shape[-1])
    order = routing.counts1.flatten().argsort()  # rectangles of like width side by side
    back = order.argsort()
    from1, from2, i, j, count1, count2 = (
        tensor.flatten(0, 1)[order]
        for tensor in (from1, from2, routing.indices1, routing.indices2, routing.counts1, routing.counts2)
    )
    i = i.int() * routing.num_keys
    to1, to2 = [], []
    for start in range(0, len(order), BLOCK):
        rows = slice(start, start + BLOCK)
        k1, k2 = int(count1[rows].max()), int(count2[rows].max())
        pairs = i[rows, :k1, None] + j[rows, None, :k2]
        s = factors.flatten().index_select(0, pairs.flatten()).view(pairs.shape)
        to1.append(pad(from2[rows, :, :k2] @ s.mT, (0, shape1[-1] - k1)))
        to2.append(pad(from1[rows, :, :k1] @ s, (0, shape2[-1] - k2)))
    return torch.cat(to1)[back].view(shape1), torch.cat(to2)[back].view(shape2)


def spread(values: Tensor, indices: Tensor, keys: int) -> Tensor:
    """Sum (tokens, heads, units, k) at (tokens, heads, k) over the heads into (tokens, units, keys)."""
    values = values.transpose(1, 2).flatten(2)
    where = indices.long().flatten(1)[:, None].expand(values.shape)
    return values.new_zeros(*values.shape[:2], keys).scatter_add(-1, where, values)


def read_out(values: Tensor, indices: Tensor, table: Tensor) -> Tensor:
    """``sum values[h, unit, k] table[unit, indices[h, k]]``: (tokens, out) for a table (units, keys, out)."""
    units, keys, _ = table.shape
    entry = indices.int()[:, :, None] + torch.arange(0, units * keys, keys, dtype=torch.int32)[:, None]
    weights = values.to(table.dtype).flatten(1)
    return embedding_bag(entry.flatten(1), table.flatten(0, 1), per_sample_weights=weights, mode="sum")
