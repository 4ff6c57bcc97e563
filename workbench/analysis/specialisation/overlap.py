"""How far the labels of a run share their experts: Jaccard index of their core experts, and the mass they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import WorkbenchError

if TYPE_CHECKING:
    from ...store import Run

COVERAGE = 0.5


@dataclass(frozen=True)
class Overlap:
    """How far labels share experts, over all groups; each table has the labels as index and columns.

    Attributes:
        coverage: part of a label's mass that its core experts hold.
        core: (labels,) how many they are.
        jaccard: core experts that two labels share, over those that either has.
        shared: part of the mass that two labels put on the same experts.
    """

    coverage: float
    core: pd.Series
    jaccard: pd.DataFrame
    shared: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "coverage": self.coverage,
            "labels": list(self.core.index),
            "core": self.core.tolist(),
            "jaccard": self.jaccard.to_numpy().tolist(),
            "shared": self.shared.to_numpy().tolist(),
        }


def label_overlap(run: Run, coverage: float = COVERAGE) -> Overlap:
    """Shared experts of every pair of labels.

    The sets that the 2x rule gives are disjoint by construction, so the Jaccard index compares the core of each label:
    the fewest experts that hold ``coverage`` of its mass. ``shared`` needs no threshold: with a label's mass scaled to
    sum 1 over the experts of all groups, it is ``sum_e min(m_a(e), m_b(e))``, 1 less the total variation distance.

    Args:
        run: an opened run.
        coverage: part of a label's mass, above 0 and at most 1.

    Raises:
        WorkbenchError: coverage is out of range.
    """
    if not 0 < coverage <= 1:
        raise WorkbenchError(f"coverage must lie above 0 and be at most 1, got {coverage}.")
    columns = [f"mass:{label}" for label in run.labels]
    mass = np.concatenate([run.experts(group)[columns].to_numpy(np.float64) for group in run.groups]).T
    total = mass.sum(1, keepdims=True)
    mass = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
    core = np.stack([_core(row, coverage) for row in mass])
    both = core.astype(np.float64) @ core.T
    sizes = core.sum(1)
    either = sizes[:, None] + sizes - both
    jaccard = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    shared = np.stack([np.minimum(row, mass).sum(1) for row in mass])

    def table(values: NDArray[np.float64]) -> pd.DataFrame:
        return pd.DataFrame(values, index=run.labels, columns=run.labels)

    return Overlap(coverage, pd.Series(sizes, index=run.labels), table(jaccard), table(shared))


def _core(mass: NDArray[np.float64], coverage: float) -> NDArray[np.bool_]:
    """The fewest experts whose masses sum to ``coverage`` of all; ties fall to the lower id."""
    order = np.argsort(-mass, kind="stable")
    before = np.cumsum(mass[order]) - mass[order]
    chosen = np.zeros(len(mass), bool)
    chosen[order[(before < coverage * mass.sum()) & (mass[order] > 0)]] = True
    return chosen
