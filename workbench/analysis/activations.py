"""Every active (expert, token) of a range of experts, and sums of them by a number that each token carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..progress import Progress, silent

if TYPE_CHECKING:
    from cuda_ext.routing import Routing

    from ..store import Run

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]

ROUTING_ROWS = 4096  # token rows of sparse routing read at once
MAX_PAIRS = 2**24  # active pairs held at once: bounds memory


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

    def merged(self, into: NDArray[np.int64]) -> CrossTable:
        """The table by a coarser number: ``into``, (numbers,), says which one each of these belongs to."""
        number = into[self.number]
        if not len(number) or bool(((np.diff(self.expert) != 0) | (np.diff(number) > 0)).all()):
            return CrossTable(self.expert, number, self.mass, self.tokens)
        order = np.lexsort((number, self.expert))
        expert, number = self.expert[order], number[order]
        starts = np.flatnonzero((np.diff(expert, prepend=-1) != 0) | (np.diff(number, prepend=-1) != 0))
        sums = (np.add.reduceat(column[order], starts) for column in (self.mass, self.tokens))
        return CrossTable(expert[starts], number[starts], *sums)

    def only(self, chosen: NDArray[np.bool_]) -> CrossTable:
        """The cells of chosen numbers; ``chosen``, (numbers,)."""
        kept = chosen[self.number]
        return CrossTable(self.expert[kept], self.number[kept], self.mass[kept], self.tokens[kept])


def read_activations(run: Run, group: int, advance: Progress = silent) -> Iterator[Activations]:
    """All activations of a group whose routing the run holds, a range of its experts at a time, in order of the ids.

    With more than ``MAX_PAIRS`` of them, the routing is read several times, for a range of first keys each.

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
            routing = run.kept_routing(slice(start, start + ROUTING_ROWS), group).first_keys(low, high)
            for expert, token, score in active_pairs(routing):
                experts.append(expert)
                rows.append(start + token)
                scores.append(score)
                advance(len(expert))
        expert, row, score = np.concatenate(experts), np.concatenate(rows), np.concatenate(scores)
        order = np.argsort(expert, kind="stable")  # rows ascend already
        yield Activations(range(low * keys, high * keys), expert[order], row[order], score[order])


def key_edges(run: Run, group: int) -> list[int]:
    """First keys at which to cut, so that no range has many more than ``MAX_PAIRS`` active pairs."""
    experts = run.experts(group)
    by_key = np.bincount(experts.index.to_numpy() // run.num_keys, experts["tokens"], run.num_keys)
    piece = np.cumsum(by_key) // MAX_PAIRS
    return [0, *(np.flatnonzero(np.diff(piece)) + 1).tolist(), run.num_keys]


def active_pairs(routing: Routing) -> Iterator[Pairs]:
    """``Routing.pairs_by_expert`` as arrays: pieces of (flat id, token, score), each (n,)."""
    for expert, token, score in routing.pairs_by_expert():
        yield expert.numpy(force=True), token.numpy(force=True), score.numpy(force=True)


def document_experts(run: Run, doc: int, group: int, n: int) -> pd.DataFrame:
    """Return the experts with the largest sum of scores in a document, largest first; of equal ones the lower id first.

    Args:
        run: an opened run.
        doc: number of the document.
        group: number of the group.
        n: how many experts at most.

    Returns:
        One row per expert; no rows where the run does not keep the document's routing.

        - expert: flat id.
        - tokens: tokens of the document where it is active.
        - mass: sum of its scores there.

    Raises:
        NotFoundError: the run has no such document or group.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis.activations import document_experts
        >>> document_experts(open_run("runs/demo"), 0, 0, 3)["mass"].is_monotonic_decreasing
        True
    """
    run.check_group(group)
    run.check_document(doc)
    first, tokens = (int(run.documents[name].iloc[doc]) for name in ("row", "tokens"))
    mass, active = np.zeros(run.num_keys**2), np.zeros(run.num_keys**2, np.int64)
    for start in range(first, first + tokens, ROUTING_ROWS):
        routing = run.kept_routing(slice(start, min(start + ROUTING_ROWS, first + tokens)), group)
        for expert, _, score in active_pairs(routing):
            mass += np.bincount(expert, score, len(mass))
            active += np.bincount(expert, minlength=len(mass))
    used = np.flatnonzero(active)
    best = used[np.argsort(-mass[used], kind="stable")[:n]]
    return pd.DataFrame({"expert": best, "tokens": active[best], "mass": mass[best]})
