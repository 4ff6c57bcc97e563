"""The expert layers: every one of E * E experts, evaluated through the product of its keys.

Both decompositions compute ``y = sum_ij G[i, j] E_ij(x)`` with ``G[i, j] = sum_h g1[h, i] g2[h, j]`` (paper, section 3)
without ever forming G: the sums over i and j factor, so a layer costs two matrix products over E * moe_dim hidden
units. With single experts scaled, ``y = sum_ij S[i, j] G[i, j] E_ij(x)``, the sums run over the active pairs instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .active import active_sums, read_out, spread
from .config import MonetConfig
from .routing import Routing


def _plain(projection: nn.Module) -> bool:
    """Whether a projection is its weight and no more: no adapter wraps it, no hook watches it or brings its weight."""
    return type(projection) is nn.Linear and not (
        projection._forward_hooks or projection._forward_pre_hooks or hasattr(projection, "_hf_hook")
    )


def _units_first(tokens: int, projection: nn.Linear) -> bool:
    """Whether to permute a projection's weight: if that is all there is to it and it is smaller than what it maps."""
    return _plain(projection) and tokens >= min(projection.weight.shape)


def _hidden(projection: nn.Linear, x: Tensor, keys: int, units: int) -> Tensor:
    """``projection(x)`` as (..., units, keys).

    Published weights order hidden units by key, then unit. With the keys innermost, every later step runs over
    contiguous memory; so the weight is permuted, unless the tokens are so few that it is the larger.
    """
    if not _units_first(x[..., 0].numel(), projection):
        return projection(x).unflatten(-1, (keys, units)).mT
    weight = projection.weight.view(keys, units, -1).transpose(0, 1).flatten(0, 1)
    bias = projection.bias.view(keys, units).mT.flatten()
    return nn.functional.linear(x, weight, bias).unflatten(-1, (units, keys))


def _project(projection: nn.Linear, units_keys: Tensor, keys: int, units: int) -> Tensor:
    """``projection`` of hidden units given as (..., units, keys)."""
    if not _units_first(units_keys[..., 0, 0].numel(), projection):
        return projection(units_keys.mT.flatten(-2))
    weight = projection.weight.view(-1, keys, units).mT.flatten(1)
    return nn.functional.linear(units_keys.flatten(-2), weight)


def _table(projection: nn.Linear, keys: int) -> Tensor:
    """The weight of a projection of hidden units as (units, keys, out)."""
    return projection.weight.view(len(projection.weight), keys, -1).permute(2, 1, 0)


def relu2(x: Tensor) -> Tensor:
    """Squared rectifier, the activation inside every expert."""
    return torch.relu(x).square()


