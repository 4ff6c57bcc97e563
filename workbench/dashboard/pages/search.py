"""One search for all of a run: experts that fire on a text, experts of the text, documents, explanations and labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dash import Dash, Input, Output

from ...errors import NotFoundError, WorkbenchError
from ...report.labels import shortened
from ...search import example_queries, read_pattern
from ...store.token_text import visible, visible_label
from .. import found, found_text
from ..context import Context
from ..elements import Element, dcc, dmc, html
from ..freeze import freeze
from ..links import SEARCH_PATH, Address, search_link
from ..page import Page
from ..parts import LONGEST_NAME, aria, message, panel, tabs


class Kind(NamedTuple):
    """One kind of search: what its tab says, and what draws its answer."""

    name: str
    draw: Callable[[Context, Address], list[Any]]


KINDS = {
    "firing": Kind("Experts that fire on it", found.firing),
    "text": Kind("Experts of the text", found_text.text),
    "documents": Kind("Documents", found.documents),
    "explanations": Kind("Explanations and labels", found.explanations),
}


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; a callback computes the kind that is asked for, and no other.

    Raises:
        NotFoundError: there is no such kind of search.
    """
    query, kind = address.query.get("q", ""), _kind(address)
    if not query:
        return [html.H1("Search"), _invitation(ctx)]
    links = [(known.name, search_link(query, name), name == kind) for name, known in KINDS.items()]
    if kind == "text":
        ctx.prepare_model()
    return [
        html.H1(["Search for ", html.Span(shortened(visible(query), LONGEST_NAME), className="search-query")]),
        tabs("kind of search", links),
        dcc.Store(id="search-query", data=address.query),
        dcc.Loading(dmc.Box(id="search-answer", **aria(live="polite")), delay_show=200),
    ]


def _kind(address: Address) -> str:
    """The kind asked for; by default firing experts, and documents for an expression."""
    _, regex = read_pattern(address.query.get("q", ""))
    kind = address.query.get("kind", "documents" if regex else "firing")
    if kind not in KINDS:
        raise NotFoundError(f"there is no search of kind {kind!r}; there are {', '.join(KINDS)}.")
    return kind


def _invitation(ctx: Context) -> Element:
    """What can be typed, with examples that this run answers."""
    try:
        texts = example_queries(ctx.run)
    except WorkbenchError:  # a run of token ids has no texts to suggest
        texts = []
    chips = [html.A(visible(text), href=search_link(text), className="chip") for text in texts]
    label = ctx.labels[0]
    name = shortened(visible_label(label), LONGEST_NAME)
    others = [
        html.A("the experts of a typed text", href=search_link("The model reads this.", "text")),
        html.A("documents with a number of four digits", href=search_link(r"/\b\d{4}\b/")),
        html.A(f"explanations that say {name}", href=search_link(label, "explanations")),
    ]
    return panel(
        "What to search for",
        [
            html.P(["Which experts fire on ", *_listed(chips), "?"]) if chips else None,
            html.P(["Or look for ", *_listed(others), "."]),
        ],
        note=[
            "Type in the box at the top; the key ",
            html.Kbd("/"),
            " leads there. An expert's id opens the expert; a text between slashes is a regular expression.",
        ],
        kind="narrow search-examples",
    )


def _listed(items: list[Any]) -> list[Any]:
    return [part for at, item in enumerate(items) for part in ((", " if at else ""), item)]


def register(app: Dash, ctx: Context) -> None:
    """The answer to the search in the address, and the choice of a density."""
    found_text.register(app, ctx)

    @app.callback(Output("search-answer", "children"), Input("search-query", "data"))
    def show(query: dict[str, str]) -> Any:
        return answer(ctx, Address("search", query=query))


def answer(ctx: Context, address: Address) -> Any:
    """What the search of an address finds, or a message that says why it cannot be done."""
    try:
        return freeze(KINDS[_kind(address)].draw(ctx, address))
    except WorkbenchError as error:
        return message("Nothing was searched", str(error), "error")


def _title(ctx: Context, address: Address) -> str:
    query = address.query.get("q", "")
    return f"Search for {shortened(visible(query), LONGEST_NAME)}" if query else "Search"


PAGE = Page("search", SEARCH_PATH, _title, layout, navigation="Search", register=register)
