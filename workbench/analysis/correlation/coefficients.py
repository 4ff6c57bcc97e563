"""Exact Pearson and Spearman correlations from sparse activations, and their confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..specialisation.shares import Floats

Ints = NDArray[np.int64]
LEVEL_Z = 1.959963984540054  # normal quantile of a 95 % interval


@dataclass(frozen=True)
class Cells:
    """Values of a range of experts in consecutive units (documents or tokens): one cell per active (expert, unit).

    Attributes:
        units: numbers of the units covered; an expert without a cell in one is 0 there.
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
    """Running moments of a range of experts with several targets, updated block by block.

    Means and sums of squared deviations are merged as in Chan, Golub & LeVeque 1983 (covariances: Pébay 2008), so that
    nothing is lost to cancellation, and the blocks affect no more than the last digits.

    Args:
        experts: number of experts.
        targets: (targets, units) values that experts are correlated with.
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
        """Add a block of units; each unit must be added once."""
        size = len(cells.units)
        if not size:
            return
        targets = self.targets[:, cells.units.start : cells.units.stop]
        target_mean = targets.mean(1)
        mean = np.bincount(cells.expert, cells.value, self.experts) / size
        inactive = size - np.bincount(cells.expert, minlength=self.experts)
        deviation = np.square(cells.value - mean[cells.expert])
        square = np.bincount(cells.expert, deviation, self.experts) + inactive * np.square(mean)
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
        """Return Pearson's r, (targets, experts); NaN where an expert or the target is constant."""
        spread = np.square(self.targets).sum(1)
        return _ratio(self.product, np.sqrt(spread[:, None] * self.square))


def _centred(targets: Floats) -> Floats:
    """Subtract the mean of each target, twice: where it is large, rounding leaves a remainder the first time."""
    once = targets - targets.mean(1, keepdims=True)
    return once - once.mean(1, keepdims=True)


def rank_correlations(cells: Cells, experts: int, target_ranks: Floats) -> Floats:
    """Return Spearman's rho, Pearson's r of average ranks, with every tie accounted for.

    Of n units, an expert is 0 in all but its a active ones; these zeros tie at rank ``(n - a + 1) / 2``, so the sum
    over all units reduces to one over the active ones: ``sum (R - R_0) (S - S_mean)``. The ranks' sum of squares is
    ``(n^3 - n - sum (t^3 - t)) / 12`` over all groups of t equal values, including the zeros (Kendall & Gibbons 1990,
    chapter 3).

    Args:
        cells: of all units.
        experts: number of experts.
        target_ranks: (targets, units) average ranks, as ``scipy.stats.rankdata`` computes them.

    Returns:
        (targets, experts); NaN where an expert or the target is constant.
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
    above = np.repeat(average - (zeros[owner] + 1) / 2, size)  # rank minus that of the zeros
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
    ratio = np.divide(products, spreads, out=np.full(products.shape, np.nan), where=spreads > 0)
    return np.clip(ratio, -1.0, 1.0)


def pearson_interval(r: Floats, n: int) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % interval of r by Fisher's z: ``tanh(atanh r -+ 1.96 / sqrt(n - 3))``."""
    return _interval(r, np.full_like(r, 1 / (n - 3)))


def spearman_interval(rho: Floats, n: int) -> tuple[Floats, Floats]:
    """Return those of Spearman's rho, whose z has variance ``(1 + rho^2 / 2) / (n - 3)`` (Bonett & Wright 2000)."""
    return _interval(rho, (1 + np.square(rho) / 2) / (n - 3))


def _interval(r: Floats, variance: Floats) -> tuple[Floats, Floats]:
    with np.errstate(divide="ignore"):
        z = np.arctanh(r)
    half = LEVEL_Z * np.sqrt(variance)
    return np.tanh(z - half), np.tanh(z + half)
