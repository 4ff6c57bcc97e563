"""Circuits that were saved by name: links to their addresses, and the form that saves the one on the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from dash import Dash, Input, Output, State, no_update
from dash import ctx as called

from ...errors import WorkbenchError
from ...store.token_text import visible_label
from ..act import act_button, act_store
from ..elements import Element, dcc, dmc, html
from ..failures import message_or
from ..freeze import freeze
from ..links import circuit_link
from ..parts import aria, panel, told_plainly

if TYPE_CHECKING:
    from ..context import Context

ADDRESS = "circuit-address"  # store of the page's query, which the script keeps up to date


def saved_panel(ctx: Context) -> Element:
    """The saved circuits and the form."""
    form = [dmc.TextInput(id="circuit-save-name", label="Name", w=260), dmc.Button("Save circuit", id="circuit-save")]
    return panel(
        "Saved circuits",
        [
            dcc.Loading(
                dmc.Box(message_or(saved_list, ctx), id="circuit-saved", **aria(live="polite")), delay_show=200
            ),
            html.Div(form, className="kept-row"),
            act_store("circuit-forget"),
            dcc.Store(id=ADDRESS),
        ],
        note="Thresholds, pins, folds and ablations are kept with it. The page's address holds the same, for sharing.",
    )


def saved_list(ctx: Context) -> Any:
    """The saved circuits, each with a button that deletes it.

    Raises:
        DamagedError: the file of the notes is damaged.
        UnsupportedError: it is of another version or model, or the run is on another machine.
    """
    entries = []
    for name, query in ctx.notes.circuits()[["name", "query"]].itertuples(index=False):
        shown = visible_label(name)
        link = html.A(html.Bdi(shown), href=circuit_link(fields_of(query)))
        entries.append(
            html.Span(
                [link, act_button("×", "circuit-forget", f"delete the circuit {shown}", name=name)],
                className="kept-chip",
            )
        )
    return html.P(entries, className="kept-lists") if entries else html.P("None yet.", className="note")


def fields_of(query: str) -> dict[str, str]:
    """The fields of a saved circuit's address, decoded.

    Examples:
        >>> from workbench.dashboard.circuit.saved import fields_of
        >>> fields_of("?text=public+static&keep=0.5")
        {'text': 'public static', 'keep': '0.5'}
    """
    return dict(parse_qsl(query.removeprefix("?")))


def register(app: Dash, ctx: Context) -> None:
    """Saving and deleting."""

    @app.callback(
        Output("circuit-saved", "children"),
        Output("circuit-save-name", "value"),
        Output("circuit-save-name", "error"),
        Input("circuit-save", "n_clicks"),
        Input("circuit-forget", "data"),
        State("circuit-save-name", "value"),
        State(ADDRESS, "data"),
        prevent_initial_call=True,
    )
    def keep(_: int | None, forget: dict[str, Any] | None, name: str | None, query: str | None) -> tuple[Any, ...]:
        try:
            if called.triggered_id == "circuit-save":
                ctx.notes.save_circuit(name or "", query or "?")
            elif forget:
                ctx.notes.delete_circuit(forget["name"])
        except WorkbenchError as error:
            return no_update, no_update, told_plainly(str(error))
        return freeze(saved_list(ctx)), "", None
