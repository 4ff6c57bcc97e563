"""`accumulate`: statistics and best tokens of all E x E experts, updated in place from sparse routing."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .library import has_kernel
from .pairs import MASS_UNIT, accumulate_reference
from .sparse import SparseRouting, check_tensor, check_values, sides

MASS_LIMIT = 2**62


@dataclass
class Statistics:
    """What all E * E experts of a layer group did, so far. Made by :meth:`empty`.

    Counts and masses are whole numbers and lists have one order, so the same tokens give the same statistics to the
    bit, however they are cut into calls of :func:`accumulate` and however the pieces are merged.

    Attributes:
        tokens: (E * E, labels) int64 tokens where the expert is active, by label.
        mass: (E * E, labels) int64 sum of its scores there, in units of 2^-36; :attr:`masses` gives plain numbers.
        histogram: (E * E, bins) int64 active tokens by octave of the score: with ``top`` the least whole number such
            that heads <= 2^top, bin b holds scores in 2^(top - bins + b) .. 2^(top - bins + b + 1), the first also
            all below, the last also the upper end.
        best_scores: (E * E, best) float32 its highest scores, falling; 0 where there are fewer.
        best_rows: (E * E, best) int64 their token rows, of equal scores the lower first; -1 where there are fewer.
        keys, heads: E, and the number of routing heads.
        per_document: most entries of one document in a list.
        next_row: the least row that may come.
    """

    tokens: Tensor
    mass: Tensor
    histogram: Tensor
    best_scores: Tensor
    best_rows: Tensor
    keys: int
    heads: int
    per_document: int
    next_row: int = 0
    _mass_bound: int = field(default=0, repr=False)

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
        device: torch.device | str = "cpu",
    ) -> Statistics:
        """Statistics of no token.

        Args:
            keys, heads: E, and the number of routing heads.
            labels: how many labels tokens may have.
            best: length of an expert's list of best tokens.
            per_document: most of them from one document; None for no limit.
            bins: octaves of the histogram.
            device: where to keep it.

        Raises:
            ValueError: a number is not positive.
        """
        per_document = best if per_document is None else per_document
        numbers = {"keys": keys, "heads": heads, "labels": labels, "best": best, "bins": bins}
        for name, value in (numbers | {"per_document": per_document}).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}.")

        def whole(columns: int) -> Tensor:
            return torch.zeros(keys**2, columns, dtype=torch.int64, device=device)

        scores, rows = torch.zeros(keys**2, best, device=device), whole(best) - 1
        return cls(whole(labels), whole(labels), whole(bins), scores, rows, keys, heads, per_document)

    @property
    def masses(self) -> Tensor:
        """Sum of scores by label, (E * E, labels) float64."""
        return self.mass.double() / MASS_UNIT

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
            (s.keys, s.heads, s.per_document, s.tokens.shape, s.histogram.shape, s.best_rows.shape)
            for s in (self, other)
        )
        if mine != theirs:
            raise ValueError(f"statistics of different settings do not merge: {mine} and {theirs}.")
        self._reserve_mass(other._mass_bound)
        self.tokens += other.tokens
        self.mass += other.mass
        self.histogram += other.histogram
        scores = torch.cat([self.best_scores, other.best_scores], 1)
        rows = torch.cat([self.best_rows, other.best_rows], 1)
        order = rows.argsort(dim=1, stable=True)
        order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))
        order = order[:, : self.best_rows.shape[1]]
        self.best_scores.copy_(scores.gather(1, order))
        self.best_rows.copy_(rows.gather(1, order))
        self.next_row = max(self.next_row, other.next_row)

    def _reserve_mass(self, more: int) -> None:
        """Raises OverflowError where the masses may not hold so much more; looks at them only when they get large."""
        if self._mass_bound + more > MASS_LIMIT:
            self._mass_bound = int(self.mass.max())
        if self._mass_bound + more > MASS_LIMIT:
            raise OverflowError(
                f"an expert's mass nears the largest that can be kept, {MASS_LIMIT / MASS_UNIT:.3g}; start new "
                "statistics and add their masses in floating point."
            )
        self._mass_bound += more


def accumulate(
    statistics: Statistics, routing: SparseRouting, labels: Tensor, rows: Tensor, starts: Tensor | None = None
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

    Raises:
        TypeError: an argument is no tensor, or of a wrong dtype.
        ValueError: a wrong shape, device, or number of keys or heads; rows that do not ascend; probabilities outside
            0 .. 1; ``starts`` missing where it is needed, or past its row.
        IndexError: a label that does not exist, an index that is no key, or a count above its width.
        OverflowError: an expert's mass nears 6.7e7, the largest that can be kept.
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
    for name, value in (("labels", labels), ("rows", rows), ("starts", starts)):
        check_tensor(name, value, (len(labels),), device)
        if value.dtype != torch.int64:
            raise TypeError(f"{name} must be torch.int64; got {value.dtype}.")
    if not len(labels):
        return
    _check_accumulated(statistics, arrays, labels, rows, starts)
    statistics._reserve_mass(int(len(labels) * (statistics.heads + 1) * MASS_UNIT))
    s = statistics
    _accumulate(
        s.tokens,
        s.mass,
        s.histogram,
        s.best_scores,
        s.best_rows,
        *(a.contiguous() for a in arrays),
        labels.contiguous(),
        rows.contiguous(),
        starts.contiguous(),
        s.keys,
        s.top,
        s.per_document,
    )
    statistics.next_row = int(rows[-1]) + 1


def _check_accumulated(
    statistics: Statistics, arrays: tuple[Tensor, ...], labels: Tensor, rows: Tensor, starts: Tensor
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
    for name, probs, counts in (("1", probs1, counts1), ("2", probs2, counts2)):
        padding = torch.arange(probs.shape[-1], device=probs.device) >= counts[..., None]
        if not bool((((probs >= 0) & (probs <= 1.001)) | padding).all()):  # a softmax may pass 1 by a rounding
            raise ValueError(f"routing.probs{name} must lie in 0 .. 1.")


@torch.library.custom_op("monet::accumulate", mutates_args=("tokens", "mass", "histogram", "best_scores", "best_rows"))
def _accumulate(
    tokens: Tensor,
    mass: Tensor,
    histogram: Tensor,
    best_scores: Tensor,
    best_rows: Tensor,
    indices1: Tensor,
    probs1: Tensor,
    counts1: Tensor,
    indices2: Tensor,
    probs2: Tensor,
    counts2: Tensor,
    labels: Tensor,
    rows: Tensor,
    starts: Tensor,
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
        indices1,
        probs1,
        counts1,
        indices2,
        probs2,
        counts2,
        labels,
        rows,
        starts,
        keys,
        top,
        per_document,
    )


@_accumulate.register_fake
def _(*_arrays: object) -> None:
    return None
