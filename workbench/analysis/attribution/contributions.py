"""What single experts write along a direction: the expert layers of a recorded pass, taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cuda_ext import contributions
from monet_model.token_factors import Factors, TokenFactors

if TYPE_CHECKING:
    from cuda_ext.routing import Routing
    from monet_model.experts import ExpertLayer


def expert_contributions(
    experts: ExpertLayer, x: Tensor, routing: Routing, direction: Tensor, factors: Factors | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """``S[i, j] G[i, j] (direction . E_ij(x))`` of every active expert, exact, in the dtype of ``direction``.

    ``direction`` goes through the output weights once per key; the product of keys is formed for the active pairs only,
    by ``cuda_ext.contributions``.

    Args:
        experts: an expert layer of any decomposition.
        x: (tokens, hidden) its input.
        routing: the routing of these tokens.
        direction: (tokens, hidden), what the output is multiplied with at each token.
        factors: S, (keys, keys), or that of each token; None for all ones.

    Returns:
        Token (n,), flat expert id (n,) and contribution (n,), sorted by token, then expert.
    """
    hidden, dtype = experts.hidden(x), direction.dtype
    units = hidden.to(dtype) if isinstance(hidden, Tensor) else (hidden[0].to(dtype), hidden[1].to(dtype))
    along, keys = experts.along(direction), experts.keys
    found = []
    for part, matrix in factors.split(routing) if isinstance(factors, TokenFactors) else [(routing, factors)]:
        scale = None if matrix is None else matrix.to(direction)
        ids, values, _ = contributions(units, part, along, keys**2, scale)
        listed = ids >= 0
        if scale is not None:
            listed &= scale.flatten()[ids] != 0
        at = listed.nonzero(as_tuple=True)  # the one place where a GPU is waited for
        found.append((at[0], ids[at], values[at]))
    token, expert, contribution = (torch.cat(column) for column in zip(*found, strict=True))
    order = (token * keys**2 + expert).argsort()
    return token[order], expert[order], contribution[order]
