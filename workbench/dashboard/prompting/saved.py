"""Edits that are kept under a name, from the prompt page: keeping the one that its rows show, and loading another."""

from __future__ import annotations

from typing import Any

from dash import Dash, Input, Output, State, no_update

from ...errors import DamagedError, NotFoundError, UnsupportedError, WorkbenchError
from ...store.token_text import visible_label
from ..context import Context
from ..elements import Element, dmc, html
from ..links import prompt_search, read_query
from ..parts import aria, told_plainly
from .editing import with_edit


def saved_row(ctx: Context) -> Element:
    """The choice among the saved edits, and the form that keeps the edit of the page."""
    chosen = dmc.Select(
        id="edit-load",
        data=saved_names(ctx),
        label="Load a saved edit",
        placeholder="by name",
        nothingFoundMessage="none is kept yet",
        searchable=True,
        w=220,
    )
    name = dmc.TextInput(id="edit-name", label="Keep this edit as", placeholder="name", w=220)
    keep = dmc.Button("Keep", id="edit-keep", n_clicks=0, variant="default", **aria(label="keep the edit by name"))
    told = dmc.Text(id="edit-kept", size="sm", className="note", **aria(live="polite"))
    return html.Div([chosen, name, keep, told], className="prompt-fields")


def saved_names(ctx: Context) -> list[dict[str, str]]:
    """The saved edits as a select lists them; none where they cannot be read, which is told when one is kept."""
    try:
        return [{"value": name, "label": visible_label(name)} for name in ctx.notes.edits()["name"]]
    except (DamagedError, UnsupportedError):
        return []


def loaded(ctx: Context, name: str, search: str, text: str | None) -> str:
    """The address of the prompt page under a saved edit in place of its own.

    Args:
        ctx: the run.
        name: of the saved edit.
        search: the address's query.
        text: what stands in the box for the text, run or not; it stays.

    Raises:
        NotFoundError: no edit is saved under that name.
        BadInputError: the address does not hold text and edit.
    """
    saved = dict(ctx.notes.edits()[["name", "edit"]].itertuples(index=False))
    if name not in saved:
        raise NotFoundError(f"there is no edit {name!r}; it may have been deleted.")
    return prompt_search(with_edit(ctx, read_query(search), text or None, saved[name]))


def register(app: Dash, ctx: Context) -> None:
    """Keeping leaves the page as it is; loading puts the edit into the address, which the rows follow."""

    @app.callback(
        Output("edit-load", "data"),
        Output("edit-name", "value"),
        Output("edit-name", "error"),
        Output("edit-kept", "children"),
        Input("edit-keep", "n_clicks"),
        Input("edit-name", "n_submit"),
        State("edit-name", "value"),
        State("prompt-edit", "value"),
        prevent_initial_call=True,
    )
    def keep(clicks: int, enter: int | None, name: str | None, edit: str | None) -> tuple[Any, ...]:
        if not (clicks or enter):
            return (no_update,) * 4
        try:
            kept = ctx.notes.save_edit(name or "", edit or "")
        except WorkbenchError as error:
            return no_update, no_update, told_plainly(str(error)), None
        return saved_names(ctx), "", None, f"Kept as {visible_label(kept)}."

    @app.callback(
        Output("url", "search", allow_duplicate=True),
        Output("edit-load", "value"),
        Output("edit-load", "error"),
        Input("edit-load", "value"),
        State("url", "search"),
        State("prompt-text", "value"),
        prevent_initial_call=True,
    )
    def load(name: str | None, search: str, text: str | None) -> tuple[Any, ...]:
        if not name:
            return no_update, no_update, no_update
        try:
            return loaded(ctx, name, search, text), None, None
        except WorkbenchError as error:
            return no_update, None, told_plainly(str(error))
