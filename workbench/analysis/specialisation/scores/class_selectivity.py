"""Class selectivity: how far an expert's largest rate is above the mean of the others."""

from __future__ import annotations

import numpy as np

from ..shares import Floats, first_two
from .score import LabelCounts, LabelScore


def class_selectivity(shares: Floats) -> Floats:
    """``(a - b) / (a + b)``, a being the largest rate and b the mean of the others: 0 for none, 1 for one label only.

    The class selectivity index of Morcos et al. 2018 (arXiv 1803.06959), on mean routing scores by label.

    Args:
        shares: (labels, ...) of ``label_shares``.

    Returns:
        (...), between 0 and 1; 0 for an expert without mass.
    """
    first, _ = first_two(shares)
    others = (shares.sum(0) - first) / (len(shares) - 1)
    return np.divide(first - others, first + others, out=np.zeros_like(first), where=first > 0)


def _compute(counts: LabelCounts) -> Floats:
    return class_selectivity(counts.shares)


CLASS_SELECTIVITY = LabelScore(
    name="selectivity",
    title="class selectivity",
    definition="(a - b) / (a + b), where a is the share of the preferred label and b the mean share of the others.",
    source="Morcos et al. 2018, arXiv 1803.06959",
    compute=_compute,
)
