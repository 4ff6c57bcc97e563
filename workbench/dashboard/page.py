"""What a page declares of itself. Routing, menu, tab title and callbacks are all derived from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..store.address import read_path_part
from .links import Address

if TYPE_CHECKING:
    from dash import Dash

    from .context import Context


@dataclass(frozen=True)
class Page:
    """One page of the dashboard; its module declares it as ``PAGE`` and is named in ``pages/__init__.py``.

    Attributes:
        name: identifies the page in the code.
        path: its address, with the variable parts in braces: ``/expert/{group}/{expert}``.
        title: what the browser's tab calls it: a text, or a function of context and address.
        layout: draws it. An error of ``workbench.errors`` that it raises becomes a page that says so, with the
            HTTP status of its kind.
        navigation: its name in the menu; "" keeps it out.
        register: adds its callbacks to the application.
        follows: id of a ``dcc.Store`` of its layout that takes the query whenever the address changes from one of this
            page's to another: its callbacks then update what changed. "" for a page that is drawn again.
        useful: whether the menu shows it for a run; by default always. A page that has nothing for a run, and cannot be
            filled from a page, stays out.
    """

    name: str
    path: str
    title: str | Callable[[Context, Address], str]
    layout: Callable[[Context, Address], list[Any]]
    navigation: str = ""
    register: Callable[[Dash, Context], None] | None = None
    follows: str = ""
    useful: Callable[[Context], bool] = lambda _: True

    def match(self, path: str) -> tuple[str, ...] | None:
        """The variable parts of a path, decoded; None where the path is another page's."""
        literal = re.split(r"{\w+}", self.path.rstrip("/"))
        match = re.fullmatch("([^/]+)".join(map(re.escape, literal)) + "/?", path)
        return tuple(map(read_path_part, match.groups())) if match else None

    def title_of(self, ctx: Context, address: Address) -> str:
        """What the tab calls this address of the page."""
        return self.title if isinstance(self.title, str) else self.title(ctx, address)
