"""What an error looks like on a page: its heading and its words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..errors import DamagedError, UnsupportedError, WorkbenchError, kind_of
from .elements import html
from .links import overview_link
from .parts import message

_log = logging.getLogger(__name__)


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
