"""How far labels share experts: Jaccard index of their core experts, and the mass they put on the same experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import BadInputError
from ..defaults import COVERAGE

if TYPE_CHECKING:
    from ...store import Run


@dataclass(frozen=True)
class Overlap:
    """How far labels share experts, over all groups. Tables have the labels as index and columns.

    Attributes:
        coverage: part of a label's mass that its core experts hold.
        core: (labels,) number of core experts of each label.
        jaccard: core experts that two labels have in common, over those that either has; 1 on the diagonal.
        shared: part of their mass that two labels put on the same experts; 1 on the diagonal.
    """

    coverage: float
    core: pd.Series
    jaccard: pd.DataFrame
    shared: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """Return it in JSON types; tables as nested lists in the order of ``labels``."""
        return {
            "coverage": self.coverage,
            "labels": list(self.core.index),
            "core": self.core.tolist(),
            "jaccard": self.jaccard.to_numpy().tolist(),
            "shared": self.shared.to_numpy().tolist(),
        }


def label_overlap(run: Run, coverage: float = COVERAGE, labels: Sequence[str] | None = None) -> Overlap:
    """Return how far every pair of labels shares experts. Keeps nothing in the run.

    The sets of specialised experts are disjoint by construction, so the Jaccard index compares the core of each label:
    the fewest experts that hold ``coverage`` of its mass. ``shared`` needs no threshold: with a label's mass scaled to
    sum 1 over the experts of all groups, it is ``sum_e min(m_a(e), m_b(e))``, 1 less the total variation distance.

    Args:
        run: an opened run.
        coverage: part of a label's mass, above 0 and at most 1.
        labels: those to compare; all by default, which takes half a minute where there are hundreds.

    Raises:
        BadInputError: coverage is out of range.
        NotFoundError: the run has no such label.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import label_overlap
        >>> run = open_run("runs/demo")
        >>> overlap = label_overlap(run)
        >>> overlap.shared.shape == (len(run.labels), len(run.labels))
        True
        >>> bool((overlap.jaccard.to_numpy() <= 1).all())
        True
    """
    if not 0 < coverage <= 1:
        raise BadInputError(f"coverage must lie above 0 and be at most 1, got {coverage}.")
    names = run.labels if labels is None else list(labels)
    columns = [f"mass:{label}" for label in names]
    mass = np.concatenate([run.experts(group, columns).to_numpy(np.float64) for group in run.groups]).T
    total = mass.sum(1, keepdims=True)
    mass = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)
    core = np.stack([_core(row, coverage) for row in mass])
    both = core.astype(np.float64) @ core.T
    sizes = core.sum(1)
    either = sizes[:, None] + sizes - both
    jaccard = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    shared = np.stack([np.minimum(row, mass).sum(1) for row in mass])

    def table(values: NDArray[np.float64]) -> pd.DataFrame:
        return pd.DataFrame(values, index=names, columns=names)

    return Overlap(coverage, pd.Series(sizes, index=names), table(jaccard), table(shared))


def _core(mass: NDArray[np.float64], coverage: float) -> NDArray[np.bool_]:
    """The fewest experts whose masses sum to ``coverage`` of all; ties fall to the lower id."""
    order = np.argsort(-mass, kind="stable")
    before = np.cumsum(mass[order]) - mass[order]
    chosen = np.zeros(len(mass), bool)
    chosen[order[(before < coverage * mass.sum()) & (mass[order] > 0)]] = True
    return chosen
