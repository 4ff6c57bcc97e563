"""How a check reports a problem."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import WorkbenchError


class Wrong(Exception):
    """What is wrong, as a sentence without the file's name and the full stop."""


def expect(right: Any, sentence: str) -> None:
    """Raises ``Wrong`` with the sentence unless it is right."""
    if not right:
        raise Wrong(sentence)


@contextmanager
def about(name: str, problems: list[str]) -> Iterator[None]:
    """Add what goes wrong inside to ``problems``, as a sentence about the file ``name``."""
    try:
        yield
    except Wrong as wrong:
        problems.append(f"{name}: {wrong}.")
    except WorkbenchError as error:
        problems.append(f"{name} cannot be read: {error.__cause__ or error}.")
    except Exception as error:  # whatever libraries raise on unforeseen content: the file is damaged
        problems.append(f"{name} is malformed: {error!r}.")
