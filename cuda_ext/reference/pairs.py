"""Lists of active key pairs and of their strongest: what the definitions of the ops share."""

from __future__ import annotations

import torch
from torch import Tensor


def active_pairs(
    indices1: Tensor, probs1: Tensor, counts1: Tensor, indices2: Tensor, probs2: Tensor, counts2: Tensor, keys: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return every active (token, expert) once: token (n,), flat expert id (n,), score summed over heads (n,).

    Sorted by token, then expert; all scores are > 0.
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
    """Return the positions (n,) of each group's ``limit`` highest scores, by group, falling score, rising ``tie``."""
    order = tie.argsort(stable=True)
    order = order[score[order].argsort(stable=True, descending=True)]
    order = order[group[order].argsort(stable=True)]
    return order[ranks(group[order]) < limit]


def ranks(group: Tensor) -> Tensor:
    """Return each entry's position within its group; entries of a group are adjacent."""
    position = torch.arange(len(group), device=group.device)
    is_first = torch.ones_like(group, dtype=torch.bool)
    is_first[1:] = group[1:] != group[:-1]
    return position - torch.where(is_first, position, 0).cummax(0).values


def active_lists(indices: Tensor, probs: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return int64 keys and probabilities of one key set, (tokens, heads, k); padding is key 0, probability 0."""
    padding = torch.arange(indices.shape[-1], device=indices.device) >= counts[..., None]
    return indices.long().masked_fill(padding, 0), probs.masked_fill(padding, 0)


def factors_at(factors: Tensor | None, i: Tensor, j: Tensor, like: Tensor) -> Tensor:
    """Return S at pairs of keys, in the shape that ``i`` and ``j`` broadcast to; ones without S."""
    if factors is None:
        return like.new_ones(torch.broadcast_shapes(i.shape, j.shape))
    return factors[i, j]
