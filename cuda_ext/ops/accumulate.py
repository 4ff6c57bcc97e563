"""`accumulate`: statistics, best and sampled tokens of all E x E experts, updated in place from sparse routing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..library import has_kernel
from ..reference.accumulate import MASS_UNIT, accumulate_reference
from ..sparse import SparseRouting, check_tensor, check_values, sides

MASS_LIMIT = 2**62
CARRY = 32  # bits of a mass that stay where the rest is carried
NEVER = 2**63 - 1  # a priority after all others
STATE = ("tokens", "mass", "histogram", "best_scores", "best_rows", "sample_priorities", "sample_scores")


@dataclass
class Statistics:
    """What all E * E experts of a layer group did, so far. Made by :meth:`empty`.

    Counts and masses are whole numbers and lists have one order, so the same tokens give the same statistics to the
    bit, however they are cut into calls of :func:`accumulate` and however the pieces are merged.

    Attributes:
        tokens: (E * E, labels) int64 tokens where the expert is active, by label.
        mass: (E * E, labels) int64 sum of its scores there, in units of 2^-36, without what is carried;
            :attr:`masses` gives plain numbers.
        histogram: (E * E, bins) int64 active tokens by octave of the score: with ``top`` the least whole number such
            that heads <= 2^top, bin b holds scores in 2^(top - bins + b) .. 2^(top - bins + b + 1), the first also
            all below, the last also the upper end.
        best_scores: (E * E, best) float32 its highest scores, falling; 0 where there are fewer.
        best_rows: (E * E, best) int64 their token rows, of equal scores the lower first; -1 where there are fewer.
        sample_priorities: (E * E, bins, sampled) int64 priorities of the tokens kept as a sample of each bin: those of
            least priority, ascending; -1 where there are fewer.
        sample_scores: (E * E, bins, sampled) float32 the scores there.
        keys, heads: E, and the number of routing heads.
        per_document: most entries of one document in a list of best tokens.
        next_row: the least row that may come.
        mass_bound: nothing in ``mass`` is above it.
        carried: (E * E, labels) int64 parts of masses that ``mass`` does not hold, in units of 2^-4; None before any is
            so large.
    """

    tokens: Tensor
    mass: Tensor
    histogram: Tensor
    best_scores: Tensor
    best_rows: Tensor
    sample_priorities: Tensor
    sample_scores: Tensor
    keys: int
    heads: int
    per_document: int
    next_row: int = 0
    mass_bound: int = 0
    carried: Tensor | None = None

    @classmethod
    def empty(
        cls,
        keys: int,
        heads: int,
        labels: int,
        *,
        best: int,
        per_document: int | None = None,
        bins: int = 20,
        sampled: int = 0,
        device: torch.device | str = "cpu",
    ) -> Statistics:
        """Statistics of no token.

        Args:
            keys, heads: E, and the number of routing heads.
            labels: how many labels tokens may have.
            best: length of an expert's list of best tokens.
            per_document: most of them from one document; None for no limit.
            bins: octaves of the histogram.
            sampled: tokens kept of each of them, as a sample; by default none are.
            device: where to keep it.

        Raises:
            ValueError: a number is not positive, or ``sampled`` negative.
        """
        per_document = best if per_document is None else per_document
        numbers = {"keys": keys, "heads": heads, "labels": labels, "best": best, "bins": bins}
        for name, value in (numbers | {"per_document": per_document}).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}.")
        if sampled < 0:
            raise ValueError(f"sampled must be at least 0; got {sampled}.")

        def whole(*columns: int, value: int = 0) -> Tensor:
            return torch.full((keys**2, *columns), value, dtype=torch.int64, device=device)

        def scores(*columns: int) -> Tensor:
            return torch.zeros(keys**2, *columns, device=device)

        counted, best_lists = (whole(labels), whole(labels), whole(bins)), (scores(best), whole(best, value=-1))
        samples = whole(bins, sampled, value=-1), scores(bins, sampled)
        return cls(*counted, *best_lists, *samples, keys, heads, per_document)

    @property
    def masses(self) -> Tensor:
        """Sum of scores by label, (E * E, labels) float64."""
        if self.carried is None:
            return self.mass.double() / MASS_UNIT
        high, low = self.carried + (self.mass >> CARRY), self.mass & (2**CARRY - 1)  # one rounding, whatever is carried
        return (high.double() * 2**CARRY + low.double()) / MASS_UNIT

    @property
    def maximum(self) -> Tensor:
        """Highest score of each expert, (E * E,) float32; 0 where it was never active."""
        return self.best_scores[:, 0]

    @property
    def top(self) -> int:
        """Scores are at most 2 to this power."""
        return (self.heads - 1).bit_length()

    def merge(self, other: Statistics) -> None:
        """Takes in, in place, what other tokens gave; no document may have tokens in both.

        Raises:
            ValueError: the other has another shape, or was made with other settings.
        """
        mine, theirs = (
            (s.keys, s.heads, s.per_document, s.tokens.shape, s.best_rows.shape, s.sample_scores.shape)
            for s in (self, other)
        )
        if mine != theirs:
            raise ValueError(f"statistics of different settings do not merge: {mine} and {theirs}.")
        self._reserve_mass(other.mass_bound)
        self.tokens += other.tokens
        self.mass += other.mass
        if other.carried is not None:
            self.carried = other.carried + (0 if self.carried is None else self.carried)
        self.histogram += other.histogram
        self._merge_best(other)
        self._merge_samples(other)
        self.next_row = max(self.next_row, other.next_row)

    def _merge_best(self, other: Statistics) -> None:
        best, least = other.best_scores[:, 0], self.best_scores[:, -1]
        met = (best > least) | ((best == least) & (other.best_rows[:, 0] < self.best_rows[:, -1]))  # lists that change
        scores = torch.cat([self.best_scores[met], other.best_scores[met]], 1)
        rows = torch.cat([self.best_rows[met], other.best_rows[met]], 1)
        order = rows.argsort(dim=1, stable=True)
        order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))
        order = order[:, : self.best_rows.shape[1]]
        self.best_scores[met] = scores.gather(1, order)
        self.best_rows[met] = rows.gather(1, order)

    def _merge_samples(self, other: Statistics) -> None:
        if not self.sample_scores.numel():
            return
        last, first = self.sample_priorities[..., -1], other.sample_priorities[..., 0]
        met = (first >= 0) & ((last < 0) | (first < last))  # bins that change
        priorities = torch.cat([self.sample_priorities[met], other.sample_priorities[met]], 1)
        scores = torch.cat([self.sample_scores[met], other.sample_scores[met]], 1)
        order = priorities.masked_fill(priorities < 0, NEVER).argsort(1)[:, : self.sample_scores.shape[2]]
        self.sample_priorities[met] = priorities.gather(1, order)
        self.sample_scores[met] = scores.gather(1, order)

    def _reserve_mass(self, more: int) -> None:
        """Makes room for so much more in every mass: the upper bits are carried where it might run over."""
        if self.mass_bound + more > MASS_LIMIT:
            self.carried = (self.mass >> CARRY) + (0 if self.carried is None else self.carried)
            self.mass &= 2**CARRY - 1
            self.mass_bound = 2**CARRY - 1
        self.mass_bound += more


def accumulate(
    statistics: Statistics,
    routing: SparseRouting,
    labels: Tensor,
    rows: Tensor,
    starts: Tensor | None = None,
    priorities: Tensor | None = None,
) -> None:
    """Counts the tokens of a routing into ``statistics``, in place; arXiv 2412.04139's score, ``sum_h p * q``.

    Deterministic: the same bits on every run and number of threads. Nothing is changed where an argument is refused.

    Args:
        statistics: what is updated.
        routing: the tokens' routing; probabilities in float32.
        labels: (tokens,) int64 number of each token's label; -1 leaves the token out of everything.
        rows: (tokens,) int64 number of each token in the corpus, ascending from call to call.
        starts: (tokens,) int64 row of the first token of each token's document, whose rows are consecutive. Needed
            where the lists take a limited number of tokens of a document.
        priorities: (tokens,) int64 a number of each token's own, not negative, by which samples choose. Needed where
            samples are kept.

    Raises:
        TypeError: an argument is no tensor, or of a wrong dtype.
        ValueError: a wrong shape, device, or number of keys or heads; rows that do not ascend; probabilities outside
            0 .. 1; ``starts`` or ``priorities`` missing where it is needed, or out of range; more tokens
            than a mass can take at once, some 6.7e7 over the heads and one.
        IndexError: a label that does not exist, an index that is no key, or a count above its width.
    """
    device = statistics.tokens.device
    labels = check_tensor("labels", labels, ("tokens",), device)
    if routing.num_keys != statistics.keys:
        raise ValueError(f"routing.num_keys must be {statistics.keys}, as in statistics; got {routing.num_keys}.")
    arrays = sides(routing, torch.float32, device, len(labels))
    if arrays[0].shape[1] != statistics.heads:
        raise ValueError(f"routing must have {statistics.heads} heads, as statistics; got {arrays[0].shape[1]}.")
    if starts is None:
        if statistics.per_document < statistics.best_rows.shape[1]:
            raise ValueError("starts is needed: statistics.per_document limits the tokens of a document in a list.")
        starts = rows
    if priorities is None:
        if statistics.sample_scores.shape[2]:
            raise ValueError("priorities is needed: statistics keep a sample.")
        priorities = rows
    for name, value in (("labels", labels), ("rows", rows), ("starts", starts), ("priorities", priorities)):
        check_tensor(name, value, (len(labels),), device)
        if value.dtype != torch.int64:
            raise TypeError(f"{name} must be torch.int64; got {value.dtype}.")
    if not len(labels):
        return
    most = int(MASS_LIMIT // MASS_UNIT) // (statistics.heads + 1)
    if len(labels) > most:
        raise ValueError(f"accumulate takes at most {most:,} tokens at once; got {len(labels):,}.")
    _check_accumulated(statistics, arrays, labels, rows, starts, priorities)
    statistics._reserve_mass(int(len(labels) * (statistics.heads + 1) * MASS_UNIT))
    s = statistics
    _accumulate(
        s.tokens,
        s.mass,
        s.histogram,
        s.best_scores,
        s.best_rows,
        s.sample_priorities,
        s.sample_scores,
        *(a.contiguous() for a in arrays),
        labels.contiguous(),
        rows.contiguous(),
        starts.contiguous(),
        priorities.contiguous(),
        s.keys,
        s.top,
        s.per_document,
    )
    statistics.next_row = int(rows[-1]) + 1


def _check_accumulated(
    statistics: Statistics,
    arrays: tuple[Tensor, ...],
    labels: Tensor,
    rows: Tensor,
    starts: Tensor,
    priorities: Tensor,
) -> None:
    """What takes a look at the values."""
    indices1, probs1, counts1, indices2, probs2, counts2 = arrays
    check_values(indices1, counts1, indices2, counts2, statistics.keys)
    low, high = (int(value) for value in labels.aminmax())
    if low < -1 or high >= statistics.tokens.shape[1]:
        raise IndexError(f"labels must lie in -1 .. {statistics.tokens.shape[1] - 1}; got {low} .. {high}.")
    if int(rows[0]) < statistics.next_row or not bool((rows[1:] > rows[:-1]).all()):
        raise ValueError(f"rows must ascend, from {statistics.next_row} on; tokens must come in the corpus's order.")
    if not bool(((starts >= 0) & (starts <= rows)).all()):
        raise ValueError("starts must lie in 0 .. the token's row.")
    if int(priorities.min()) < 0:
        raise ValueError("priorities must not be negative.")
    for name, probs, counts in (("1", probs1, counts1), ("2", probs2, counts2)):
        if not probs.numel() or _are_probabilities(*probs.aminmax()):  # padding too: a quick look is enough
            continue
        padding = torch.arange(probs.shape[-1], device=probs.device) >= counts[..., None]
        if not _are_probabilities(*probs.masked_fill(padding, 0).aminmax()):
            raise ValueError(f"routing.probs{name} must lie in 0 .. 1.")


def _are_probabilities(low: Tensor, high: Tensor) -> bool:
    return bool((low >= 0) & (high <= 1.001))  # a softmax may pass 1 by a rounding


@torch.library.custom_op("monet::accumulate", mutates_args=STATE)
def _accumulate(
    tokens: Tensor,
    mass: Tensor,
    histogram: Tensor,
    best_scores: Tensor,
    best_rows: Tensor,
    sample_priorities: Tensor,
    sample_scores: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    labels: Tensor,
    rows: Tensor,
    starts: Tensor,
    priorities: Tensor,
    keys: int,
    top: int,
    per_document: int,
) -> None:
    run = torch.ops.monet.accumulate_kernel if has_kernel(tokens.device) else accumulate_reference
    run(
        tokens,
        mass,
        histogram,
        best_scores,
        best_rows,
        sample_priorities,
        sample_scores,
        indices1,
        probs1,
        counts1,
        indices2,
        probs2,
        counts2,
        labels,
        rows,
        starts,
        priorities,
        keys,
        top,
        per_document,
    )


@_accumulate.register_fake
def _(*_arrays: object) -> None:
    return None
