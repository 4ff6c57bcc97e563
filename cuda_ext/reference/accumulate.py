"""The definition of `accumulate` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import active_pairs, ranks, strongest

MASS_UNIT = 2.0**36  # masses are integer multiples of 1 / MASS_UNIT, so that sums do not depend on their order


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
    """``cuda_ext.accumulate`` by its definition. Updates the first seven tensors in place."""
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
    kept, drawn = sample_priorities >= 0, priorities[token] >= 0
    of_cell = torch.cat([kept.flatten(0, 1).nonzero()[:, 0], cell[drawn]])
    priority = torch.cat([sample_priorities[kept], priorities[token[drawn]]])
    of_token = torch.cat([sample_scores[kept], score[drawn]])
    chosen = strongest(of_cell, -priority, priority, limit)
    where = of_cell[chosen], ranks(of_cell[chosen])
    sample_priorities.fill_(-1).flatten(0, 1)[where] = priority[chosen]
    sample_scores.zero_().flatten(0, 1)[where] = of_token[chosen]

    candidate = starts[token] >= 0
    token, expert, score = token[candidate], expert[candidate], score[candidate]
    if not len(token):
        return
    # Rows ascend, so only earlier entries of the first token's document can share a document with new ones.
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
