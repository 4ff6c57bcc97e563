"""Factors of experts that differ from token to token: a few factor matrices, and which of them holds at each token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cuda_ext.routing import Routing


@dataclass(frozen=True)
class TokenFactors:
    """S of each token, where an edit holds at some of them only.

    Attributes:
        matrices: the (E, E) factors that occur; None stands for all ones.
        which: (tokens,) int64, the place in ``matrices`` of each token's factors.
    """

    matrices: tuple[Tensor | None, ...]
    which: Tensor

    def __getitem__(self, tokens: slice | Tensor) -> TokenFactors:
        """The factors of the tokens that a slice or an index tensor selects."""
        return replace(self, which=self.which[tokens])

    def to(self, device: torch.device) -> TokenFactors:
        """A copy on another device."""
        moved = tuple(None if matrix is None else matrix.to(device) for matrix in self.matrices)
        return TokenFactors(moved, self.which.to(device))

    def times(self, factors: Tensor) -> TokenFactors:
        """These factors, each multiplied with the same (E, E) matrix."""
        return replace(
            self,
            matrices=tuple(
                factors if matrix is None else factors * matrix.to(factors.device) for matrix in self.matrices
            ),
        )

    def split(self, routing: Routing) -> Iterator[tuple[Routing, Tensor | None]]:
        """The routing in parts that sum to it, each with the one matrix that scales it.

        A part lists the keys of the tokens that its matrix holds at, and none at the others, so that whatever is summed
        over active pairs is the sum over the parts. Shapes do not depend on values.
        """
        for place, matrix in enumerate(self.matrices):
            here = self.which == place
            probs = routing.probs1.where(here[:, None, None], 0)
            yield replace(routing, probs1=probs, counts1=routing.counts1 * here[:, None]), matrix

    def at(self, token: Tensor, expert: Tensor) -> Tensor:
        """The factors (n,) of flat expert ids (n,) at tokens (n,)."""
        found = torch.ones(len(expert), device=expert.device)
        for place, matrix in enumerate(self.matrices):
            if matrix is not None:
                here = self.which.to(token.device)[token] == place
                found = torch.where(here, matrix.to(expert.device).flatten()[expert].to(found.dtype), found)
        return found


Factors = Tensor | TokenFactors


def factors_of(factors: Factors | None, token: Tensor, expert: Tensor) -> Tensor:
    """The factors (n,) of flat expert ids (n,) at tokens (n,); ones without an edit."""
    if isinstance(factors, TokenFactors):
        return factors.at(token, expert)
    if factors is None:
        return torch.ones(len(expert), device=expert.device)
    return factors.to(expert.device).flatten()[expert]
