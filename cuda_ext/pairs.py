"""The definitions of `accumulate` and `contributions` in plain PyTorch, over a list of active (token, expert) pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from .reference import active_lists, factors_at

MASS_UNIT = 2.0**36  # masses are whole numbers of 1 / MASS_UNIT, so that sums do not depend on their order


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


def accumulate_reference(
    tokens: Tensor,
    mass: Tensor,
    histogram: Tensor,
    best_scores: Tensor,
    best_rows: Tensor,
    sample_priorities: Tensor,
    sample_scores: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    labels: Tensor,
    rows: Tensor,
    starts: Tensor,
    priorities: Tensor,
    keys: int,
    top: int,
    per_document: int,
) -> None:
    """:func:`cuda_ext.accumulate` by its definition; the first seven are updated in place."""
    token, expert, score = active_pairs(indices1, probs1, counts1, indices2, probs2, counts2, keys)
    counted = labels[token] >= 0
    token, expert, score = token[counted], expert[counted], score[counted]
    if not len(token):
        return
    cell = expert * tokens.shape[1] + labels[token]
    tokens.view(-1).index_add_(0, cell, torch.ones_like(cell))
    mass.view(-1).index_add_(0, cell, (score.double() * MASS_UNIT + 0.5).long())
    bins = histogram.shape[1]
    octave = (torch.frexp(score).exponent.long() - 1 - top + bins).clamp(0, bins - 1)
    cell = expert * bins + octave
    histogram.view(-1).index_add_(0, cell, torch.ones_like(cell))

    limit = sample_scores.shape[2]
    kept = sample_priorities >= 0
    of_cell = torch.cat([kept.flatten(0, 1).nonzero()[:, 0], cell])
    priority = torch.cat([sample_priorities[kept], priorities[token]])
    of_token = torch.cat([sample_scores[kept], score])
    chosen = strongest(of_cell, -priority, priority, limit)
    where = of_cell[chosen], ranks(of_cell[chosen])
    sample_priorities.fill_(-1).flatten(0, 1)[where] = priority[chosen]
    sample_scores.zero_().flatten(0, 1)[where] = of_token[chosen]

    # Rows ascend, so of the entries that are there only those of the first token's document can meet one of their own.
    kept = best_rows >= 0
    old_expert = kept.nonzero()[:, 0]
    old_row = best_rows[kept]
    begin = starts[token[0]]
    document = torch.cat([torch.where(old_row >= begin, begin, old_row), starts[token]])
    expert = torch.cat([old_expert, expert])
    row, score = torch.cat([old_row, rows[token]]), torch.cat([best_scores[kept], score])
    _, of_document = torch.stack([expert, document]).unique(dim=1, return_inverse=True)
    chosen = strongest(of_document, score, row, per_document)
    chosen = chosen[strongest(expert[chosen], score[chosen], row[chosen], best_rows.shape[1])]
    where = expert[chosen], ranks(expert[chosen])
    best_scores.zero_()[where] = score[chosen]
    best_rows.fill_(-1)[where] = row[chosen]


def contributions_reference(
    a1: Tensor,
    a2: Tensor | None,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    factors: Tensor | None,
    d11: Tensor | None,
    d12: Tensor | None,
    d21: Tensor,
    d22: Tensor | None,
    c1: Tensor | None,
    c2: Tensor,
    top: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`cuda_ext.contributions` by its definition."""
    count, keys, _ = a1.shape
    token, expert, score = active_pairs(indices1, probs1, counts1, indices2, probs2, counts2, keys)
    i, j = expert // keys, expert % keys
    along = (a1[token, i] * d21.expand(a1.shape)[token, j]).sum(-1) + c2.expand(count, -1)[token, j]
    if a2 is not None and d11 is not None and d12 is not None and d22 is not None and c1 is not None:
        rows = (a1 * d11).sum(-1) + c1
        columns = (a2 * d22).sum(-1)
        along = along + (d12.expand(a2.shape)[token, i] * a2[token, j]).sum(-1) + rows[token, i] + columns[token, j]
    value = score * factors_at(factors, i, j, score) * along
    totals = torch.zeros(count, dtype=torch.float64, device=a1.device).index_add(0, token, value.double())
    chosen = strongest(token, value.abs().nan_to_num(nan=float("inf"), posinf=float("inf")), expert, top)
    where = token[chosen], ranks(token[chosen])
    experts = torch.full((count, top), -1, device=a1.device).index_put(where, expert[chosen])
    return experts, value.new_zeros(count, top).index_put(where, value[chosen]), totals
