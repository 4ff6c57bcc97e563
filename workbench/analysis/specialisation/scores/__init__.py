"""Scores of experts, one per file. ``SCORES`` is the registry; docs/adding-a-score.md walks through a new one."""

from __future__ import annotations

from typing import TypeVar

from .class_selectivity import CLASS_SELECTIVITY
from .coherence import ENCODER_COHERENCE, RESIDUAL_COHERENCE
from .label_information import LABEL_INFORMATION
from .monosemanticity import MONOSEMANTICITY
from .ratio import RATIO_SCORE as RATIO_SCORE
from .score import ContextScore as ContextScore
from .score import Embeddings as Embeddings
from .score import LabelCounts as LabelCounts
from .score import LabelScore as LabelScore
from .score import Score as Score
from .score import TextScore as TextScore
from .vocabulary_entropy import VOCABULARY_ENTROPY

S = TypeVar("S", bound=Score)

SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        MONOSEMANTICITY,
        RATIO_SCORE,
        CLASS_SELECTIVITY,
        LABEL_INFORMATION,
        VOCABULARY_ENTROPY,
        RESIDUAL_COHERENCE,
        ENCODER_COHERENCE,
    )
}


def scores_of_kind(kind: type[S]) -> dict[str, S]:
    """The registered scores of a kind by name, such as every ``LabelScore``."""
    return {name: score for name, score in SCORES.items() if isinstance(score, kind)}
