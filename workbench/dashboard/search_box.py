"""The box in the header: an expert's id opens the expert, anything else is searched for."""

from __future__ import annotations

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, no_update

from ..errors import BadInputError, NotFoundError
from ..store.address import read_expert
from .context import Context
from .elements import dcc, dmc
from .links import expert_link, search_link
from .parts import aria, told_plainly


def drawn(ctx: Context) -> list[Any]:
    """The box; the key "/" leads to it."""
    box = dmc.TextInput(
        id="search-box",
        placeholder=f"{ctx.run.groups[0]}:1234, #endif, a text, /regex/",
        size="xs",
        rightSection=dmc.Kbd("/", size="xs"),
        rightSectionPointerEvents="none",
        spellCheck=False,
        **aria(label="search for an expert, a token, a text or documents", keyshortcuts="/"),
    )
    return [box, dcc.Store(id="search-asked")]


def destination(ctx: Context, text: str) -> str:
    """The address that a text in the box leads to. A number alone is an expert of the first group.

    Raises:
        NotFoundError: it is of the form of an expert, and the run has no such group or expert.
    """
    try:
        expert = read_expert(text, ctx.run.groups, ctx.run.num_keys, ctx.run.groups[0])
        return expert_link(expert.group, expert.id)
    except BadInputError:
        return search_link(text)


def register(app: Dash, ctx: Context) -> None:
    """Enter opens what the box says; the box shows what the page searches for."""

    app.clientside_callback(  # what stands in the box: its value comes later than a quick Enter
        ClientsideFunction("search", "typed"),
        Output("search-asked", "data"),
        Input("search-box", "n_submit"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("url", "pathname", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Output("search-box", "error"),
        Input("search-asked", "data"),
        prevent_initial_call=True,
    )
    def open_found(asked: dict[str, Any]) -> tuple[Any, Any, str | None]:
        try:
            path, _mark, query = destination(ctx, asked["text"]).partition("?")
        except NotFoundError as error:
            return no_update, no_update, told_plainly(str(error))
        return path, f"?{query}" if query else "", None

    app.clientside_callback(
        ClientsideFunction("search", "query"),
        Output("search-box", "value"),
        Input("url", "pathname"),
        Input("url", "search"),
    )
