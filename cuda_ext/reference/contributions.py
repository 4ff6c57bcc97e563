"""The definition of `contributions` in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from .pairs import active_pairs, factors_at, ranks, strongest


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
    """``cuda_ext.contributions`` by its definition."""
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
