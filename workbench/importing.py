"""Whoever needs transformers takes turns: its modules are imported when a name is first used, and two threads that do
so at once find them half made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_TURN = RLock()


@contextmanager
def importing_transformers() -> Iterator[None]:
    """A block that imports from transformers, or what is built on it, while no other such block does."""
    with _TURN:
        from transformers import PreTrainedTokenizerFast  # noqa: F401  # what threads beside a model's loading need

        yield