class ExpertLayer(nn.Module):
    """What the decompositions share: activations of the hidden units first, then their routed combination."""

    def __init__(self, config: MonetConfig) -> None:
        super().__init__()
        self.keys = config.moe_experts

    def hidden(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Activations of the hidden units for ``x`` (..., hidden); the shape is the decomposition's."""
        raise NotImplementedError

    def combine(
        self, hidden: Any, g1: Tensor, g2: Tensor, factors: Tensor | None = None, routing: Routing | None = None
    ) -> Tensor:
        """Layer output (..., hidden) for what :meth:`hidden` gave.

        Args:
            hidden: what :meth:`hidden` gave.
            g1, g2: (..., heads, keys) dense routing.
            factors: (keys, keys) factors that scale the experts.
            routing: the same routing, sparse. Given, it is what is used: of advantage where few keys are active.
        """
        whole = routing is None or not all(_plain(module) for module in self.children())
        if factors is None and whole:
            return self.combine_factored(hidden, g1, g2)
        a1, a2 = (a.flatten(0, -3) for a in self.sides(hidden))
        sums = active_sums(a1, a2, routing or Routing.from_dense(g1, g2), factors)
        if whole:  # output weights are read as the projections they are; else only those of active keys
            spreads = [
                (spread(to1, some.indices1, self.keys), spread(to2, some.indices2, self.keys))
                for some, _, _, to1, to2 in sums
            ]
            out = self.combine_spread(a1, a2, *(torch.cat(side).to(a1.dtype) for side in zip(*spreads, strict=True)))
        else:
            tables = self.tables()
            parts = [
                [read_out(*side, table) for side, table in zip(self.active_values(*some), tables, strict=True)]
                for some in sums
            ]
            out = torch.cat([torch.cat(sides, -1) for sides in parts])
        return out.unflatten(0, g1.shape[:-2])

    def combine_factored(self, hidden: Any, g1: Tensor, g2: Tensor) -> Tensor:
        """Output of the unedited layer: the sums over i and over j factor."""
        raise NotImplementedError

    def sides(self, hidden: Any) -> tuple[Tensor, Tensor]:
        """Activations (..., units, keys) of key sets 1 and 2."""
        raise NotImplementedError

    def active_values(
        self, routing: Routing, here1: Tensor, here2: Tensor, to1: Tensor, to2: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """What the output weights of active keys multiply, (tokens, heads, units, k), and the keys; by key set.

        Args: as :func:`monet_model.active.active_sums` yields them.
        """
        raise NotImplementedError

    def tables(self) -> list[Tensor]:
        """For each of :meth:`active_values`, the output weights: (units, keys, out)."""
        raise NotImplementedError

    def combine_spread(self, a1: Tensor, a2: Tensor, to1: Tensor, to2: Tensor) -> Tensor:
        """Output (tokens, hidden) of sums spread over all keys, (tokens, units, keys); the last unit sums weights."""
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        g1: Tensor,
        g2: Tensor,
        factors: Tensor | None = None,
        routing: Routing | None = None,
    ) -> Tensor:
        """Expert-layer output (..., hidden) for ``x`` (..., hidden); the rest as in :meth:`combine`."""
        return self.combine(self.hidden(x), g1, g2, factors, routing)


class HorizontalExperts(ExpertLayer):
    """Experts ``E_ij(x) = V_j relu2(U_i x + b1_i) + b2_j`` (paper, equation 5 and following)."""

    def __init__(self, config: MonetConfig) -> None:
        super().__init__(config)
        self.units = config.moe_dim
        self.u = nn.Linear(config.hidden_size, self.keys * self.units)
        self.v = nn.Linear(self.keys * self.units, config.hidden_size, bias=False)
        self.b = nn.Parameter(torch.zeros(self.keys, config.hidden_size))

    def hidden(self, x: Tensor) -> Tensor:
        """Activations of all bottom halves: (..., units, keys) for ``x`` (..., hidden)."""
        return relu2(_hidden(self.u, x, self.keys, self.units))

    def combine_factored(self, hidden: Tensor, g1: Tensor, g2: Tensor) -> Tensor:
        a = hidden
        mixed = a @ g1.to(a.dtype).mT  # (..., units, heads): bottom halves weighted by key set 1
        bias = (g1.sum(-1, keepdim=True) * g2).sum(-2).to(a.dtype)  # (..., keys)
        return self._project(mixed @ g2.to(a.dtype), bias)

    def sides(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return hidden, hidden[..., :0, :]

    def active_values(
        self, routing: Routing, here1: Tensor, here2: Tensor, to1: Tensor, to2: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        return [(to2, routing.indices2)]

    def tables(self) -> list[Tensor]:
        return [torch.cat([_table(self.v, self.keys), self.b[None]])]

    def combine_spread(self, a1: Tensor, a2: Tensor, to1: Tensor, to2: Tensor) -> Tensor:
        return self._project(to2[:, :-1], to2[:, -1])

    def _project(self, top: Tensor, bias: Tensor) -> Tensor:
        return _project(self.v, top, self.keys, self.units) + bias @ self.b.to(bias.dtype)


class VerticalExperts(ExpertLayer):
    """Experts whose hidden and output units split in halves, one half of the hidden units for each key (paper, 3).

    Left half of the output: ``V11_i a1_i + V12_i a2_j + b1_i``; right half: ``V21_j a1_i + V22_j a2_j + b2_j``.
    """

    def __init__(self, config: MonetConfig) -> None:
        super().__init__(config)
        self.units = config.moe_dim // 2
        inner, outer = self.keys * self.units, config.hidden_size // 2
        self.u1 = nn.Linear(config.hidden_size, inner)
        self.u2 = nn.Linear(config.hidden_size, inner)
        self.v11 = nn.Linear(inner, outer, bias=False)
        self.v12 = nn.Linear(inner, outer, bias=False)
        self.v21 = nn.Linear(inner, outer, bias=False)
        self.v22 = nn.Linear(inner, outer, bias=False)
        self.b1 = nn.Parameter(torch.zeros(self.keys, outer))
        self.b2 = nn.Parameter(torch.zeros(self.keys, outer))

    def hidden(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Activations a1, a2 of both key sets: (..., units, keys) each for ``x`` (..., hidden)."""
        shape = (self.keys, self.units)
        return relu2(_hidden(self.u1, x, *shape)), relu2(_hidden(self.u2, x, *shape))

    def combine_factored(self, hidden: tuple[Tensor, Tensor], g1: Tensor, g2: Tensor) -> Tensor:
        a1, a2 = hidden
        # Row and column sums of G; a hook or an edit may leave g unnormalised, so its sums are not taken to be 1.
        rows = (g1 * g2.sum(-1, keepdim=True)).sum(-2).to(a1.dtype)  # (..., keys)
        columns = (g2 * g1.sum(-1, keepdim=True)).sum(-2).to(a1.dtype)
        g1, g2 = g1.to(a1.dtype), g2.to(a1.dtype)
        left = self._left(a1, (a2 @ g2.mT) @ g1, rows)  # through (..., units, heads)
        return torch.cat([left, self._right(a2, (a1 @ g1.mT) @ g2, columns)], -1)

    def sides(self, hidden: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return hidden

    def active_values(
        self, routing: Routing, here1: Tensor, here2: Tensor, to1: Tensor, to2: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        return [
            (torch.cat([here1 * to1[:, :, -1:], to1], 2), routing.indices1),
            (torch.cat([here2 * to2[:, :, -1:], to2], 2), routing.indices2),
        ]

    def tables(self) -> list[Tensor]:
        sides = ((self.v11, self.v12, self.b1), (self.v22, self.v21, self.b2))
        return [torch.cat([_table(v, self.keys), _table(w, self.keys), b[None]]) for v, w, b in sides]

    def combine_spread(self, a1: Tensor, a2: Tensor, to1: Tensor, to2: Tensor) -> Tensor:
        left = self._left(a1, to1[:, :-1], to1[:, -1])
        return torch.cat([left, self._right(a2, to2[:, :-1], to2[:, -1])], -1)

    def _left(self, a1: Tensor, cross: Tensor, rows: Tensor) -> Tensor:
        """Left half of the output, for sums over j of a2 (..., units, keys) and of the weights (..., keys)."""
        shape = (self.keys, self.units)
        straight = _project(self.v11, rows[..., None, :] * a1, *shape)
        return straight + _project(self.v12, cross, *shape) + rows @ self.b1.to(rows.dtype)

    def _right(self, a2: Tensor, cross: Tensor, columns: Tensor) -> Tensor:
        """Right half of the output, for sums over i of a1 and of the weights."""
        shape = (self.keys, self.units)
        crossed = _project(self.v21, cross, *shape)
        return crossed + _project(self.v22, columns[..., None, :] * a2, *shape) + columns @ self.b2.to(columns.dtype)


def make_experts(config: MonetConfig) -> HorizontalExperts | VerticalExperts:
    """The expert layer that ``config.moe_decompose`` names."""
    return (VerticalExperts if config.moe_decompose == "vertical" else HorizontalExperts)(config)
