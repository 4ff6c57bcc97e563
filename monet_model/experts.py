"""The expert layers: every one of E * E experts, evaluated through the product of its keys.

Both decompositions compute ``y = sum_ij S[i, j] G[i, j] E_ij(x)`` with ``G[i, j] = sum_h g1[h, i] g2[h, j]`` (paper,
section 3) without ever forming G: the hidden units of both key sets are summed over the active pairs
(:func:`cuda_ext.mix`), and the sums go through the output projections once. S, factors for single experts, costs k * k
pairs a head instead of k; nothing else changes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cuda_ext import mix
from cuda_ext.routing import Routing

from .config import MonetConfig
from .projection import is_plain, product, project

CHUNK = 128  # tokens that inference takes at a time: what is between the projections stays in the processor's cache


def activate(projection: nn.Linear, x: Tensor, keys: int) -> Tensor:
    """The squared rectifier of ``projection(x)``, the activation inside every expert: (..., keys, units)."""
    positive = project(projection, x, "relu")
    squared = positive.square() if positive.requires_grad else positive.square_()
    return squared.unflatten(-1, (keys, -1))


class ExpertLayer(nn.Module):
    """What the decompositions share: activations of the hidden units first, then their routed combination."""

    def __init__(self, config: MonetConfig) -> None:
        super().__init__()
        self.keys = config.moe_experts

    def hidden(self, x: Tensor) -> Any:
        """Activations of the hidden units for ``x`` (..., hidden): what :func:`cuda_ext.mix` takes."""
        raise NotImplementedError

    def read_out(self, *sums: Tensor) -> Tensor:
        """Output (tokens, hidden) for what :func:`cuda_ext.mix` gives."""
        raise NotImplementedError

    def combine(self, hidden: Any, routing: Routing, factors: Tensor | None = None) -> Tensor:
        """Output (tokens, hidden) of the layer.

        Args:
            hidden: activations of the tokens' hidden units, (tokens, keys, units), a pair of them for vertical experts.
            routing: of these tokens.
            factors: S, (keys, keys), that scales the experts; None for all ones.
        """
        return self.read_out(*mix(hidden, routing, factors))

    def forward(self, x: Tensor, routing: Routing, factors: Tensor | None = None) -> Tensor:
        """Expert-layer output (..., hidden) for ``x`` (..., hidden); the rest as in :meth:`combine`."""
        tokens = x.flatten(0, -2)
        whole = torch.is_grad_enabled() or torch.compiler.is_compiling() or not all(map(is_plain, self.children()))
        if factors is not None:
            factors = factors.to(x.device)
        if whole or len(tokens) <= CHUNK:
            return self.combine(self.hidden(tokens), routing, factors).view(x.shape)
        out = torch.empty_like(tokens)
        for start in range(0, len(tokens), CHUNK):
            chunk = slice(start, start + CHUNK)
            out[chunk] = self.combine(self.hidden(tokens[chunk]), routing[chunk], factors)
        return out.view(x.shape)


class HorizontalExperts(ExpertLayer):
    """Experts ``E_ij(x) = V_j relu2(U_i x + b1_i) + b2_j`` (paper, equation 5 and following)."""

    def __init__(self, config: MonetConfig) -> None:
        super().__init__(config)
        inner = self.keys * config.moe_dim
        self.u = nn.Linear(config.hidden_size, inner)
        self.v = nn.Linear(inner, config.hidden_size, bias=False)
        self.b = nn.Parameter(torch.zeros(self.keys, config.hidden_size))

    def hidden(self, x: Tensor) -> Tensor:
        """Activations of all bottom halves: (..., keys, units) for ``x`` (..., hidden)."""
        return activate(self.u, x, self.keys)

    def read_out(self, *sums: Tensor) -> Tensor:
        top, bias = sums
        return project(self.v, top.flatten(-2)) + product(bias, self.b)


class VerticalExperts(ExpertLayer):
    """Experts whose hidden and output units split in halves, one half of the hidden units for each key (paper, 3).

    Left half of the output: ``V11_i a1_i + V12_i a2_j + b1_i``; right half: ``V21_j a1_i + V22_j a2_j + b2_j``.
    """

    def __init__(self, config: MonetConfig) -> None:
        super().__init__(config)
        inner, outer = self.keys * config.moe_dim // 2, config.hidden_size // 2
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
        return activate(self.u1, x, self.keys), activate(self.u2, x, self.keys)

    def read_out(self, *sums: Tensor) -> Tensor:
        straight1, cross1, rows, cross2, straight2, columns = sums
        left = project(self.v11, straight1.flatten(-2)) + project(self.v12, cross1.flatten(-2)) + product(rows, self.b1)
        right = project(self.v21, cross2.flatten(-2)) + project(self.v22, straight2.flatten(-2))
        return torch.cat([left, right + product(columns, self.b2)], -1)


def make_experts(config: MonetConfig) -> HorizontalExperts | VerticalExperts:
    """The expert layer that ``config.moe_decompose`` names."""
    return (VerticalExperts if config.moe_decompose == "vertical" else HorizontalExperts)(config)
