"""The atlas: every expert of every group in its place on the lattice, coloured by one quantity on one scale."""

from __future__ import annotations

import re
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State

from ...errors import BadInputError
from ..atlas import answers
from ..atlas.colourings import LABEL, colourings, read_colouring
from ..atlas.legend import legend
from ..atlas.listing import region_parts, register_region
from ..atlas.painting import margin_title
from ..atlas.regions import CELLS, read_region
from ..context import Context
from ..elements import Element, dcc, dmc, html
from ..freeze import freeze
from ..gather import GATHER, gathering
from ..links import ATLAS_PATH, Address, atlas_link, atlas_templates
from ..page import Page
from ..parts import aria, chosen_group, panel, tabs, term
from ..running import unanalysed

HINT = (
    "Nothing is selected. Drag with Shift over a map, or press Select and drag; with the keyboard, press Shift and an "
    "arrow key. The experts inside are listed here."
)
HELP = (
    "Arrow keys move from expert to expert, Page Up, Page Down, Home and End by 16; with Shift they select. "
    "Enter opens the expert, + and − zoom, 0 shows all, Escape ends the selection."
)
_ZOOM = re.compile(r"(\d{1,9}):(\d{1,5}),(\d{1,5}),(\d{1,5})")


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page. ``?colour=mass`` is the quantity, ``?group=1`` shows one group alone, ``?zoom=1:100,120,64`` the keys
    of a group from (100, 120) on, 64 by 64, and ``?select=0:10-20,30-40`` marks a region.

    Raises:
        NotFoundError: the query names a group, a colouring or keys that the run does not have.
        BadInputError: it has a zoom or a region of another form.
    """
    query = address.query
    colouring = read_colouring(ctx, query.get("colour", LABEL))
    shown = [chosen_group(ctx, address)] if "group" in query else ctx.run.groups
    zooms, region = _zooms(ctx, query.get("zoom", "")), query.get("select", "")
    if region:
        read_region(ctx, CELLS, region)  # an address that names none is told at once
    choice = dmc.Select(
        id="atlas-colour",
        label="Colour by",
        data=[{"value": one.name, "label": one.title} for one in colourings(ctx).values()],
        value=colouring.name,
        allowDeselect=False,
        w=240,
    )
    bar = html.Div([choice, _views(ctx, address, shown)], className="atlas-bar")
    maps = html.Div(
        [_map(ctx, group, zooms.get(group)) for group in shown],
        className="atlas-maps" + (" alone" if len(shown) == 1 else ""),
    )
    facts = {"keys": ctx.run.num_keys, "region": region, "paths": atlas_templates()}
    note = [
        "One cell per expert: row i is its ",
        term("key"),
        " of set 1, column j that of set 2. Scroll or drag to zoom and move, click to open the expert; a bar beside "
        "the map opens the page of its key. ",
        html.Span(HELP, id="atlas-help"),
    ]
    return [
        html.H1("Atlas of the experts"),
        None if ctx.analysed else unanalysed(ctx),
        panel(
            "Every expert in its place",
            [
                bar,
                dcc.Loading(dmc.Box(id="atlas-legend"), delay_show=200),
                maps,
                dcc.Store(id="atlas-facts", data=facts),
                dcc.Store(id="atlas-drawn"),
            ],
            note=note,
        ),
        gathering(region_parts("atlas", region), GATHER),
    ]


def _views(ctx: Context, address: Address, shown: list[int]) -> Element | None:
    """Links to all groups side by side, and to each alone; the script keeps them up to date."""
    if len(ctx.run.groups) == 1:
        return None
    kept = {name: value for name, value in address.query.items() if name in ("colour", "zoom", "select")}
    alone = len(shown) == 1
    choices = [("all", atlas_link(None, **kept), not alone)]
    choices += [(f"{group}", atlas_link(group, **kept), alone and group in shown) for group in ctx.run.groups]
    return html.Div(tabs("layer group", choices, before="layer group"), className="atlas-views")


def _zooms(ctx: Context, text: str) -> dict[int, str]:
    """Of each group that is zoomed, the first row, first column and number of keys that its map shows.

    Raises:
        NotFoundError: the run has no such group or keys.
        BadInputError: the text has another form.
    """
    zooms = {}
    for part in filter(None, text.split(";")):
        match = _ZOOM.fullmatch(part)
        if match is None or int(match[4]) == 0:
            raise BadInputError(f"{part!r} is no part of a map; write zoom=group:i,j,keys, such as zoom=0:100,120,64.")
        group, i, j, count = map(int, match.groups())
        ctx.run.check_group(group)
        if max(i, j) + count > ctx.run.num_keys:
            raise BadInputError(f"{part!r} reaches beyond the map, which has {ctx.run.num_keys} keys each way.")
        zooms[group] = f"{i},{j},{count}"
    return zooms


def _data(**values: str) -> dict[str, Any]:
    """Attributes for the script."""
    return {f"data-{name}": value for name, value in values.items()}


def _map(ctx: Context, group: int, zoom: str | None) -> Element:
    """Where the script draws a group: its cells, the bars of both key sets, and what is said of the cell in hand."""
    keys = ctx.run.num_keys
    described = f"Map of the {keys**2:,} experts of layer group {group}, {keys} by {keys}"
    canvas: dict[str, Any] = {"role": "application", "tabIndex": "0"}
    buttons = [
        html.Button(shown, type="button", className="button act", **_data(do=does), **aria(label=name))
        for does, shown, name in (
            ("in", "+", f"zoom in on group {group}"),
            ("out", "−", f"zoom out of group {group}"),
            ("all", "All", f"show all of group {group}"),
        )
    ]
    select = html.Button(
        "Select",
        type="button",
        className="button act",
        **_data(do="select"),
        **aria(label=f"select in group {group} by dragging", pressed="false"),
    )
    return html.Div(
        [
            html.Div(
                [html.H3(f"Group {group}"), html.Div([*buttons, select], className="atlas-buttons")],
                className="atlas-head",
            ),
            html.Div(
                [
                    html.Canvas(className="atlas-cells", **canvas, **aria(label=described, describedby="atlas-help")),
                    html.Canvas(
                        className="atlas-rows", **canvas, **aria(label=f"Keys of set 1 of group {group}, top to bottom")
                    ),
                    html.Canvas(
                        className="atlas-columns",
                        **canvas,
                        **aria(label=f"Keys of set 2 of group {group}, left to right"),
                    ),
                ],
                className="atlas-canvases",
            ),
            html.P("Loading the map …", className="note atlas-says", **aria(live="polite")),
        ],
        className="atlas-map",
        **_data(group=f"{group}", zoom=zoom or f"0,0,{keys}"),
    )


def register(app: Dash, ctx: Context) -> None:
    """The legend and the list of what is selected; the maps, which are drawn in the browser; what they ask for."""
    answers.register(app, ctx)
    register_region(app, ctx, "atlas", CELLS, HINT)

    @app.callback(Output("atlas-legend", "children"), Input("atlas-colour", "value"))
    def show_legend(name: str) -> Any:
        colouring = read_colouring(ctx, name)
        kind = ", on a logarithmic scale" if colouring.log else ""
        beside = html.P(f"Bars beside the maps: {margin_title(ctx, colouring)} of each key{kind}.", className="note")
        return freeze([legend(ctx, colouring), beside])

    app.clientside_callback(
        ClientsideFunction("atlas", "draw"),
        Output("atlas-drawn", "data"),
        Input("atlas-colour", "value"),
        State("atlas-facts", "data"),
    )


PAGE = Page("atlas", ATLAS_PATH, "Atlas", layout, navigation="Atlas", register=register)
