"""The map of contexts: its points in any colouring, what is marked on it, and the experts nearest to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from dash import ClientsideFunction, Dash, Input, Output, State

from ...analysis import read_map
from ...errors import NotFoundError, WorkbenchError
from ...report.labels import plot_labels
from ...report.numbers import score_text
from ...store.address import Expert, read_expert
from .. import figures
from ..elements import Element, dcc, dmc, html
from ..freeze import freeze
from ..gather import GATHER, gathering
from ..lattice import TOO_LITTLE_FILL
from ..links import Address, atlas_templates, expert_template
from ..parts import aria, message
from .colourings import CONFIRMED, LABEL, Colouring, colourings, read_colouring, values
from .listing import expert_rows, region_parts, register_region
from .painting import Scale, colour_scale
from .regions import PLANE, read_region

if TYPE_CHECKING:
    from ..context import Context

NEAREST = 20
BUTTONS = [["zoom2d", "pan2d", "select2d", "lasso2d", "resetScale2d"]]
HELP = "With the keyboard: arrow keys move to the nearest expert in view that way, Enter opens it, Escape lets go."
HINT = "Nothing is selected. Choose box or lasso above the map and drag: the experts inside are listed here."


def plane_parts(ctx: Context, group: int, points: int, address: Address) -> list[Any]:
    """The map of a group, the choice of its colours, what is marked and who is near.

    Args:
        ctx: the run.
        group: whose map it is.
        points: how many experts it has.
        address: ``colour``, ``select`` (a region) and ``near`` (an expert, ``group:id``) are read from its query.

    Raises:
        NotFoundError: the query names a colouring or expert that there is not.
        BadInputError: it has a region or expert of another form.
    """
    colouring = read_colouring(ctx, address.query.get("colour", LABEL))
    region, near = address.query.get("select", ""), address.query.get("near", "")
    if region:
        read_region(ctx, PLANE, region)
    described = (
        f"Map of {points:,} experts of layer group {group}. Experts whose best tokens occur in similar contexts "
        "are close together. “Nearest to” below lists the experts around one; the grid on the Experts page lists all."
    )
    choices = [one for one in colourings(ctx).values() if one.name != CONFIRMED]
    facts = atlas_templates()["facts"]
    graph = dcc.Graph(
        id="plane",
        figure=plane_figure(ctx, group, colouring, region),
        config={"displaylogo": False, "displayModeBar": True, "modeBarButtons": BUTTONS},
        clear_on_unhover=True,
    )
    return [
        dmc.Select(
            id="plane-colour",
            label="Colour by",
            data=[{"value": one.name, "label": one.title} for one in choices],
            value=colouring.name,
            allowDeselect=False,
            w=240,
        ),
        html.Div(
            dcc.Loading(graph, delay_show=200),
            role="application",
            className="picture plane-map",
            tabIndex="0",
            **{"data-group": f"{group}", "data-expert": expert_template(group), "data-facts": facts},
            **aria(label=described, describedby="plane-help"),
        ),
        html.P("", className="note plane-says", **aria(live="polite")),
        html.P(HELP, id="plane-help", className="note"),
        dcc.Store(id="plane-address", data=expert_template(group)),
        dcc.Store(id="plane-facts", data={"group": group, "path": facts}),
        gathering(
            [html.Div(region_parts("plane", region), className="plane-region"), _around(ctx, group, near)], GATHER
        ),
    ]


def _around(ctx: Context, group: int, near: str) -> Element:
    """A field for an expert, and where those nearest to it are listed."""
    field = dmc.TextInput(
        id="plane-near",
        label="Nearest to",
        placeholder=f"an expert of group {group}, such as {group}:{_strongest(ctx, group)}",
        value=near,
        debounce=400,
        w=320,
    )
    listed = dcc.Loading(dmc.Box(id="plane-around", **aria(live="polite")), delay_show=200)
    return html.Div([field, listed], className="plane-near")


def _strongest(ctx: Context, group: int) -> int:
    """The expert of most mass on the map."""
    return int(ctx.experts(group)["mass"].loc[read_map(ctx.run, group).index].idxmax())


def plane_figure(ctx: Context, group: int, colouring: Colouring, region: str = "") -> go.Figure:
    """The map of a group in a colouring, with a region of it marked.

    Raises:
        NotAnalysedError: the run has no map.
    """
    points = read_map(ctx.run, group)
    if colouring.by_label:
        known = points.join(ctx.experts(group)[["specialised", "confirmed", "tokens"]])
        figure = figures.plane(known.reset_index(), ctx.colours)
    else:
        figure = _numbers(points.assign(value=values(ctx, group, colouring).reindex(points.index)), colouring)
    figure.update_traces(hoverinfo="none", hovertemplate=None)  # a card shows in place
    buttons = {"bgcolor": "rgba(0,0,0,0)", "color": "#868e96", "activecolor": "#228be6"}
    below = {"orientation": "h", "y": 0, "yanchor": "top", "x": 0}  # leaves narrow screens their width
    figure.update_layout(margin={"t": 34}, modebar=buttons, legend=below, uirevision=f"{group}")
    if region.startswith(f"{group}:"):
        corners = region.partition(":")[2].split(";")
        figure.add_selection(type="path", path=f"M{'L'.join(corners)}Z", line={"color": "#868e96", "width": 1})
    return figure


def _numbers(points: pd.DataFrame, colouring: Colouring) -> go.Figure:
    """Points coloured by their ``value``, on a scale of their own; those without one are grey."""
    ends = Scale.over([points["value"]], colouring.log, colouring.signed)
    at = np.log10 if ends.log else np.asarray
    figure = figures.plane_frame()
    with np.errstate(all="ignore"):
        shades = at(points["value"].clip(ends.low, ends.high).to_numpy())
    known = ~np.isnan(shades)
    bar = {
        "title": {"text": plot_labels([colouring.title])[0], "side": "right"},
        "thickness": 14,
        "outlinewidth": 0,
        "tickvals": [float(at(tick)) for tick in ends.ticks()],
        "ticktext": [score_text(tick) for tick in ends.ticks()],
    }
    scaled = {"color": shades[known], "colorscale": colour_scale(colouring), "colorbar": bar}
    scaled |= {"cmin": at(ends.low), "cmax": at(ends.high)}
    for shown, marker in ((points[~known], {"color": TOO_LITTLE_FILL}), (points[known], scaled)):
        figure.add_trace(
            go.Scatter(
                x=shown["x"],
                y=shown["y"],
                mode="markers",
                marker={"size": 5, **marker},
                showlegend=False,
                customdata=[[expert] for expert in shown.index.tolist()],
            )
        )
    return figure


def nearest(ctx: Context, expert: Expert) -> list[int]:
    """The experts nearest to one on the map, nearest first, itself left out.

    Raises:
        NotFoundError: the expert is not on the map.
        NotAnalysedError: the run has no map.
    """
    points = read_map(ctx.run, expert.group)
    if expert.id not in points.index:
        raise NotFoundError(f"expert {expert} is not on the map, which has the {len(points):,} most active ones.")
    distance = np.hypot(*(points[["x", "y"]] - points.loc[expert.id, ["x", "y"]]).to_numpy().T)
    others = points.index.to_numpy() != expert.id
    order = np.argsort(distance[others], kind="stable")[:NEAREST]
    return [int(other) for other in points.index.to_numpy()[others][order]]


def register(app: Dash, ctx: Context) -> None:
    """The map's colours, hover, click and selection, and the experts near one."""
    register_region(app, ctx, "plane", PLANE, HINT)

    @app.callback(
        Output("plane", "figure"),
        Input("plane-colour", "value"),
        State("plane-facts", "data"),
        State("plane-region", "data"),
        prevent_initial_call=True,
    )
    def recolour(name: str, facts: dict[str, Any], region: str) -> go.Figure:
        return plane_figure(ctx, facts["group"], read_colouring(ctx, name), region)

    @app.callback(Output("plane-around", "children"), Input("plane-near", "value"), State("plane-facts", "data"))
    def around(text: str | None, facts: dict[str, Any]) -> Any:
        if not (text or "").strip():
            return None
        try:
            expert = read_expert(text or "", ctx.run.groups, ctx.run.num_keys, facts["group"])
            return freeze(expert_rows(ctx, expert.group, nearest(ctx, expert)))
        except WorkbenchError as error:
            return message("No such point", str(error), "error")

    for name, inputs in (
        ("hover", [Input("plane", "hoverData"), State("plane-facts", "data"), State("plane-colour", "value")]),
        ("remember", [Input("plane-colour", "value"), Input("plane-near", "value"), Input("plane-region", "data")]),
    ):
        app.clientside_callback(ClientsideFunction("plane", name), *inputs)
    app.clientside_callback(
        ClientsideFunction("plane", "select"),
        Output("plane-region", "data"),
        Input("plane", "selectedData"),
        State("plane-facts", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("monet", "openPoint"),
        Output("url", "pathname", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Input("plane", "clickData"),
        State("plane-address", "data"),
        prevent_initial_call=True,
    )
