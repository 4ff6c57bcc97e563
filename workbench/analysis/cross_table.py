"""What every expert did in every document, or at every token id, as a sparse table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monet_model.routing import Routing

if TYPE_CHECKING:
    from ..store import Run

ROUTING_ROWS = 4096  # token rows of sparse routing read at once
MAX_CELLS = 2**25  # active (expert, token) pairs that one table may come from: bounds memory


@dataclass(frozen=True)
class CrossTable:
    """Mass and active tokens of experts by a number that each token carries; sorted by expert, then number.

    Attributes:
        experts: the ids it covers; those that are not in it were never active.
        expert: (n,) flat ids.
        number: (n,) the numbers.
        mass: (n,) float32 sums of routing scores, from the stored half precision.
        tokens: (n,) active tokens.
    """

    experts: range
    expert: NDArray[np.int64]
    number: NDArray[np.int64]
    mass: NDArray[np.float32]
    tokens: NDArray[np.int64]

    @classmethod
    def from_parts(cls, parts: Iterator[tuple[Routing, NDArray[np.int64]]], numbers: int, experts: range) -> CrossTable:
        """From pieces of routing of the ``experts``, each with the number, below ``numbers``, of its tokens."""
        cells, masses, counts = [], [], []
        for routing, number in parts:
            token, expert, score = (values.numpy(force=True) for values in routing.pairs())
            cell, place, count = np.unique(expert * numbers + number[token], return_inverse=True, return_counts=True)
            cells.append(cell)
            masses.append(np.bincount(place, score, len(cell)))
            counts.append(count)
        cell, place = np.unique(np.concatenate(cells), return_inverse=True)
        expert, number = np.divmod(cell, numbers)
        mass, tokens = (np.bincount(place, np.concatenate(parts), len(cell)) for parts in (masses, counts))
        return cls(experts, expert, number, mass.astype(np.float32), tokens.astype(np.int64))


def cross_tables(run: Run, group: int, number: NDArray[np.int64], pairs: int) -> Iterator[CrossTable]:
    """Tables of a group's experts that together hold each once, in the order of their ids.

    Args:
        run: the run.
        group: of experts.
        number: (token rows,) a number from 0 for each token.
        pairs: active (expert, token) pairs of the group; with many of them, the routing is read several times, for a
            range of first keys each.
    """

    def parts(low: int, high: int) -> Iterator[tuple[Routing, NDArray[np.int64]]]:
        for start in range(0, run.tokens_total, ROUTING_ROWS):
            rows = slice(start, start + ROUTING_ROWS)
            yield within(run.routing(rows, group), low, high), number[rows]

    slices = max(1, min(run.num_keys, -(-pairs // MAX_CELLS)))
    edges = np.linspace(0, run.num_keys, slices + 1).astype(int).tolist()
    for low, high in pairwise(edges):
        experts = range(low * run.num_keys, high * run.num_keys)
        yield CrossTable.from_parts(parts(low, high), int(number.max()) + 1, experts)


def within(routing: Routing, low: int, high: int) -> Routing:
    """The routing with the first keys ``low <= i < high`` only; others lose their entries."""
    if (low, high) == (0, routing.num_keys):
        return routing
    kept = (routing.probs1 > 0) & (routing.indices1 >= low) & (routing.indices1 < high)
    counts = kept.sum(-1, dtype=torch.int32)
    order = torch.argsort(~kept, dim=-1, stable=True)[..., : int(counts.max()) if counts.numel() else 0]

    def pick(values: Tensor) -> Tensor:
        return values.where(kept, 0).gather(-1, order)

    indices, probs = pick(routing.indices1), pick(routing.probs1)
    return Routing(
        indices1=indices,
        probs1=probs,
        counts1=counts,
        indices2=routing.indices2,
        probs2=routing.probs2,
        counts2=routing.counts2,
        num_keys=routing.num_keys,
    )
