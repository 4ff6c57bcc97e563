"""How each expert goes with a number that texts carry: exact correlations from sparse activations, and intervals."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..specialisation.shares import Floats

Ints = NDArray[np.int64]
LEVEL_Z = 1.959963984540054  # normal quantile of a 95 % interval


@dataclass(frozen=True)
class Cells:
    """What the experts of a range did in consecutive units, documents or tokens: one cell an active (expert, unit).

    Attributes:
        units: the units covered, by number; all others of the range's experts are 0 there.
        expert: (n,) expert, counted from the first of its range.
        unit: (n,) unit.
        value: (n,) float64 above 0.
    """

    units: range
    expert: Ints
    unit: Ints
    value: Floats


@dataclass
class PearsonSums:
    """Moments of all experts of a range with several targets, gathered from cells block by block.

    Means and sums of squares are those of deviations, merged as Chan, Golub & LeVeque 1983 do (covariances: Pébay
    2008), so nothing is lost to cancellation and the result does not depend, but for the last digits, on the blocks.

    Args:
        experts: how many there are.
        targets: (targets, units) what experts are correlated with.
    """

    experts: int
    targets: Floats
    count: int = 0
    mean: Floats = field(init=False)
    square: Floats = field(init=False)
    product: Floats = field(init=False)
    target_mean: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.targets = _centred(self.targets)
        self.mean, self.square = np.zeros(self.experts), np.zeros(self.experts)
        self.product = np.zeros((len(self.targets), self.experts))
        self.target_mean = np.zeros(len(self.targets))

    def add(self, cells: Cells) -> None:
        """Takes a block of units into account; each unit once."""
        size = len(cells.units)
        if not size:
            return
        targets = self.targets[:, cells.units.start : cells.units.stop]
        target_mean = targets.mean(1)
        mean = np.bincount(cells.expert, cells.value, self.experts) / size
        silent = size - np.bincount(cells.expert, minlength=self.experts)
        deviation = np.square(cells.value - mean[cells.expert])
        square = np.bincount(cells.expert, deviation, self.experts) + silent * np.square(mean)
        total = self.count + size
        weight = self.count * size / total
        away, target_away = mean - self.mean, target_mean - self.target_mean
        self.square += square + weight * np.square(away)
        for number, values in enumerate(_centred(targets)):
            product = cells.value * values[cells.unit - cells.units.start]
            self.product[number] += np.bincount(cells.expert, product, self.experts)
            self.product[number] += weight * target_away[number] * away
        self.mean += size / total * away
        self.target_mean += size / total * target_away
        self.count = total

    def correlations(self) -> Floats:
        """Pearson's r, (targets, experts); NaN where an expert or the target is constant."""
        spread = np.square(self.targets).sum(1)
        return _ratio(self.product, np.sqrt(spread[:, None] * self.square))


def _centred(targets: Floats) -> Floats:
    """Targets less their means; twice, since rounding of the first mean leaves a rest where it is large."""
    once = targets - targets.mean(1, keepdims=True)
    return once - once.mean(1, keepdims=True)


def rank_correlations(cells: Cells, experts: int, target_ranks: Floats) -> Floats:
    """Spearman's rho, (targets, experts): Pearson's r of average ranks, with every tie counted.

    Of n units, an expert is 0 in all but its a active ones; these zeros tie on the rank ``(n - a + 1) / 2``, so the sum
    over all units is one over the active ones: ``sum (R - R_0) (S - S_mean)``. The ranks' sum of squares is
    ``(n^3 - n - sum (t^3 - t)) / 12`` over all groups of t equal values, the zeros among them (Kendall & Gibbons 1990,
    chapter 3).

    Args:
        cells: of all units.
        experts: how many there are.
        target_ranks: (targets, units) average ranks, as :func:`scipy.stats.rankdata` gives them.

    Returns:
        NaN where an expert or the target is constant.
    """
    n = len(cells.units)
    order = np.lexsort([cells.value, cells.expert])
    expert, value, unit = cells.expert[order], cells.value[order], cells.unit[order]
    active = np.bincount(expert, minlength=experts)
    begin = np.cumsum(active) - active  # where an expert's cells start
    tie = np.flatnonzero((np.diff(expert, prepend=-1) != 0) | (np.diff(value, prepend=-1.0) != 0))
    size = np.diff(tie, append=len(expert))
    owner = expert[tie]
    zeros = n - active
    average = zeros[owner] + tie - begin[owner] + (size + 1) / 2
    above = np.repeat(average - (zeros[owner] + 1) / 2, size)  # rank over that of the zeros
    tied = np.bincount(owner, _cube(size), experts) + _cube(zeros)
    spread = (_cube(np.array(n)) - tied) / 12
    centred = target_ranks - (n + 1) / 2
    products = np.array([np.bincount(expert, above * target[unit], experts) for target in centred], np.float64)
    return _ratio(products, np.sqrt(np.square(centred).sum(1)[:, None] * spread))


def _cube(t: NDArray[np.integer]) -> Floats:
    """``t^3 - t``."""
    as_float = t.astype(np.float64)
    return as_float**3 - as_float


def _ratio(products: Floats, spreads: Floats) -> Floats:
    found = np.divide(products, spreads, out=np.full(products.shape, np.nan), where=spreads > 0)
    return np.clip(found, -1.0, 1.0)


def pearson_interval(r: Floats, n: int) -> tuple[Floats, Floats]:
    """Ends of the 95 % interval by Fisher's z, ``tanh(atanh r -+ 1.96 / sqrt(n - 3))``, for n independent units."""
    return _interval(r, np.full_like(r, 1 / (n - 3)))


def spearman_interval(rho: Floats, n: int) -> tuple[Floats, Floats]:
    """The same for Spearman's rho, whose z has the variance ``(1 + rho^2 / 2) / (n - 3)`` (Bonett & Wright 2000)."""
    return _interval(rho, (1 + np.square(rho) / 2) / (n - 3))


def _interval(r: Floats, variance: Floats) -> tuple[Floats, Floats]:
    with np.errstate(divide="ignore"):
        z = np.arctanh(r)
    wide = LEVEL_Z * np.sqrt(variance)
    return np.tanh(z - wide), np.tanh(z + wide)
