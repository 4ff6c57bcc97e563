"""What explanations quote: tokens and contexts, between backticks."""

from __future__ import annotations

import re
from collections.abc import Iterator

_QUOTES = re.compile(r"(“[^”]*”)|`([^`]+)`")  # what has a backtick itself is quoted in “ ”


def quoted_parts(text: str) -> Iterator[tuple[str, bool]]:
    """The parts of an explanation in its order, each with whether it is quoted; a quoted one is without its backticks.

    Examples:
        >>> from workbench.report.quotes import quoted_parts
        >>> list(quoted_parts("Fires at `end` or “`”."))
        [('Fires at ', False), ('end', True), (' or “`”.', False)]
    """
    start = 0
    for quote in _QUOTES.finditer(text):
        if quote[2]:
            yield text[start : quote.start()], False
            yield quote[2], True
            start = quote.end()
    yield text[start:], False
