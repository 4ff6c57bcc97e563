"""The explanations that the run holds, searched by their words."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import Dash, Input, Output, State, no_update

from ...explain import read_explanations, search_explanations
from ..context import Context
from ..elements import Element, dmc, html
from ..explained import NUMERIC, cells, explain_first, heading, note
from ..links import EXPLANATIONS_PATH, Address, expert_link, explanations_link
from ..page import Page
from ..parts import Child, command, panel, table

SHOWN = 100


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?q=words`` shows the explanations that contain them."""
    title = html.H1("Explanations")
    stored = read_explanations(ctx.run)
    if not len(stored):
        return [title, *explain_first(ctx, "No explanations yet")]
    query = address.query.get("q", "").strip()
    shown = search_explanations(ctx.run, query, SHOWN) if query else _best(stored)
    box = html.Div(
        [
            dmc.TextInput(id="explanations-query", value=query, label="Words in an explanation", className="query"),
            dmc.Button("Search", id="explanations-search", n_clicks=0),
        ],
        className="search-box",
    )
    which = f"contain “{query}”" if query else "are shown, highest detection first"
    found: list[Child] = [
        f"{len(shown):,} of {len(stored):,} explanations {which}. To search by meaning, use ",
        html.Code(command("search", ctx.run.path, query or "QUERY"), className="command"),
        ".",
    ]
    return [title, panel("Search", [box, html.P(found, className="note")]), _list(shown)]


def _best(stored: pd.DataFrame) -> pd.DataFrame:
    return stored.sort_values("detection", ascending=False, kind="stable", na_position="last").head(SHOWN)


def _list(shown: pd.DataFrame) -> Element:
    rows = [
        [html.A(f"{row['group']}:{row['expert']}", href=expert_link(row["group"], row["expert"])), *cells(row)]
        for row in shown.to_dict("records")
    ]
    drawn = table(["expert", *heading()], rows, "Explanations of experts", numeric=NUMERIC + 1)
    return panel("Experts", drawn, note=note())


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
