"""The pages, one module each. A new page is a module that declares ``PAGE`` and its name in ``MODULES``.

docs/adding-a-page.md walks through one.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from urllib.parse import unquote

from ..links import Address, read_query
from ..page import Page

MODULES = (  # in the order of the menu
    "overview",
    "prompt",
    "circuit",
    "compare",
    "search",
    "mask",
    "atlas",
    "structure",
    "explanations",
    "scores",
    "diff",
    "control",
    "ownership",
    "lists",
    "jobs",
    "glossary",
    "expert",
    "label",
    "list",
    "document",
    "key",
)
PAGES: tuple[Page, ...] = tuple(import_module(f"{__name__}.{name}").PAGE for name in MODULES)


def read_address(pathname: str | None, search: str | None, pages: Sequence[Page] = PAGES) -> Address:
    """The page that an address names, ``Address.page`` being "" for an unknown one."""
    path = pathname or "/"
    query = read_query(search)
    for page in pages:
        parts = page.match(path)
        if parts is not None:
            return Address(page.name, parts, query)
    return Address("", (unquote(path),), query)
