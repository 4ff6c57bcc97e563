"""Every active (expert, token) of a range of experts, and sums of them by a number that each token carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..progress import Progress, silent
from .sorted_routing import Edges, Pairs, SortedRouting

if TYPE_CHECKING:
    from cuda_ext.routing import Routing

    from ..store import Run
    from ..store.routing import Side
    from ..store.runfiles import Rows

ROUTING_ROWS = 4096  # token rows of sparse routing read at once
MAX_PAIRS = 2**24  # active pairs held at once: bounds memory
FEW_BLOCKS = 8  # up to so many, each reads the routing itself; more read a copy that is sorted by key


@dataclass(frozen=True)
class Block:
    """The experts (i, j) of a group whose key i of set 1 and key j of set 2 lie in two ranges.

    Attributes:
        group: their group.
        first, second: first key of set 1 and of set 2, and the one after the last.
        size: about how many active pairs they have.
        at: numbers of the two ranges among those of their key set; None where they are read from the routing itself,
            not from a copy that is sorted by range.
    """

    group: int
    first: tuple[int, int]
    second: tuple[int, int]
    size: int
    at: tuple[int, int] | None = None

    def ids(self, num_keys: int) -> NDArray[np.int64]:
        """Their flat ids, ascending."""
        return (np.arange(*self.first)[:, None] * num_keys + np.arange(*self.second)).ravel()


@dataclass(frozen=True)
class Activations:
    """Active pairs of a block of experts, each once, sorted by expert, then token row.

    Attributes:
        block: the experts covered; one that does not occur was never active.
        expert: (n,) flat ids.
        row: (n,) token rows; in a sample of a run, their numbers among those of the sample.
        score: (n,) float32 scores, summed over heads, from the stored half precision.
    """

    block: Block
    expert: NDArray[np.int64]
    row: NDArray[np.int64]
    score: NDArray[np.float32]

    def active(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Flat ids of the experts that are active, ascending, and their active tokens."""
        starts = _starts(self.expert)
        return self.expert[starts], np.diff(starts, append=len(self.expert))

    def by(self, number: NDArray[np.int64]) -> CrossTable:
        """Sums by a number of each token, (token rows,), that never falls from a row to the next."""
        of_row = number[self.row]
        fresh = np.ones(len(of_row), bool)
        np.not_equal(self.expert[1:], self.expert[:-1], out=fresh[1:])
        fresh[1:] |= of_row[1:] != of_row[:-1]
        starts = np.flatnonzero(fresh)
        mass = np.add.reduceat(self.score, starts) if len(starts) else self.score
        return CrossTable(self.expert[starts], of_row[starts], mass, np.diff(starts, append=len(of_row)))

    def counts(self, number: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """How often each expert is active at tokens of each number, (token rows,): expert, number and count."""
        numbers, base = int(number.max()) + 1, int(self.expert[0]) if len(self.expert) else 0
        cell = (self.expert - base) * numbers + number[self.row]
        if len(cell) and (int(self.expert[-1]) - base + 1) * numbers <= 2**32:
            cell = cell.astype(np.uint32)  # sorted in half the time
        cell.sort()
        starts = _starts(cell)
        expert, counted = np.divmod(cell[starts].astype(np.int64), numbers)
        return expert + base, counted, np.diff(starts, append=len(cell))


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
        cell = self.expert * len(into) + number
        order = np.argsort(cell, kind="stable")  # nearly sorted already
        expert, number = self.expert[order], number[order]
        starts = _starts(cell[order])
        sums = (np.add.reduceat(column[order], starts) for column in (self.mass, self.tokens))
        return CrossTable(expert[starts], number[starts], *sums)

    def only(self, chosen: NDArray[np.bool_]) -> CrossTable:
        """The cells of chosen numbers; ``chosen``, (numbers,)."""
        kept = chosen[self.number]
        return CrossTable(self.expert[kept], self.number[kept], self.mass[kept], self.tokens[kept])


class Reader:
    """Reads the activations of experts at the tokens whose routing a run holds, or at those of a sample of it.

    Threads may share one. What it sorts lies in a temporary folder until the reader is closed or let go.

    Args:
        run: an opened run.

    Attributes:
        rows: (tokens,) the token rows of a sample, ascending; None for those of the whole run.
        tokens: token rows that are read.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rows = None if run.drawn is None else kept_rows(run)
        self.tokens = run.tokens_total if self.rows is None else len(self.rows)
        self._known: dict[int, tuple[NDArray[np.floating[Any]], Edges, bool]] = {}
        self._sorted = SortedRouting(self._sides, self.tokens, run.heads, run.num_keys)

    def document(self) -> NDArray[np.int64]:
        """(tokens,) number of each token's document among those whose routing is kept."""
        documents = self.run.documents
        if self.rows is not None:
            documents = documents[documents["kept"]]
        return np.repeat(np.cumsum(documents["kept"].to_numpy()) - 1, documents["tokens"])

    def token(self) -> NDArray[np.int32]:
        """(tokens,) token ids."""
        if self.rows is None:
            return self.run.token_column
        return self.run.tokens(self.rows)["token"].to_numpy(np.int32)

    def blocks(self, group: int) -> list[Block]:
        """The experts of a group in blocks of not many more than ``MAX_PAIRS`` active pairs.

        A few blocks are ranges of first keys. Many are ranges of first and of second keys, so that a block needs few
        of the entries of either set: reading all of them then grows with the root of the number of blocks alone.
        """
        pairs, edges, many = self._cuts(group)
        return [
            Block(
                group,
                first,
                second,
                int(pairs[slice(*first), slice(*second)].sum()),
                (at // (len(edges[1]) - 1), at % (len(edges[1]) - 1)) if many else None,
            )
            for at, (first, second) in enumerate(product(*map(pairwise, edges)))
        ]

    def _cuts(self, group: int) -> tuple[NDArray[np.floating[Any]], Edges, bool]:
        """Active pairs by keys, (E, E); where to cut either set; whether there are many blocks."""
        if group not in self._known:
            self._known[group] = self._cut(group)
        return self._known[group]

    def _cut(self, group: int) -> tuple[NDArray[np.floating[Any]], Edges, bool]:
        experts = self.run.experts(group, ["tokens"])
        active = np.bincount(experts.index.to_numpy(), experts["tokens"], self.run.num_keys**2)
        pairs = active.reshape(self.run.num_keys, -1) * read_share(self.run)
        needed = pairs.sum() / MAX_PAIRS
        if needed <= FEW_BLOCKS:
            return pairs, (_edges(pairs.sum(1), MAX_PAIRS), [0, self.run.num_keys]), False
        side = pairs.sum() / ceil(sqrt(needed))
        return pairs, (_edges(pairs.sum(1), side), _edges(pairs.sum(0), side)), True

    def read(self, block: Block, advance: Progress = silent) -> Activations:
        """All activations of the experts of a block.

        Args:
            block: one of ``blocks``.
            advance: called with the active pairs read since its last call.
        """
        experts: list[NDArray[np.int64]] = []
        rows: list[NDArray[np.int64]] = []
        scores: list[NDArray[np.float32]] = []
        for expert, token, score in self._pairs(block):
            experts.append(expert)
            rows.append(token)
            scores.append(score)
            advance(len(expert))
        expert, row, score = np.concatenate(experts), np.concatenate(rows), np.concatenate(scores)
        order = np.argsort(expert, kind="stable")  # rows ascend already
        return Activations(block, expert[order], row[order], score[order])

    def _pairs(self, block: Block) -> Iterator[Pairs]:
        """A block's active pairs, consecutive tokens at a time."""
        if block.at is not None:
            yield from self._sorted.pairs(block.group, self._cuts(block.group)[1], *block.at)
            return
        for start in range(0, self.tokens, ROUTING_ROWS):
            routing = routing_within(self.run, self._of(start, ROUTING_ROWS), block.group, block.first)
            for expert, token, score in active_pairs(routing):
                yield expert, start + token, score

    def _sides(self, group: int, start: int, tokens: int) -> tuple[Side, Side]:
        return self.run.sides(self._of(start, tokens), group)

    def _of(self, start: int, tokens: int) -> slice | NDArray[np.int64]:
        """Token rows of the run."""
        return slice(start, start + tokens) if self.rows is None else self.rows[start : start + tokens]


def routing_within(run: Run, rows: Rows, group: int, first: tuple[int, int]) -> Routing:
    """The routing of token rows, as ``Run.kept_routing`` has it, restricted to experts (i, j) with i in a range.

    Args:
        run, rows, group: as for ``Run.kept_routing``.
        first: first key of set 1, and the one after the last.
    """
    import torch

    from cuda_ext.routing import Routing

    side1, side2 = run.sides(rows, group)
    if first != (0, run.num_keys):
        side1 = side1.within(*first, run.num_keys)
    arrays = (array for side in (side1, side2) for array in side.padded(run.heads, run.num_keys))
    return Routing(*map(torch.from_numpy, arrays), num_keys=run.num_keys)  # type: ignore[misc, arg-type]


def kept_rows(run: Run) -> NDArray[np.int64]:
    """The token rows whose routing a run holds, ascending."""
    kept = run.documents[run.documents["kept"]]
    first, tokens = kept["row"].to_numpy(np.int64), kept["tokens"].to_numpy(np.int64)
    return np.repeat(first - np.cumsum(tokens) + tokens, tokens) + np.arange(tokens.sum())


def read_activations(run: Run, group: int, advance: Progress = silent) -> Iterator[Activations]:
    """All activations of a group whose routing the run holds, a block of its experts at a time.

    Args:
        run, group: where the experts are.
        advance: called with the active pairs read since its last call.
    """
    reader = Reader(run)
    for block in reader.blocks(group):
        yield reader.read(block, advance)


def key_edges(run: Run, group: int, most: float | None = None, ranges: int = 2**30) -> list[int]:
    """First keys at which to cut, so that no range has many more active pairs than ``most``.

    Args:
        run: an opened run, or a sample of one.
        group: number of the group.
        most: active pairs of a range; ``MAX_PAIRS`` by default.
        ranges: cut into about so many at most.
    """
    experts = run.experts(group, ["tokens"])
    pairs = np.bincount(experts.index.to_numpy() // run.num_keys, experts["tokens"], run.num_keys) * read_share(run)
    return _edges(pairs, max(MAX_PAIRS if most is None else most, pairs.sum() / ranges))


def read_share(run: Run) -> float:
    """The fraction of a run's tokens that a sample has; 1 for the run itself."""
    return 1.0 if run.drawn is None else run.drawn.tokens / max(run.tokens_total, 1)


def _edges(weight: NDArray[np.floating[Any]], most: float) -> list[int]:
    """Where to cut a list of keys, so that no range weighs much more than ``most``."""
    piece = np.cumsum(weight) // most
    return [0, *(np.flatnonzero(np.diff(piece)) + 1).tolist(), len(weight)]


def _starts(ascending: NDArray[Any]) -> NDArray[np.int64]:
    """Where each different number begins."""
    fresh = np.ones(len(ascending), bool)
    np.not_equal(ascending[1:], ascending[:-1], out=fresh[1:])
    return np.flatnonzero(fresh)


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
