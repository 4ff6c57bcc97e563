"""How precisely a sample of documents gives an expert's label share, which the statistics of a run know exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..activations import CrossTable

LEVEL, LEVEL_Z = 0.95, 1.959964  # of the intervals
CELLS_AT_ONCE = 2**22  # of label and expert: bounds memory

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """How far a sample's evidence about experts can be trusted, told by their share in their first label.

    That share is known of the whole run, whose statistics cover every document. From the sample alone it would be known
    to within an interval; how wide these are, and how many hold the whole run's share, is what this says.

    Attributes:
        experts: those that the sample has enough tokens of to test; of their intervals it is:
        half_width: median half width of the 95 % intervals.
        half_width_90: nine in ten are at most so wide.
        covered: fraction that hold the whole run's share.
    """

    experts: int
    half_width: float
    half_width_90: float
    covered: float

    @classmethod
    def of(cls, whole: Floats, share: Floats, error: Floats) -> Self:
        """From the whole run's shares, those in the sample and their standard errors, each (experts,)."""
        known = np.isfinite(error)
        half = LEVEL_Z * error[known]
        if not len(half):
            return cls(0, float("nan"), float("nan"), float("nan"))
        inside = np.abs(share[known] - whole[known]) <= half
        return cls(len(half), float(np.median(half)), float(np.quantile(half, 0.9)), float(inside.mean()))

    def __str__(self) -> str:
        return (
            f"from the sample alone an expert's share in its first label would be known to ± {self.half_width:.3f} "
            f"(median of {self.experts:,} experts; nine in ten: ± {self.half_width_90:.3f}); the whole run's lies in "
            f"{self.covered:.0%} of these {LEVEL:.0%} intervals"
        )

    def to_json(self) -> dict[str, Any]:
        """Its attributes."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The precision that ``to_json`` describes, null read as NaN."""
        return cls(**{name: float("nan") if value is None else value for name, value in stored.items()})


@dataclass(frozen=True)
class SampledLabels:
    """The documents of a sample drawn per label, and how many there are to draw from.

    Attributes:
        label: (documents,) label numbers.
        tokens: (documents,) tokens, above 0.
        population: (labels,) documents of each label in the run.
    """

    label: Ints
    tokens: Ints
    population: Ints

    def shares(self, table: CrossTable, experts: Ints, chosen: Ints) -> tuple[Floats, Floats]:
        """An expert's share in one label, and the standard error of that.

        A label's rate is a ratio of sums over documents, ``mass / tokens``, whose variance is that of the residuals
        ``mass - rate * tokens`` between documents, less what is drawn of all documents (Cochran 1977, section 6.3).
        Labels are drawn apart, so the variance of a share follows from those of the rates to first order.

        Args:
            table: mass by document.
            experts: (n,) ascending ids of all experts in the table.
            chosen: (n,) number of a label for each.

        Returns:
            (n,) shares and (n,) standard errors; NaN where the error is not known: one document drawn of several.
        """
        share, error = np.zeros(len(experts)), np.zeros(len(experts))
        step = max(1, CELLS_AT_ONCE // len(self.population))
        for start in range(0, len(experts), step):
            block = slice(start, start + step)
            share[block], error[block] = self._shares(table, experts[block], chosen[block])
        return share, error

    def _shares(self, table: CrossTable, experts: Ints, chosen: Ints) -> tuple[Floats, Floats]:
        begin, end = np.searchsorted(table.expert, [experts[0], experts[-1] + 1])
        document, labels, n = table.number[begin:end], len(self.population), len(experts)
        cell = self.label[document] * n + np.searchsorted(experts, table.expert[begin:end])
        mass, tokens = table.mass[begin:end].astype(np.float64), self.tokens[document].astype(np.float64)
        sums = (np.bincount(cell, value, labels * n).reshape(labels, n) for value in (mass, mass**2, mass * tokens))
        mass, square, product = sums
        drawn = np.bincount(self.label, minlength=labels).astype(np.float64)[:, None]
        total, total_square = (
            np.bincount(self.label, self.tokens.astype(np.float64) ** power, labels)[:, None] for power in (1, 2)
        )
        rate = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
        residual = np.maximum(square - 2 * rate * product + rate**2 * total_square, 0.0)
        left_out = 1 - drawn / np.maximum(self.population[:, None], 1)
        with np.errstate(all="ignore"):
            variance = left_out * drawn * residual / (drawn - 1) / total**2
        whole = (left_out == 0) | (self.population[:, None] == 0)
        variance = np.where(whole, 0.0, variance)  # all of a label's documents: nothing is left to chance
        rates = rate.sum(0)
        at = np.arange(n)
        share = np.divide(rate[chosen, at], rates, out=np.zeros(n), where=rates > 0)
        others = variance.sum(0) - variance[chosen, at]
        spread = (1 - share) ** 2 * variance[chosen, at] + share**2 * others
        return share, np.sqrt(np.divide(spread, rates**2, out=np.full(n, np.nan), where=rates > 0))
