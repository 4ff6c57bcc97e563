"""What experts are said to know: the explanations kept in the run, found by their words."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import Dash, Input, Output, State, html, no_update

from ...explain import read_explanations, search_explanations
from ..context import Context
from ..links import Address, expert_link, explanations_link
from ..parts import number, panel, run_first, table

SHOWN = 100


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?q=words`` shows the explanations that hold them."""
    title = html.H1("Explanations")
    stored = read_explanations(ctx.run)
    if not len(stored):
        command = f"monet explain {ctx.run.path} --top 100"
        return [title, run_first("Nothing explained yet", "Sentences about experts are here", command)]
    query = address.query.get("q", "").strip()
    found = search_explanations(ctx.run, query, SHOWN) if query else _best(stored)
    box = html.Div(
        [
            dmc.TextInput(id="explanations-query", value=query, label="Words in an explanation", w=360),
            dmc.Button("Search", id="explanations-search", n_clicks=0),
        ],
        className="search-box",
    )
    said = (
        f"{len(found):,} of {len(stored):,} explanations"
        + (f" hold “{query}”." if query else ", those of highest detection score first.")
        + " `monet search` also finds what means the same."
    )
    return [title, panel("Search", [box, html.P(said, className="note")]), _found(ctx, found)]


def _best(stored: pd.DataFrame) -> pd.DataFrame:
    return stored.sort_values("detection", ascending=False, kind="stable", na_position="last").head(SHOWN)


def _found(ctx: Context, found: pd.DataFrame) -> Any:
    rows = [
        [html.A(f"{row['group']}:{row['expert']}", href=expert_link(row["group"], row["expert"])), *said(row)]
        for row in found.to_dict("records")
    ]
    return panel(
        "Experts",
        html.Div(table(["expert", *HEAD], rows, "Explanations of experts", numeric=3), className="wide"),
        note=NOTE,
    )


HEAD = ["explanation", "written by", "detection", "control", "fuzzing", "control"]
NOTE = (
    "Detection: whether a judge who has only the sentence tells passages where the expert fires from others, as "
    "balanced accuracy (0.5 is chance). Fuzzing: whether it tells the tokens it fires on. Control: another expert's "
    "sentence."
)


def said(row: dict[str, Any]) -> list[Any]:
    """The cells of one explanation, under :data:`HEAD`."""
    scores = (row[name] for name in ("detection", "detection:control", "fuzzing", "fuzzing:control"))
    return [row["text"], f"{row['author']} ({row['kind']})", *(number(value, 2) for value in scores)]


def register(app: Dash, ctx: Context) -> None:
    """The search box puts its words in the address."""

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
