"""Every active (expert, token) of a range of experts, and sums of them by a number that each token carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cuda_ext.routing import Routing

from ..progress import Progress, silent

if TYPE_CHECKING:
    from ..store import Run

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]

ROUTING_ROWS = 4096  # token rows of sparse routing read at once
MAX_PAIRS = 2**24  # active pairs held at once: bounds memory
SCORE_BITS = 32


@dataclass(frozen=True)
class Activations:
    """Active pairs of a range of experts, each once, sorted by expert, then token row.

    Attributes:
        experts: the ids covered; one that does not occur was never active.
        expert: (n,) flat ids.
        row: (n,) token rows.
        score: (n,) float32 scores, summed over heads, from the stored half precision.
    """

    experts: range
    expert: NDArray[np.int64]
    row: NDArray[np.int64]
    score: NDArray[np.float32]

    def by(self, number: NDArray[np.int64]) -> CrossTable:
        """Sums by a number of each token, (token rows,), that never falls from a row to the next."""
        of_row = number[self.row]
        fresh = np.ones(len(of_row), bool)
        fresh[1:] = (np.diff(self.expert) != 0) | (np.diff(of_row) != 0)
        starts = np.flatnonzero(fresh)
        mass = np.add.reduceat(self.score, starts) if len(starts) else self.score
        return CrossTable(self.expert[starts], of_row[starts], mass, np.diff(starts, append=len(of_row)))

    def counts(self, number: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """How often each expert is active at tokens of each number, (token rows,): expert, number and count."""
        numbers = int(number.max()) + 1
        cell = np.sort(self.expert * numbers + number[self.row])
        starts = np.flatnonzero(np.diff(cell, prepend=-1))
        return *np.divmod(cell[starts], numbers), np.diff(starts, append=len(cell))


@dataclass(frozen=True)
class CrossTable:
    """Mass and active tokens of experts by a number that each token carries; sorted by expert, then number.

    Attributes:
        expert: (n,) flat ids.
        number: (n,) the numbers.
        mass: (n,) float32 sums of scores.
        tokens: (n,) active tokens.
    """

    expert: NDArray[np.int64]
    number: NDArray[np.int64]
    mass: NDArray[np.float32]
    tokens: NDArray[np.int64]


def read_activations(run: Run, group: int, advance: Progress = silent) -> Iterator[Activations]:
    """All activations of a group whose routing the run holds, a range of its experts at a time, in order of the ids.

    With more than :data:`MAX_PAIRS` of them, the routing is read several times, for a range of first keys each.

    Args:
        run, group: where the experts are.
        advance: called with the active pairs read since its last call.
    """
    keys = run.num_keys
    for low, high in pairwise(key_edges(run, group)):
        experts: list[NDArray[np.int64]] = []
        rows: list[NDArray[np.int64]] = []
        scores: list[NDArray[np.float32]] = []
        for start in range(0, run.tokens_total, ROUTING_ROWS):
            routing = within(run.kept_routing(slice(start, start + ROUTING_ROWS), group), low, high)
            for expert, token, score in active_pairs(routing):
                experts.append(expert)
                rows.append(start + token)
                scores.append(score)
                advance(len(expert))
        expert, row, score = np.concatenate(experts), np.concatenate(rows), np.concatenate(scores)
        order = np.argsort(expert, kind="stable")  # rows ascend already
        yield Activations(range(low * keys, high * keys), expert[order], row[order], score[order])


def key_edges(run: Run, group: int) -> list[int]:
    """First keys at which to cut, so that no range has many more than :data:`MAX_PAIRS` active pairs."""
    experts = run.experts(group)
    by_key = np.bincount(experts.index.to_numpy() // run.num_keys, experts["tokens"], run.num_keys)
    piece = np.cumsum(by_key) // MAX_PAIRS
    return [0, *(np.flatnonzero(np.diff(piece)) + 1).tolist(), run.num_keys]


def active_pairs(routing: Routing) -> Iterator[Pairs]:
    """Every active (expert, token) once, in pieces of consecutive tokens.

    Yields:
        Flat id, token (from 0) and score summed over heads, each (n,); sorted by expert, then token.
    """
    token_bits = 63 - SCORE_BITS - (routing.num_keys**2 - 1).bit_length()
    for first in range(0, len(routing), 1 << token_bits):
        expert, token, score = _merged(routing[first : first + (1 << token_bits)], token_bits)
        yield expert, first + token, score


def _merged(routing: Routing, token_bits: int) -> Pairs:
    """A piece of :func:`active_pairs`, of so few tokens that their numbers take ``token_bits``.

    Expert, token and float32 score are packed into the bits of one integer, so that one fast sort brings the heads of a
    token together; positive floats are ordered as their bits are.
    """
    scores = routing.probs1.float()[..., :, None] * routing.probs2.float()[..., None, :]  # (tokens, heads, k1, k2)
    first = routing.indices1.long() * routing.num_keys << token_bits
    first += torch.arange(len(routing), device=first.device)[:, None, None]
    places = first[..., :, None] + (routing.indices2.long() << token_bits)[..., None, :]
    active = scores > 0
    bits = scores[active].view(torch.int32).long()
    packed = np.sort(((places[active] << SCORE_BITS) | bits).numpy(force=True))
    score = (packed & (2**SCORE_BITS - 1)).astype(np.uint32).view(np.float32)
    place = packed >> SCORE_BITS
    fresh = np.diff(place, prepend=-1) != 0
    if not fresh.all():  # experts that a token reaches through several heads
        starts = np.flatnonzero(fresh)
        place, score = place[starts], np.add.reduceat(score, starts)
    return place >> token_bits, place & ((1 << token_bits) - 1), score


def within(routing: Routing, low: int, high: int) -> Routing:
    """The routing with the first keys ``low <= i < high`` only; others lose their entries."""
    if (low, high) == (0, routing.num_keys):
        return routing
    kept = (routing.probs1 > 0) & (routing.indices1 >= low) & (routing.indices1 < high)
    counts = kept.sum(-1, dtype=torch.int32)
    order = torch.argsort(~kept, dim=-1, stable=True)[..., : int(counts.max()) if counts.numel() else 0]

    def pick(values: Tensor) -> Tensor:
        return values.where(kept, 0).gather(-1, order)

    return Routing(
        indices1=pick(routing.indices1),
        probs1=pick(routing.probs1),
        counts1=counts,
        indices2=routing.indices2,
        probs2=routing.probs2,
        counts2=routing.counts2,
        num_keys=routing.num_keys,
    )
