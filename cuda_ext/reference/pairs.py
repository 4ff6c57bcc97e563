"""The active pairs of keys, one entry each, as the definitions of the ops need them."""

from __future__ import annotations

import torch
from torch import Tensor


def active_pairs(
    indices1: Tensor, probs1: Tensor, counts1: Tensor, indices2: Tensor, probs2: Tensor, counts2: Tensor, keys: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Every active (token, expert) once: token (n,), flat expert id (n,), score summed over heads (n,), all scores > 0.

    Sorted by token, then expert.
    """
    (i, p), (j, q) = active_lists(indices1, probs1, counts1), active_lists(indices2, probs2, counts2)
    score = p[..., :, None] * q[..., None, :]  # (tokens, heads, k1, k2)
    token = torch.arange(len(p), device=p.device)[:, None, None, None]
    place = token * keys**2 + i[..., :, None] * keys + j[..., None, :]
    active = score > 0
    place, inverse = place[active].unique(return_inverse=True)
    total = score.new_zeros(len(place)).index_add(0, inverse, score[active])
    return place // keys**2, place % keys**2, total


def strongest(group: Tensor, score: Tensor, tie: Tensor, limit: int) -> Tensor:
    """Positions (n,) of each group's ``limit`` highest scores, by group, then falling score, then rising ``tie``."""
    order = tie.argsort(stable=True)
    order = order[score[order].argsort(stable=True, descending=True)]
    order = order[group[order].argsort(stable=True)]
    return order[ranks(group[order]) < limit]


def ranks(group: Tensor) -> Tensor:
    """How many entries of its group stand before each; groups stand together."""
    at = torch.arange(len(group), device=group.device)
    fresh = torch.ones_like(group, dtype=torch.bool)
    fresh[1:] = group[1:] != group[:-1]
    return at - torch.where(fresh, at, 0).cummax(0).values


def active_lists(indices: Tensor, probs: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Indices as int64 and probabilities of one side, (tokens, heads, k); padding holds key 0 and probability 0."""
    padding = torch.arange(indices.shape[-1], device=indices.device) >= counts[..., None]
    return indices.long().masked_fill(padding, 0), probs.masked_fill(padding, 0)


def factors_at(factors: Tensor | None, i: Tensor, j: Tensor, like: Tensor) -> Tensor:
    """S at pairs of keys, in the shape that ``i`` and ``j`` broadcast to; ones without S."""
    if factors is None:
        return like.new_ones(torch.broadcast_shapes(i.shape, j.shape))
    return factors[i, j]
