"""Long lists a part at a time: the page that an address asks for, and the steps to those beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import BadInputError
from .elements import Element, html
from .parts import IN_PLACE, Child, aria, keeping


def read_page(text: str) -> int:
    """The page that an address asks for, from 1; the first one for "".

    Raises:
        BadInputError: it asks for something that is no number.
    """
    if text and not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise BadInputError(f"the page {text[:40]!r} is not a whole number from 1.")
    return int(text or 1)


def step(text: str, address: str | None, keeps: Sequence[str] = ()) -> Child:
    """A button to another part of a list; without an address it leads nowhere.

    Args:
        text: what it says.
        address: where it leads.
        keeps: of a list that is only a part of its page: the fields of the address that it is to keep, as ``keeping``
            takes them; the page then stays where it is.
    """
    if address is None:
        return html.Span(text, className="button disabled", **aria(disabled="true"))
    where: dict[str, Any] = {"className": f"button {IN_PLACE}", **keeping(*keeps)} if keeps else {"className": "button"}
    return html.A(text, href=address, **where)


def steps(name: str, page: int, more: bool, address: Callable[[int], str]) -> Element | None:
    """Buttons to the pages before and after one; None where it is the only one.

    Args:
        name: what is listed, for screen readers.
        page: the one that is shown, from 1.
        more: whether another follows.
        address: that of a page.
    """
    if page == 1 and not more:
        return None
    before = step("← earlier", address(page - 1) if page > 1 else None)
    after = step("later →", address(page + 1) if more else None)
    place = html.Span(f"page {page:,}", className="place")
    return html.Nav([before, place, after], className="expert-nav pages-nav", **aria(label=f"pages of {name}"))
