"""Label selectivity, stored as monosemanticity: one less the normalised entropy of an expert's label shares."""

from __future__ import annotations

import numpy as np

from ..shares import Floats
from .score import LabelCounts, LabelScore


def monosemanticity(shares: Floats) -> Floats:
    """``1 - H(share) / log L``: 1 for an expert of one label, 0 for one that treats all L labels alike.

    H is the entropy of the shares, by which Schug et al. 2005 (Genome Biology 6:R33) measure how specific a gene is to
    tissues. Biased upwards where few tokens were seen.

    Args:
        shares: (labels, ...) of ``label_shares``.

    Returns:
        (...), between 0 and 1; 0 for an expert without mass.
    """
    entropy = np.zeros_like(shares[0])
    for share in shares:
        entropy -= share * np.log(np.where(share > 0, share, 1))
    return np.where(shares.sum(0) > 0, 1 - entropy / np.log(len(shares)), 0).astype(shares.dtype)


def _compute(counts: LabelCounts) -> Floats:
    return monosemanticity(counts.shares)


MONOSEMANTICITY = LabelScore(
    name="monosemanticity",
    title="label selectivity",
    definition="1 - H(label shares) / log(labels): 1 if an expert is active for one label only, 0 if for all alike.",
    source="Schug et al. 2005, Genome Biology 6:R33",
    compute=_compute,
)
