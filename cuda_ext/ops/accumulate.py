"""`accumulate`: statistics, top and sampled tokens of all E x E experts, updated in place from sparse routing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..library import has_kernel
from ..reference.accumulate import MASS_UNIT, accumulate_reference
from ..sparse import SparseRouting, check_tensor, check_values, read_numbers, sides

MASS_LIMIT = 2**62  # of one entry of `mass`, in units of 1 / MASS_UNIT
CARRY_BITS = 32  # low bits of a mass that stay in `mass` when the high bits move to `carried`
LAST_PRIORITY = 2**63 - 1  # sorts empty slots after all tokens
STATE = ("tokens", "mass", "histogram", "best_scores", "best_rows", "sample_priorities", "sample_scores")


@dataclass
class Statistics:
    """Statistics of all E * E experts of a layer group over the tokens seen so far. Start from ``empty``.

    Counts and masses are integers and lists have a fixed order, so the same tokens give the same statistics bit for
    bit, however they are split into calls of ``accumulate`` and however partial statistics are merged.

    Attributes:
        tokens: (E * E, labels) int64 number of tokens where the expert is active, per label.
        mass: (E * E, labels) int64 sum of its routing scores there, in units of 2^-36, except for what is in
            ``carried``; read it through ``masses``.
        histogram: (E * E, bins) int64 active tokens per octave of the routing score. With ``top`` the smallest integer
            such that heads <= 2^top, bin b counts scores from 2^(top - bins + b) up to 2^(top - bins + b + 1); the
            first bin also counts everything below, the last also the upper end.
        best_scores: (E * E, best) float32 highest scores of the expert, falling; 0 in empty slots.
        best_rows: (E * E, best) int64 rows of these tokens, ties by rising row; -1 in empty slots.
        sample_priorities: (E * E, bins, sampled) int64 priorities of the tokens sampled per bin, which are those with
            the lowest priorities, ascending; -1 in empty slots.
        sample_scores: (E * E, bins, sampled) float32 scores of the sampled tokens.
        keys, heads: E, and the number of routing heads.
        per_document: most entries that one document may have in an expert's list of top tokens.
        next_row: lowest row that the next call of ``accumulate`` may bring.
        mass_bound: upper bound of the entries of ``mass``.
        carried: (E * E, labels) int64 high bits of masses that no longer fit ``mass``, in units of 2^-4; None until
            then.

    Examples:
        >>> from cuda_ext import Statistics
        >>> statistics = Statistics.empty(keys=4, heads=2, labels=3, best=5)
        >>> statistics.tokens.shape, statistics.best_rows.shape
        (torch.Size([16, 3]), torch.Size([16, 5]))
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
        """Return the statistics of no tokens, to accumulate into.

        Args:
            keys, heads: E, the number of keys per set, and the number of routing heads.
            labels: number of labels that tokens may have.
            best: length of each expert's list of top tokens.
            per_document: most entries of one document in such a list; None (default) for no limit.
            bins: number of octaves in the histogram of scores.
            sampled: tokens to sample per expert and octave; none by default.
            device: device of the arrays; later tokens must be on it too.

        Returns:
            Statistics whose counts and masses are 0 and whose lists are empty.

        Raises:
            ValueError: a number is not positive, or ``sampled`` is negative.

        Examples:
            >>> from cuda_ext import Statistics
            >>> Statistics.empty(keys=4, heads=2, labels=3, best=5).maximum.sum().item()
            0.0
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
        """Sum of routing scores per expert and label, (E * E, labels) float64.

        Examples:
            >>> from cuda_ext import Statistics
            >>> Statistics.empty(keys=4, heads=2, labels=3, best=5).masses.shape
            torch.Size([16, 3])
        """
        if self.carried is None:
            return self.mass.double() / MASS_UNIT
        # All high bits first, then all low bits: one rounding, however much is carried.
        high, low = self.carried + (self.mass >> CARRY_BITS), self.mass & (2**CARRY_BITS - 1)
        return (high.double() * 2**CARRY_BITS + low.double()) / MASS_UNIT

    @property
    def maximum(self) -> Tensor:
        """Highest routing score per expert, (E * E,) float32; 0 if it was never active.

        Examples:
            >>> from cuda_ext import Statistics
            >>> Statistics.empty(keys=4, heads=2, labels=3, best=5).maximum.shape
            torch.Size([16])
        """
        return self.best_scores[:, 0]

    @property
    def top(self) -> int:
        """Smallest integer n such that no routing score exceeds 2^n: heads each add at most 1.

        Examples:
            >>> from cuda_ext import Statistics
            >>> Statistics.empty(keys=4, heads=6, labels=3, best=5).top
            3
        """
        return (self.heads - 1).bit_length()

    def to(self, device: torch.device | str) -> Statistics:
        """These statistics on a device; arrays that are there already are shared.

        Examples:
            >>> from cuda_ext import Statistics
            >>> statistics = Statistics.empty(keys=4, heads=2, labels=3, best=5)
            >>> statistics.to("cpu").tokens is statistics.tokens
            True
        """
        fields: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **fields)

    def merge(self, other: Statistics) -> None:
        """Add the statistics of other tokens to these, in place.

        Args:
            other: statistics with the same settings; no document may have tokens in both.

        Raises:
            ValueError: the other statistics have different settings.

        Examples:
            >>> import torch
            >>> from cuda_ext import Statistics, accumulate
            >>> from cuda_ext.routing import Routing
            >>> g1 = g2 = torch.tensor([[[1.0, 0.0]]])
            >>> halves = [Statistics.empty(keys=2, heads=1, labels=1, best=2) for _ in range(2)]
            >>> for row, half in enumerate(halves):
            ...     accumulate(half, Routing.from_dense(g1, g2), torch.tensor([0]), torch.tensor([row]))
            >>> halves[0].merge(halves[1])
            >>> halves[0].tokens[:, 0].tolist(), halves[0].best_rows[0].tolist()
            ([2, 0, 0, 0], [0, 1])
        """
        ours, theirs = (
            (s.keys, s.heads, s.per_document, s.tokens.shape, s.best_rows.shape, s.sample_scores.shape)
            for s in (self, other)
        )
        if ours != theirs:
            raise ValueError(f"only statistics with the same settings can be merged; got {ours} and {theirs}.")
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
        changed = (best > least) | ((best == least) & (other.best_rows[:, 0] < self.best_rows[:, -1]))  # lists
        scores = torch.cat([self.best_scores[changed], other.best_scores[changed]], 1)
        rows = torch.cat([self.best_rows[changed], other.best_rows[changed]], 1)
        order = rows.argsort(dim=1, stable=True)
        order = order.gather(1, scores.gather(1, order).argsort(dim=1, descending=True, stable=True))
        order = order[:, : self.best_rows.shape[1]]
        self.best_scores[changed] = scores.gather(1, order)
        self.best_rows[changed] = rows.gather(1, order)

    def _merge_samples(self, other: Statistics) -> None:
        if not self.sample_scores.numel():
            return
        last, first = self.sample_priorities[..., -1], other.sample_priorities[..., 0]
        changed = (first >= 0) & ((last < 0) | (first < last))  # bins
        priorities = torch.cat([self.sample_priorities[changed], other.sample_priorities[changed]], 1)
        scores = torch.cat([self.sample_scores[changed], other.sample_scores[changed]], 1)
        order = priorities.masked_fill(priorities < 0, LAST_PRIORITY).argsort(1)[:, : self.sample_scores.shape[2]]
        self.sample_priorities[changed] = priorities.gather(1, order)
        self.sample_scores[changed] = scores.gather(1, order)

    def _reserve_mass(self, more: int) -> None:
        """Make room for an increase of every mass by ``more``: high bits move to ``carried`` before any overflows."""
        if self.mass_bound + more > MASS_LIMIT:
            self.carried = (self.mass >> CARRY_BITS) + (0 if self.carried is None else self.carried)
            self.mass &= 2**CARRY_BITS - 1
            self.mass_bound = 2**CARRY_BITS - 1
        self.mass_bound += more


def accumulate(
    statistics: Statistics,
    routing: SparseRouting,
    labels: Tensor,
    rows: Tensor,
    starts: Tensor | None = None,
    priorities: Tensor | None = None,
) -> None:
    """Add the tokens of a routing to ``statistics``, in place.

    The routing score of expert (i, j) at a token is ``sum_h p * q`` over the heads (arXiv 2412.04139, section 3).
    Deterministic: the same bits on every run and with any number of threads. If an argument is refused, the statistics
    are unchanged.

    Args:
        statistics: the statistics to update.
        routing: the routing of these tokens, a ``cuda_ext.routing.Routing``, with probabilities in float32.
        labels: (tokens,) int64 label number per token; -1 leaves the token out of everything.
        rows: (tokens,) int64 position of each token in the corpus, ascending within and across calls.
        starts: (tokens,) int64 row of the first token of each token's document; a document's rows are consecutive.
            -1 counts a token but keeps it out of the lists of top tokens. Needed if ``statistics.per_document`` is a
            limit.
        priorities: (tokens,) int64 distinct numbers >= 0; samples keep the tokens with the lowest ones. -1 keeps a
            token out of the samples. Needed if the statistics keep samples.

    Raises:
        TypeError: an argument is not a tensor, or has a wrong dtype.
        ValueError: a wrong shape, device, or number of keys or heads; rows that do not ascend; probabilities outside
            0 .. 1; ``starts`` or ``priorities`` missing although needed, or out of range; more tokens than one call may
            bring (about 6.7e7 / (heads + 1)).
        IndexError: a label that does not exist, an index that is not a key, or a count above its width.

    Examples:
        >>> import torch
        >>> from cuda_ext import Statistics, accumulate
        >>> from cuda_ext.routing import Routing
        >>> g1 = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])  # 2 tokens, 1 head, 2 keys
        >>> g2 = torch.tensor([[[0.25, 0.75]], [[0.0, 1.0]]])
        >>> statistics = Statistics.empty(keys=2, heads=1, labels=1, best=1)
        >>> accumulate(statistics, Routing.from_dense(g1, g2), labels=torch.tensor([0, 0]), rows=torch.tensor([0, 1]))
        >>> statistics.tokens[:, 0].tolist()  # of experts (0, 0), (0, 1), (1, 0), (1, 1)
        [1, 2, 0, 0]
        >>> statistics.masses[:, 0].tolist()
        [0.25, 1.75, 0.0, 0.0]
        >>> statistics.best_rows[:, 0].tolist()
        [0, 1, -1, -1]
    """
    device = statistics.tokens.device
    labels = check_tensor("labels", labels, ("tokens",), device)
    if routing.num_keys != statistics.keys:
        raise ValueError(f"routing.num_keys must be {statistics.keys}, like the statistics; got {routing.num_keys}.")
    arrays = sides(routing, torch.float32, device, len(labels))
    if arrays[0].shape[1] != statistics.heads:
        raise ValueError(f"routing must have {statistics.heads} heads, like the statistics; got {arrays[0].shape[1]}.")
    if starts is None:
        if statistics.per_document < statistics.best_rows.shape[1]:
            raise ValueError("starts is needed: statistics.per_document limits the top tokens per document.")
        starts = rows
    if priorities is None:
        if statistics.sample_scores.shape[2]:
            raise ValueError("priorities is needed: the statistics keep samples.")
        priorities = rows
    for name, value in (("labels", labels), ("rows", rows), ("starts", starts), ("priorities", priorities)):
        check_tensor(name, value, (len(labels),), device)
        if value.dtype != torch.int64:
            raise TypeError(f"{name} must be torch.int64; got {value.dtype}.")
    if not len(labels):
        return
    most = int(MASS_LIMIT // MASS_UNIT) // (statistics.heads + 1)
    if len(labels) > most:
        raise ValueError(f"accumulate takes at most {most:,} tokens per call; got {len(labels):,}.")
    last = _check_accumulated(statistics, arrays, labels, rows, starts, priorities)
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
    statistics.next_row = last + 1


def _check_accumulated(
    statistics: Statistics,
    arrays: tuple[Tensor, ...],
    labels: Tensor,
    rows: Tensor,
    starts: Tensor,
    priorities: Tensor,
) -> int:
    """Check the values, which means reading the data; returns the last row."""
    indices1, probs1, counts1, indices2, probs2, counts2 = arrays
    check_values(indices1, counts1, indices2, counts2, statistics.keys)
    ascend, begin = (rows[1:] > rows[:-1]).all(), ((starts >= -1) & (starts <= rows)).all()
    low, high, first, last, ascending, begun, least = read_numbers(
        [*labels.aminmax(), rows[0], rows[-1], ascend, begin, priorities.min()]
    )
    if low < -1 or high >= statistics.tokens.shape[1]:
        raise IndexError(f"labels must lie in -1 .. {statistics.tokens.shape[1] - 1}; got {low} .. {high}.")
    if first < statistics.next_row or not ascending:
        raise ValueError(f"rows must ascend, from {statistics.next_row} on: pass tokens in corpus order.")
    if not begun:
        raise ValueError("starts must lie in -1 .. the token's row.")
    if least < -1:
        raise ValueError("priorities must be at least -1.")
    for name, probs, counts in (("1", probs1, counts1), ("2", probs2, counts2)):
        if not probs.numel() or _are_probabilities(*probs.aminmax()):  # a first pass that includes padding
            continue
        padding = torch.arange(probs.shape[-1], device=probs.device) >= counts[..., None]
        if not _are_probabilities(*probs.masked_fill(padding, 0).aminmax()):
            raise ValueError(f"routing.probs{name} must lie in 0 .. 1.")
    return last


def _are_probabilities(low: Tensor, high: Tensor) -> bool:
    return bool((low >= 0) & (high <= 1.001))  # rounding may lift a softmax above 1


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
