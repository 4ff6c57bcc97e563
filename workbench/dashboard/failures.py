"""What an error looks like: its HTTP status, the heading of the page that reports it, and its words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from dash import html

from ..errors import BadInputError, DamagedError, NotAnalysedError, NotFoundError, UnsupportedError, WorkbenchError
from .links import overview_link
from .parts import message

_log = logging.getLogger(__name__)


class Kind(NamedTuple):
    """A kind of error, as the dashboard shows it."""

    status: int
    heading: str


KINDS: dict[type[WorkbenchError], Kind] = {
    NotFoundError: Kind(404, "Not found"),
    BadInputError: Kind(400, "Not a valid request"),
    NotAnalysedError: Kind(409, "Not analysed yet"),
    DamagedError: Kind(500, "Damaged file"),
    UnsupportedError: Kind(501, "Not supported"),
    WorkbenchError: Kind(400, "Cannot be shown"),
}
UNEXPECTED = Kind(500, "Something went wrong")


def kind_of(error: Exception) -> Kind:
    """Status and heading of an error."""
    return next((kind for cls, kind in KINDS.items() if isinstance(error, cls)), UNEXPECTED)


def text_of(error: Exception) -> str:
    """What the reader is told; an unexpected error also goes to the log, with its traceback."""
    if isinstance(error, WorkbenchError):
        return str(error)
    _log.error("the dashboard failed", exc_info=error)
    return f"{type(error).__name__}: {error}. The server's log has the traceback."


def failure_page(error: Exception) -> list[Any]:
    """The page in place of one that cannot be drawn."""
    return [
        html.H1(kind_of(error).heading),
        message("This page cannot be shown", text_of(error), "error"),
        html.A("Go to the Experts page", href=overview_link()),
    ]


def message_or(draw: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What ``draw(*arguments)`` returns, as a list; or a message where the stored result that it reads is damaged, of
    another run or of another version, so that one panel of a page does not take the others with it.
    """
    try:
        drawn = draw(*arguments)
    except (DamagedError, UnsupportedError) as error:
        return [message(kind_of(error).heading, str(error), "error")]
    return drawn if isinstance(drawn, list) else [drawn]
