"""The expert layers: every one of E * E experts, evaluated through the product of its keys.

Both decompositions compute ``y = sum_ij G[i, j] E_ij(x)`` with ``G[i, j] = sum_h g1[h, i] g2[h, j]`` (paper, section 3)
without ever forming G: the sums over i and j factor, so a layer costs two matrix products over E * moe_dim hidden
units.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .config import MonetConfig
from .masked import combine_edited
from .routing import Routing


def _unit_major(projection: nn.Linear, x: Tensor, keys: int, units: int) -> Tensor:
    """``projection(x)`` as (..., units, keys).

    Published weights order hidden units by key, then unit. Permuting the small weight instead of the large activation
    leaves the keys innermost, where every later step runs over contiguous memory.
    """
    weight = projection.weight.view(keys, units, -1).transpose(0, 1).flatten(0, 1)
    bias = projection.bias.view(keys, units).mT.flatten()
    return nn.functional.linear(x, weight, bias).unflatten(-1, (units, keys))


def _project(projection: nn.Linear, units_keys: Tensor, keys: int, units: int) -> Tensor:
    """``projection`` of hidden units given as (..., units, keys)."""
    weight = projection.weight.view(-1, keys, units).mT.flatten(1)
    return nn.functional.linear(units_keys.flatten(-2), weight)


def relu2(x: Tensor) -> Tensor:
    """Squared rectifier, the activation inside every expert."""
    return torch.relu(x).square()


class ExpertLayer(nn.Module):
    """What the decompositions share: activations of the hidden units first, then their routed combination."""

    keys: int
    units: int

    def hidden(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Activations of the hidden units for ``x`` (..., hidden); the shape is the decomposition's."""
        raise NotImplementedError

    def combine(self, hidden: Any, g1: Tensor, g2: Tensor) -> Tensor:
        """Layer output (..., hidden) for what :meth:`hidden` gave and dense routing (..., heads, keys)."""
        raise NotImplementedError

    def forward(self, x: Tensor, g1: Tensor, g2: Tensor, factors: Tensor | None = None) -> Tensor:
        """Expert-layer output (..., hidden) for ``x`` (..., hidden) and dense routing (..., heads, keys).

        With ``factors`` (E, E) single experts are scaled, as in :func:`monet_model.masked.edited_output`.
        """
        if factors is None:
            return self.combine(self.hidden(x), g1, g2)
        return combine_edited(self, self.hidden(x), Routing.from_dense(g1, g2), factors)


class HorizontalExperts(ExpertLayer):
    """Experts ``E_ij(x) = V_j relu2(U_i x + b1_i) + b2_j`` (paper, equation 5 and following)."""

    def __init__(self, config: MonetConfig) -> None:
        super().__init__()
        self.keys, self.units = config.moe_experts, config.moe_dim
        self.u = nn.Linear(config.hidden_size, self.keys * self.units)
        self.v = nn.Linear(self.keys * self.units, config.hidden_size, bias=False)
        self.b = nn.Parameter(torch.zeros(self.keys, config.hidden_size))

    def hidden(self, x: Tensor) -> Tensor:
        """Activations of all bottom halves: (..., units, keys) for ``x`` (..., hidden)."""
        return relu2(_unit_major(self.u, x, self.keys, self.units))

    def combine(self, hidden: Tensor, g1: Tensor, g2: Tensor) -> Tensor:
        """Expert-layer output (..., hidden) for hidden activations and dense routing (..., heads, keys)."""
        a = hidden
        mixed = a @ g1.to(a.dtype).mT  # (..., units, heads): bottom halves weighted by key set 1
        bias = (g1.sum(-1, keepdim=True) * g2).sum(-2).to(a.dtype)  # (..., keys)
        return self.project(mixed @ g2.to(a.dtype), bias)

    def project(self, top: Tensor, bias: Tensor) -> Tensor:
        """Output projection of weighted activations (..., units, keys) and biases weighted by (..., keys)."""
        return _project(self.v, top, self.keys, self.units) + bias @ self.b.to(bias.dtype)


class VerticalExperts(ExpertLayer):
    """Experts whose hidden and output units split in halves, one half of the hidden units for each key (paper, 3).

    Left half of the output: ``V11_i a1_i + V12_i a2_j + b1_i``; right half: ``V21_j a1_i + V22_j a2_j + b2_j``.
    """

    def __init__(self, config: MonetConfig) -> None:
        super().__init__()
        self.keys, self.units = config.moe_experts, config.moe_dim // 2
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
        return relu2(_unit_major(self.u1, x, *shape)), relu2(_unit_major(self.u2, x, *shape))

    def combine(self, hidden: tuple[Tensor, Tensor], g1: Tensor, g2: Tensor) -> Tensor:
        """Expert-layer output (..., hidden) for hidden activations and dense routing (..., heads, keys)."""
        a1, a2 = hidden
        # Row and column sums of G; a hook or an edit may leave g unnormalised, so its sums are not taken to be 1.
        rows = (g1 * g2.sum(-1, keepdim=True)).sum(-2).to(a1.dtype)  # (..., keys)
        columns = (g2 * g1.sum(-1, keepdim=True)).sum(-2).to(a1.dtype)
        g1, g2 = g1.to(a1.dtype), g2.to(a1.dtype)
        straight1, straight2 = rows[..., None, :] * a1, columns[..., None, :] * a2  # (..., units, keys)
        cross1, cross2 = (a2 @ g2.mT) @ g1, (a1 @ g1.mT) @ g2  # through (..., units, heads)
        return self.project(straight1, cross1, rows, cross2, straight2, columns)

    def project(
        self, left1: Tensor, left2: Tensor, rows: Tensor, right1: Tensor, right2: Tensor, columns: Tensor
    ) -> Tensor:
        """Output projections of weighted activations (..., units, keys) and biases weighted by (..., keys)."""
        shape = (self.keys, self.units)
        left = _project(self.v11, left1, *shape) + _project(self.v12, left2, *shape)
        right = _project(self.v21, right1, *shape) + _project(self.v22, right2, *shape)
        left, right = left + rows @ self.b1.to(rows.dtype), right + columns @ self.b2.to(rows.dtype)
        return torch.cat([left, right], -1)


def make_experts(config: MonetConfig) -> HorizontalExperts | VerticalExperts:
    """The expert layer that ``config.moe_decompose`` names."""
    return (VerticalExperts if config.moe_decompose == "vertical" else HorizontalExperts)(config)
