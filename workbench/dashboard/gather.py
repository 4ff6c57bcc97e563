"""Choosing experts where they are found, in a grid or a table, and keeping those chosen in a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dash import ClientsideFunction, Dash, Input, Output, State, no_update

from ..errors import WorkbenchError
from ..store.address import Expert
from ..store.token_text import visible_label
from .elements import Element, dcc, dmc, html
from .freeze import freeze, plain
from .kept import keep_in_list
from .links import list_link
from .listed import read_experts
from .parts import aria, told_plainly

if TYPE_CHECKING:
    from .context import Context

GATHER = "Choose experts with their boxes to keep them in a list."
SELECTED = "gathered"  # id of what the browser has chosen: experts as group:id


def gather_box(expert: Expert) -> dict[str, Any]:
    """A box that chooses an expert of a table; assets/gather.js reads it.

    Its key has React draw a new one where another expert takes the place, instead of one that stays checked.
    """
    name = f"choose expert {expert}"
    said = {"key": f"{expert}", "data-expert": f"{expert}"} | aria(label=name)
    return plain("input", type="checkbox", className="gather-box", title=name, **said)


def gather_bar(how: str) -> Element:
    """What stands below a grid or table: how many experts are chosen, and a form that keeps them.

    A page has one at most. ``register`` has its callbacks.

    Args:
        how: says how to choose experts, as long as none is.
    """
    name = dmc.Autocomplete(
        id="gather-list", data=[], label="Add to a list", placeholder="a list, or a name for a new one", w=260
    )
    form = [
        name,
        dmc.Button("Add to list", id="gather-add"),
        dmc.Button("Choose none", id="gather-none", variant="default"),
    ]
    return html.Div(
        [
            dmc.Box(how, id="gather-count", className="gather-count", **aria(live="polite")),
            dmc.Box(html.Div(form, className="kept-row"), id="gather-form", display="none"),
            dmc.Box(id="gather-said", className="gather-said", **aria(live="polite")),
            dcc.Store(id=SELECTED, data=[]),
            dcc.Store(id="gather-how", data=how),
        ],
        id="gather-bar",
        className="gather-bar",
        role="group",
        tabIndex="-1",
        **aria(label="Chosen experts"),
    )


def gathering(parts: list[Any], how: str) -> Element:
    """Parts that callbacks fill with tables of experts, and below them the bar, as long as there are boxes in them."""
    return html.Div([*parts, gather_bar(how)], className="gathering")


def keep(ctx: Context, name: str, experts: list[Expert]) -> Element:
    """Put experts into a list, a new one if there is none of that name; says where they are now, as a link.

    Raises:
        BadInputError: the name cannot be kept, or the list would have too many experts.
        NotFoundError: the run has no such expert, or the list was deleted meanwhile.
    """
    kept = keep_in_list(ctx, name, experts)
    count = len(ctx.notes.list_experts(kept))
    said = "It is" if len(experts) == 1 else f"All {len(experts):,} are"
    link = html.A(html.Bdi(visible_label(kept)), href=list_link(kept))
    return html.P([f"{said} in the list ", link, f", which has {count:,} expert{'' if count == 1 else 's'}."])


def register(app: Dash, ctx: Context) -> None:
    """Counting what is chosen, keeping it, and choosing none."""
    app.clientside_callback(
        ClientsideFunction("gather", "shown"),
        Output("gather-count", "children"),
        Output("gather-form", "display"),
        Output("gather-said", "children", allow_duplicate=True),
        Input(SELECTED, "data"),
        State("gather-form", "display"),
        State("gather-how", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(ClientsideFunction("gather", "none"), Input("gather-none", "n_clicks"))

    @app.callback(
        Output("gather-list", "data"),
        Input("gather-form", "display"),
        prevent_initial_call=True,
    )
    def names(display: str) -> Any:
        return no_update if display == "none" else ctx.notes.list_names()

    @app.callback(
        Output("gather-said", "children"),
        Output("gather-list", "error"),
        Input("gather-add", "n_clicks"),
        Input("gather-list", "n_submit"),
        State("gather-list", "value"),
        State(SELECTED, "data"),
        prevent_initial_call=True,
    )
    def add(clicks: int | None, submits: int | None, name: str | None, chosen: list[str]) -> tuple[Any, Any]:
        if not (clicks or submits) or not chosen:
            return no_update, no_update
        try:
            return freeze(keep(ctx, name or "", read_experts(ctx, " ".join(chosen)))), None
        except WorkbenchError as error:
            return None, told_plainly(str(error))
