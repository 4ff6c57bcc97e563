"""The expert layers: every one of E * E experts, evaluated through the product of its keys.

Both decompositions compute ``y = sum_ij G[i, j] E_ij(x)`` with ``G[i, j] = sum_h g1[h, i] g2[h, j]`` (paper, section 3)
without ever forming G: the sums over i and j factor, so a layer costs two matrix products over E * moe_dim hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import MonetConfig


def relu2(x: Tensor) -> Tensor:
    """Squared rectifier, the activation inside every expert."""
    return torch.relu(x).square()


class HorizontalExperts(nn.Module):
    """Experts ``E_ij(x) = V_j relu2(U_i x + b1_i) + b2_j`` (paper, equation 5 and following)."""

    def __init__(self, config: MonetConfig) -> None:
        super().__init__()
        self.keys, self.units = config.moe_experts, config.moe_dim
        self.u = nn.Linear(config.hidden_size, self.keys * self.units)
        self.v = nn.Linear(self.keys * self.units, config.hidden_size, bias=False)
        self.b = nn.Parameter(torch.zeros(self.keys, config.hidden_size))

    def hidden(self, x: Tensor) -> Tensor:
        """Activations of all bottom halves: (..., keys, units) for ``x`` (..., hidden)."""
        return relu2(self.u(x)).unflatten(-1, (self.keys, self.units))

    def forward(self, x: Tensor, g1: Tensor, g2: Tensor) -> Tensor:
        """Expert-layer output (..., hidden) for ``x`` (..., hidden) and dense routing (..., heads, keys)."""
        a = self.hidden(x)
        mixed = g1.to(a.dtype) @ a  # (..., heads, units): bottom halves weighted by key set 1
        weights = g2.to(a.dtype)
        top = weights.mT @ mixed  # (..., keys, units)
        bias = (g1.sum(-1, keepdim=True) * g2).sum(-2).to(a.dtype)  # (..., keys)
        return self.v(top.flatten(-2)) + bias @ self.b.to(a.dtype)


class VerticalExperts(nn.Module):
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
        """Activations a1, a2 of both key sets: (..., keys, units) each for ``x`` (..., hidden)."""
        shape = (self.keys, self.units)
        return relu2(self.u1(x)).unflatten(-1, shape), relu2(self.u2(x)).unflatten(-1, shape)

    def forward(self, x: Tensor, g1: Tensor, g2: Tensor) -> Tensor:
        """Expert-layer output (..., hidden) for ``x`` (..., hidden) and dense routing (..., heads, keys)."""
        a1, a2 = self.hidden(x)
        # Row and column sums of G; a hook or an edit may leave g unnormalised, so its sums are not taken to be 1.
        rows = (g1 * g2.sum(-1, keepdim=True)).sum(-2).to(a1.dtype)  # (..., keys)
        columns = (g2 * g1.sum(-1, keepdim=True)).sum(-2).to(a1.dtype)
        g1, g2 = g1.to(a1.dtype), g2.to(a1.dtype)
        mixed1, mixed2 = g1 @ a1, g2 @ a2  # (..., heads, units)
        straight1, straight2 = rows[..., None] * a1, columns[..., None] * a2  # (..., keys, units)
        cross1, cross2 = g1.mT @ mixed2, g2.mT @ mixed1
        return self.project(straight1, cross1, rows, cross2, straight2, columns)

    def project(
        self, left1: Tensor, left2: Tensor, rows: Tensor, right1: Tensor, right2: Tensor, columns: Tensor
    ) -> Tensor:
        """Output projections of weighted activations (..., keys, units) and biases weighted by (..., keys)."""
        left = self.v11(left1.flatten(-2)) + self.v12(left2.flatten(-2)) + rows @ self.b1.to(rows.dtype)
        right = self.v21(right1.flatten(-2)) + self.v22(right2.flatten(-2)) + columns @ self.b2.to(rows.dtype)
        return torch.cat([left, right], -1)


def make_experts(config: MonetConfig) -> HorizontalExperts | VerticalExperts:
    """The expert layer that ``config.moe_decompose`` names."""
    return (VerticalExperts if config.moe_decompose == "vertical" else HorizontalExperts)(config)
