"""Corpus texts and other people's words, made safe and readable inside a sentence."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from ..store.token_text import visible

MAX_CHARACTERS = 1000  # of an explanation


def one_line(text: str) -> str:
    """``text`` on one line, cut to ``MAX_CHARACTERS``, without control characters that could hide or turn text."""
    line = " ".join(text.split())
    return "".join(c for c in line if unicodedata.category(c)[0] != "C")[:MAX_CHARACTERS]


def quoted(text: str) -> str:
    """A token's text in quotation marks, with spaces and control characters made visible."""
    return f"“{visible(text)}”"


def listed(items: Sequence[str]) -> str:
    """Items as a list in a sentence: ``a, b and c``."""
    return " and ".join(part for part in (", ".join(items[:-1]), *items[-1:]) if part)
