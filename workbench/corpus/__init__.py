"""Labelled corpora: building them from packages, and reading anything the `datasets` library reads."""

from .build import build_corpus
from .load import load_corpus

__all__ = ["build_corpus", "load_corpus"]
