"""The glossary: every term of the pages, defined once."""

from __future__ import annotations

from typing import Any

from ...report.glossary import SECTIONS
from ..context import Context
from ..elements import Element, html
from ..links import GLOSSARY_PATH, Address, anchor
from ..page import Page
from ..parts import panel


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``#mass`` scrolls to a term."""
    return [html.H1("Glossary"), *(_section(title, terms) for title, terms in SECTIONS.items())]


def _section(title: str, terms: dict[str, str]) -> Element:
    entries: list[Any] = []
    for term, definition in terms.items():
        entries += [html.Dt(term, id=anchor(term)), html.Dd(definition)]
    return panel(title, html.Dl(entries, className="glossary"))


PAGE = Page("glossary", GLOSSARY_PATH, "Glossary", layout, navigation="Glossary")
