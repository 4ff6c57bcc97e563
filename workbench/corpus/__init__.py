"""Labelled corpora: reading them as they are written, building them from packages, scoring their texts."""

from .build import build_corpus
from .load import Corpus, load_corpus, read_corpus
from .scoring import load_scorer, score_corpus

__all__ = ["Corpus", "build_corpus", "load_corpus", "load_scorer", "read_corpus", "score_corpus"]
