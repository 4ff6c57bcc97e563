"""Outputs of all experts of a layer at fixed activations, as products of their keys."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class OutputPart:
    """Some output units of all experts of a layer: ``base[a] + read[a] @ other[b]`` for an expert with keys a and b.

    Attributes:
        base: (keys, out) what key a writes without the other key.
        read: (keys, out, units) how key a reads the hidden units of key b.
        other: (keys, units) activations of the hidden units of key b.
        by_row: whether a is the key of set 1 and b the key of set 2, or the reverse.
    """

    base: Tensor
    read: Tensor
    other: Tensor
    by_row: bool

    def vector(self, i: int, j: int) -> Tensor:
        """Output (out,) of expert (i, j)."""
        a, b = (i, j) if self.by_row else (j, i)
        return self.base[a] + self.read[a] @ self.other[b]

    def dots(self, target: Tensor) -> Tensor:
        """Product of every expert's output with a target (out,): (keys, keys), by (i, j)."""
        products = (self.base @ target)[:, None] + torch.einsum("aou,o->au", self.read, target) @ self.other.T
        return products if self.by_row else products.T

    def squares(self) -> Tensor:
        """Squared length of every expert's output: (keys, keys), by (i, j)."""
        cross = torch.einsum("ao,aou->au", self.base, self.read) @ self.other.T
        gram = torch.einsum("aou,aov->auv", self.read, self.read).flatten(1)
        pairs = torch.einsum("bu,bv->buv", self.other, self.other).flatten(1)
        products = self.base.square().sum(1)[:, None] + 2 * cross + gram @ pairs.T
        return products if self.by_row else products.T
