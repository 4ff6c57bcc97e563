"""Horizontal experts: a bottom half for each key of set 1, a top half for each key of set 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..projection import product, project
from .base import ExpertLayer, Pairs, activate, columns_of, key_table, units_along
from .output_part import OutputPart

if TYPE_CHECKING:
    from ..config import MonetConfig


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

    def inputs(self) -> Sequence[nn.Linear]:
        return [self.u]

    def read_out(self, *sums: Tensor) -> Tensor:
        top, bias = sums
        return project(self.v, top.flatten(-2)) + product(bias, self.b)

    def along(self, direction: Tensor) -> tuple[Tensor, ...]:
        return units_along(direction, self.v, self.keys), direction @ self.b.to(direction.dtype).T

    def output_parts(self, means: Sequence[Tensor]) -> list[OutputPart]:
        return [OutputPart(self.b.double(), key_table(self.v, self.keys), means[0], by_row=False)]

    def units(self, pairs: Pairs) -> list[tuple[nn.Linear, Tensor]]:
        return [(self.u, pairs[0])]

    def written(self, activations: Sequence[Tensor], pairs: Pairs) -> Tensor:
        return torch.einsum("nou,nu->no", columns_of(self.v, self.keys, pairs[1]), activations[0]) + self.b[pairs[1]]

    def read(self, direction: Tensor, pairs: Pairs) -> list[Tensor]:
        return [torch.einsum("nou,no->nu", columns_of(self.v, self.keys, pairs[1]), direction)]
