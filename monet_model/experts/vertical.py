"""Vertical experts: each key of both sets holds half of the hidden units and of the output units."""

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


class VerticalExperts(ExpertLayer):
    """Experts whose hidden and output units split in halves, one half of the hidden units for each key (paper, 3).

    Left half of the output: ``V11_i a1_i + V12_i a2_j + b1_i``; right half: ``V21_j a1_i + V22_j a2_j + b2_j``.
    """

    @classmethod
    def check(cls, config: MonetConfig) -> None:
        if config.moe_dim % 2 or config.hidden_size % 2:
            raise ValueError(
                "vertical experts split the hidden units and the output in halves: moe_dim and hidden_size must be "
                f"even, got moe_dim={config.moe_dim}, hidden_size={config.hidden_size}."
            )

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

    def inputs(self) -> Sequence[nn.Linear]:
        return [self.u1, self.u2]

    def read_out(self, *sums: Tensor) -> Tensor:
        straight1, cross1, rows, cross2, straight2, columns = sums
        left = project(self.v11, straight1.flatten(-2)) + project(self.v12, cross1.flatten(-2)) + product(rows, self.b1)
        right = project(self.v21, cross2.flatten(-2)) + project(self.v22, straight2.flatten(-2))
        return torch.cat([left, right + product(columns, self.b2)], -1)

    def along(self, direction: Tensor) -> tuple[Tensor, ...]:
        left, right = direction.chunk(2, -1)
        units = [
            units_along(side, projection, self.keys)
            for side, projection in ((left, self.v11), (left, self.v12), (right, self.v21), (right, self.v22))
        ]
        return *units, left @ self.b1.to(direction.dtype).T, right @ self.b2.to(direction.dtype).T

    def output_parts(self, means: Sequence[Tensor]) -> list[OutputPart]:
        def own(projection: nn.Linear, mean: Tensor, bias: Tensor) -> Tensor:
            """What a key writes from its own hidden units."""
            return bias.double() + torch.einsum("kou,ku->ko", key_table(projection, self.keys), mean)

        of_first, of_second = means
        left = OutputPart(own(self.v11, of_first, self.b1), key_table(self.v12, self.keys), of_second, by_row=True)
        right = OutputPart(own(self.v22, of_second, self.b2), key_table(self.v21, self.keys), of_first, by_row=False)
        return [left, right]

    def units(self, pairs: Pairs) -> list[tuple[nn.Linear, Tensor]]:
        return [(self.u1, pairs[0]), (self.u2, pairs[1])]

    def written(self, activations: Sequence[Tensor], pairs: Pairs) -> Tensor:
        def half(key: Tensor, bias: Tensor, *projections: nn.Linear) -> Tensor:
            tables = [columns_of(one, self.keys, key) for one in projections]
            return bias[key] + sum(torch.einsum("nou,nu->no", *both) for both in zip(tables, activations, strict=True))

        left = half(pairs[0], self.b1, self.v11, self.v12)
        return torch.cat([left, half(pairs[1], self.b2, self.v21, self.v22)], -1)

    def read(self, direction: Tensor, pairs: Pairs) -> list[Tensor]:
        left, right = direction.chunk(2, -1)

        def unit(of_left: nn.Linear, of_right: nn.Linear) -> Tensor:
            by_left = torch.einsum("nou,no->nu", columns_of(of_left, self.keys, pairs[0]), left)
            return by_left + torch.einsum("nou,no->nu", columns_of(of_right, self.keys, pairs[1]), right)

        return [unit(self.v11, self.v21), unit(self.v12, self.v22)]
