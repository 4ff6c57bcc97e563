"""How precisely a sample of documents gives an expert's label share, which the statistics of a run know exactly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from .shares import label_shares

if TYPE_CHECKING:
    from ..activations import CrossTable

LEVEL = 0.95  # fraction of the experts whose error is within the bound
CELLS_AT_ONCE = 2**22  # of label and expert: bounds memory

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """How far a sample's evidence about experts is from the whole run's, told by their share in their first label.

    The statistics of a run cover every document, so a share is known exactly, and how far the sample alone would be off
    is measured, not estimated. Tests, replication and scores that rest on the sample are as far from what all documents
    would give.

    Attributes:
        experts: those that the sample has enough tokens of to test; of the distances between their share in the sample
            and that of all documents it is:
        median: half of the experts are closer.
        bound: 95 % of them are closer.
    """

    experts: int
    median: float
    bound: float

    @classmethod
    def of(cls, whole: Floats, share: Floats) -> Self:
        """From the experts' shares in all documents and in the sample, (experts,) each."""
        if not len(whole):
            return cls(0, float("nan"), float("nan"))
        median, bound = np.quantile(np.abs(share - whole), [0.5, LEVEL])
        return cls(len(whole), float(median), float(bound))

    def __str__(self) -> str:
        return (
            f"of {self.experts:,} experts with enough tokens in the sample, half have a share in their first label "
            f"within {self.median:.3f} of that in all documents, and {LEVEL:.0%} within {self.bound:.3f}"
        )

    def to_json(self) -> dict[str, Any]:
        """Its attributes."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The precision that ``to_json`` describes, null read as NaN."""
        median, bound = (float("nan") if stored[name] is None else stored[name] for name in ("median", "bound"))
        return cls(stored["experts"], median, bound)


def sampled_shares(table: CrossTable, label: Ints, label_tokens: Ints, experts: Ints, chosen: Ints) -> Floats:
    """The share that experts have in one label each, from a table of mass by document.

    Args:
        table: of some documents.
        label: (documents,) label numbers.
        label_tokens: (labels,) tokens of these documents.
        experts: (n,) ascending ids.
        chosen: (n,) number of a label for each.
    """
    share, labels = np.zeros(len(experts)), len(label_tokens)
    step = max(1, CELLS_AT_ONCE // labels)
    for start in range(0, len(experts), step):
        block = experts[start : start + step]
        begin, end = np.searchsorted(table.expert, [block[0], block[-1] + 1])
        row = np.searchsorted(block, table.expert[begin:end])
        known = block[np.minimum(row, len(block) - 1)] == table.expert[begin:end]
        cell = label[table.number[begin:end][known]] * len(block) + row[known]
        mass: Floats = np.bincount(cell, table.mass[begin:end][known], labels * len(block)).astype(np.float64)
        shares = label_shares(mass.reshape(labels, -1), label_tokens)
        share[start : start + step] = shares[chosen[start : start + step], np.arange(len(block))]
    return share
