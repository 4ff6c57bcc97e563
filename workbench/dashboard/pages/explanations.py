"""The explanations that the run holds, searched by their words and, where the encoder is installed, by meaning."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import Dash, Input, Output, State, no_update

from ...explain import read_explanations
from ...search import explanations_matching
from ..context import Context
from ..elements import Element, dmc, html
from ..explained import NUMERIC, cells, explain_first, heading, note
from ..found import EVERY, how_found, shown_page
from ..links import EXPLANATIONS_PATH, Address, expert_link, explanations_link
from ..page import Page
from ..paging import steps
from ..parts import panel, table

SHOWN = 100


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?q=words`` shows the explanations that say them, ``&page=2`` further ones.

    Raises:
        BadInputError: the page asked for is none.
        WorkbenchError: as ``workbench.search.explanations_matching``.
    """
    title = html.H1("Explanations")
    stored = read_explanations(ctx.run)
    if not len(stored):
        return [title, *explain_first(ctx, "No explanations yet")]
    query = address.query.get("q", "").strip()
    every = explanations_matching(ctx.run, query, EVERY) if query else _best(stored)
    page = shown_page(address, len(every), SHOWN)
    first = SHOWN * (page - 1)
    shown = every.iloc[first : first + SHOWN]
    box = html.Div(
        [
            dmc.TextInput(id="explanations-query", value=query, label="What an explanation says", className="query"),
            dmc.Button("Search", id="explanations-search", n_clicks=0),
        ],
        className="search-box",
    )
    which = f"for “{query}”" if query else "are listed, highest detection first"
    which += f": {how_found(every)}" if query and len(every) else ""
    told = html.P(f"{len(every):,} of {len(stored):,} explanations {which}.", className="note")
    pages = steps("explanations", page, first + len(shown) < len(every), lambda at: explanations_link(query, at))
    return [title, panel("Search", [box, told]), _list(shown, pages)]


def _best(stored: pd.DataFrame) -> pd.DataFrame:
    return stored.sort_values("detection", ascending=False, kind="stable", na_position="last")


def _list(shown: pd.DataFrame, pages: Element | None) -> Element:
    rows = [
        [html.A(f"{row['group']}:{row['expert']}", href=expert_link(row["group"], row["expert"])), *cells(row)]
        for row in shown.to_dict("records")
    ]
    drawn = table(["expert", *heading()], rows, "Explanations of experts", numeric=NUMERIC + 1)
    return panel("Experts", [drawn, pages], note=note())


def register(app: Dash, ctx: Context) -> None:
    """The search box puts its text in the address."""

    @app.callback(
        Output("url", "pathname", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Input("explanations-search", "n_clicks"),
        Input("explanations-query", "n_submit"),
        State("explanations-query", "value"),
        prevent_initial_call=True,
    )
    def search(clicks: int, entered: int | None, query: str | None) -> tuple[Any, Any]:
        if not (clicks or entered):
            return no_update, no_update
        path, _, rest = explanations_link((query or "").strip()).partition("?")
        return path, f"?{rest}" if rest else ""


PAGE = Page("explanations", EXPLANATIONS_PATH, "Explanations", layout, navigation="Explanations", register=register)
