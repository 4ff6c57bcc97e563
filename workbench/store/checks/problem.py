"""How a check says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import WorkbenchError


class Wrong(Exception):
    """A sentence about what does not fit, without the file's name and the full stop."""


def expect(right: Any, sentence: str) -> None:
    """Raises :class:`Wrong` with the sentence unless it is right."""
    if not right:
        raise Wrong(sentence)


@contextmanager
def about(name: str, problems: list[str]) -> Iterator[None]:
    """Enters what is found wrong inside into ``problems``, as a sentence about the file ``name``."""
    try:
        yield
    except Wrong as wrong:
        problems.append(f"{name}: {wrong}.")
    except WorkbenchError as error:
        problems.append(f"{name} cannot be read: {error.__cause__ or error}.")
    except Exception as error:  # whatever libraries raise about content that nobody foresaw: the file is damaged
        problems.append(f"{name} does not hold what it should: {error!r}.")
