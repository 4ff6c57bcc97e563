"""Ratio: the first label's share over the second's, which the paper's rule for specialised experts is about."""

from __future__ import annotations

from ..shares import Floats, advantage
from .score import LabelCounts, LabelScore


def _compute(counts: LabelCounts) -> Floats:
    return advantage(counts.shares)


RATIO_SCORE = LabelScore(
    name="ratio",
    title="ratio",
    definition="First label's share over the second's; the paper's rule calls an expert specialised from 2 on.",
    source="Monet paper, section 5.1",
    compute=_compute,
)
