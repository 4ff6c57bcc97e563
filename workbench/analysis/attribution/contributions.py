"""What single experts write into the residual stream: one forward pass recorded, and its expert layers taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from cuda_ext import contributions
from cuda_ext.routing import Routing
from monet_model.experts import HorizontalExperts

if TYPE_CHECKING:
    pass


def _along(experts: Any, direction: Tensor) -> tuple[Tensor, ...]:
    """``direction . V`` of every hidden unit, (tokens, keys, units), then ``direction . b``, (tokens, keys).

    In the order that :func:`cuda_ext.contributions` takes them.
    """
    dtype = direction.dtype

    def units(side: Tensor, projection: Any) -> Tensor:
        return (side @ projection.weight.to(dtype)).unflatten(-1, (experts.keys, -1))

    if isinstance(experts, HorizontalExperts):
        return units(direction, experts.v), direction @ experts.b.to(dtype).T
    left, right = direction.chunk(2, -1)
    first = units(left, experts.v11), units(left, experts.v12), units(right, experts.v21), units(right, experts.v22)
    return *first, left @ experts.b1.to(dtype).T, right @ experts.b2.to(dtype).T


def expert_contributions(
    experts: Any, x: Tensor, g1: Tensor, g2: Tensor, direction: Tensor, factors: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """``S[i, j] G[i, j] (direction . E_ij(x))`` of every active expert, exact, in the dtype of ``direction``.

    ``direction`` goes through the output weights once a sub-expert (an i or a j); the product of keys is formed for the
    active pairs only, by :func:`cuda_ext.contributions`.

    Args:
        experts: an expert layer of either decomposition.
        x: (tokens, hidden) its input.
        g1, g2: (tokens, routing heads, keys) dense routing.
        direction: (tokens, hidden) what the output is multiplied with at each token.
        factors: S, (keys, keys); None for all ones.

    Returns:
        token (n,), flat expert id (n,) and contribution (n,), sorted by token, then expert.
    """
    hidden = experts.hidden(x)
    every = _along(experts, direction)
    scale = None if factors is None else factors.to(direction)
    routing = Routing.from_dense(g1.to(direction.dtype), g2.to(direction.dtype))
    if isinstance(hidden, Tensor):
        units: Tensor | tuple[Tensor, Tensor] = hidden.to(direction.dtype)
    else:
        units = hidden[0].to(direction.dtype), hidden[1].to(direction.dtype)
    ids, values, _ = contributions(units, routing, every, experts.keys**2, scale)
    there = ids >= 0
    if scale is not None:
        there &= scale.flatten()[ids] != 0
    token = there.nonzero()[:, 0]
    expert, contribution = ids[there], values[there]
    order = (token * experts.keys**2 + expert).argsort()
    return token, expert[order], contribution[order]
