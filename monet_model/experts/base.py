"""What every decomposition of the experts shares: E * E experts, evaluated through the product of their keys.

An expert layer computes ``y = sum_ij S[i, j] G[i, j] E_ij(x)`` with ``G[i, j] = sum_h g1[h, i] g2[h, j]`` (paper,
section 3) without ever forming G: the hidden units of both key sets are summed over the active pairs
(``cuda_ext.mix``), and the sums go through the output projections once. S, the factors of an edit, costs k * k
pairs per head instead of k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cuda_ext import mix
from cuda_ext.routing import Routing

from ..projection import is_plain, project
from .output_part import OutputPart

if TYPE_CHECKING:
    from ..config import MonetConfig

Hidden = Tensor | tuple[Tensor, Tensor]
CHUNK_TOKENS = 128  # inference reads this many at a time, so that intermediate results stay in the processor's cache


def activate(projection: nn.Linear, x: Tensor, keys: int) -> Tensor:
    """The squared rectifier of ``projection(x)``, the activation inside every expert: (..., keys, units)."""
    positive = project(projection, x, "relu")
    squared = positive.square() if positive.requires_grad else positive.square_()
    return squared.unflatten(-1, (keys, -1))


class ExpertLayer(nn.Module):
    """Base of the decompositions. A new one is a subclass in a file of its own and a line in the registry.

    Subclasses store their input projections and implement ``inputs``, ``hidden``, ``read_out``,
    ``along`` and ``output_parts``; the model, attribution, output directions and the TransformerLens bridge ask
    for nothing else.
    """

    def __init__(self, config: MonetConfig) -> None:
        super().__init__()
        self.keys = config.moe_experts

    @classmethod
    def check(cls, config: MonetConfig) -> None:
        """Raise ValueError if a configuration has sizes that this decomposition cannot be built with."""

    def inputs(self) -> Sequence[nn.Linear]:
        """The projections that read the layer's input, one per tensor of ``hidden``, in its order."""
        raise NotImplementedError

    def hidden(self, x: Tensor) -> Hidden:
        """Activations of the hidden units for ``x`` (..., hidden), as ``cuda_ext.mix`` takes them.

        (..., keys, units) where the units belong to one key set, a pair of such tensors where they belong to both.
        """
        raise NotImplementedError

    def read_out(self, *sums: Tensor) -> Tensor:
        """Output (tokens, hidden) from the sums that ``cuda_ext.mix`` returns."""
        raise NotImplementedError

    def along(self, direction: Tensor) -> tuple[Tensor, ...]:
        """What every hidden unit and bias adds along a direction, as ``cuda_ext.contributions`` takes them.

        Args:
            direction: (tokens, hidden); the results have its dtype.

        Returns:
            ``direction . V`` of every hidden unit, (tokens, keys, units) each, then ``direction . b``, (tokens, keys)
            each.
        """
        raise NotImplementedError

    def output_parts(self, means: Sequence[Tensor]) -> list[OutputPart]:
        """The output of every expert at fixed activations of the hidden units, as a product of its keys.

        Args:
            means: (keys, units) float64 activations, one per tensor of ``hidden``.
        """
        raise NotImplementedError

    def combine(self, hidden: Hidden, routing: Routing, factors: Tensor | None = None) -> Tensor:
        """Output (tokens, hidden) of the layer.

        Args:
            hidden: activations of the hidden units, as ``hidden`` returns them for (tokens, hidden).
            routing: the routing of these tokens.
            factors: S, (keys, keys), which scales the experts; None for all ones.
        """
        return self.read_out(*mix(hidden, routing, factors))

    def forward(self, x: Tensor, routing: Routing, factors: Tensor | None = None) -> Tensor:
        """Expert-layer output (..., hidden) for ``x`` (..., hidden); the rest as in ``combine``."""
        tokens = x.flatten(0, -2)
        whole = torch.is_grad_enabled() or torch.compiler.is_compiling() or not all(map(is_plain, self.children()))
        if factors is not None:
            factors = factors.to(x.device)
        if whole or len(tokens) <= CHUNK_TOKENS:
            return self.combine(self.hidden(tokens), routing, factors).view(x.shape)
        out = torch.empty_like(tokens)
        for start in range(0, len(tokens), CHUNK_TOKENS):
            chunk = slice(start, start + CHUNK_TOKENS)
            out[chunk] = self.combine(self.hidden(tokens[chunk]), routing[chunk], factors)
        return out.view(x.shape)


def key_table(projection: nn.Linear, keys: int) -> Tensor:
    """The weights of an output projection by key, in float64: (keys, out, units)."""
    return projection.weight.double().unflatten(1, (keys, -1)).transpose(0, 1)


def units_along(side: Tensor, projection: nn.Linear, keys: int) -> Tensor:
    """``side . V`` of every hidden unit behind a projection: (tokens, keys, units) for ``side`` (tokens, out)."""
    return (side @ projection.weight.to(side.dtype)).unflatten(-1, (keys, -1))
