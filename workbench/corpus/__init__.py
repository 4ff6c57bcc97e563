"""Labelled corpora: reading anything the `datasets` library reads, building them from packages, scoring their texts."""

from .build import build_corpus
from .load import load_corpus
from .scoring import load_scorer, score_corpus

__all__ = ["build_corpus", "load_corpus", "load_scorer", "score_corpus"]
