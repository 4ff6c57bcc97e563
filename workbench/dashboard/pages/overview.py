"""The front page: the model, the corpus, and the experts of one group as a map and a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from ...errors import WorkbenchError
from .. import figures, grid
from ..context import Context
from ..links import Address, label_link, overview_link
from ..parts import (
    aria,
    chosen_group,
    fact,
    facts,
    group_links,
    label_mark,
    panel,
    picture,
    swatch,
    table,
    unanalysed,
)


def _model_facts(ctx: Context) -> html.Dl:
    model = ctx.run.manifest["model"]
    items = [
        fact("layer groups", f"{len(ctx.run.groups)}"),
        fact("experts a group", f"{ctx.run.num_keys**2:,}", f"{ctx.run.num_keys} × {ctx.run.num_keys} keys"),
        fact("routing heads", f"{model['heads']}"),
        fact("decomposition", str(model["decompose"])),
        fact("corpus tokens", f"{ctx.run.tokens_total:,}", f"{len(ctx.run.labels)} labels"),
    ]
    return facts(items)


def _label_table(ctx: Context) -> html.Table:
    """Tokens and specialised experts of each label, with the groups as columns."""
    counts = {group: ctx.specialised(group) for group in ctx.run.groups}
    tokens = ctx.run.label_tokens
    rows = [
        [
            html.A(label_mark(label, ctx.colour(label)), href=label_link(label)),
            f"{int(tokens[label]):,}",
            *(_known(ctx, counts[group][label]) for group in ctx.run.groups),
            _known(ctx, sum(counts[group][label] for group in ctx.run.groups)),
        ]
        for label in ctx.run.labels
    ]
    head = ["label", "tokens", *(f"group {group}" for group in ctx.run.groups), "all groups"]
    return table(head, rows, "Tokens and specialised experts of each label")


def _known(ctx: Context, experts: int) -> str:
    """A number of specialised experts, which only an analysis knows."""
    return f"{int(experts):,}" if ctx.analysed else "–"


def _legend(ctx: Context, group: int, codes: np.ndarray, highlight: str | None) -> html.Ul:
    counts = np.bincount(codes.ravel() + 1, minlength=len(ctx.run.labels) + 2)
    entries = []
    for number, label in enumerate(ctx.run.labels, start=2):
        chosen, count = label == highlight, _known(ctx, counts[number])
        link = html.A(
            [swatch(ctx.colour(label)), label, html.Span(count, className="count")],
            href=overview_link(group, None if chosen else label),
            className="legend-entry" + (" chosen" if chosen else ""),
            **aria(label=f"{'stop bringing out' if chosen else 'bring out'} {label}, {count} experts"),
        )
        entries.append(html.Li(link))
    for name, many, style in ((ctx.without_label, counts[1], "generalist"), ("never active", counts[0], "unseen")):
        mark = html.Span(className=f"swatch {style}", **aria(hidden="true"))
        entries.append(html.Li([mark, name, html.Span(f"{many:,}", className="count")], className="legend-entry plain"))
    return html.Ul(entries, className="legend", **aria(label="Colours of the map, with number of experts"))


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page.

    Raises:
        WorkbenchError: the query names a group or label the run does not have.
    """
    group = chosen_group(ctx, address)
    highlight = address.query.get("label")
    if highlight is not None and highlight not in ctx.run.labels:
        raise WorkbenchError(f"there is no label {highlight!r}; this run has {', '.join(ctx.run.labels)}.")
    codes = ctx.codes(group)
    drawn = dcc.Graph(
        id="map",
        figure=figures.expert_map(codes, ctx.colours, highlight),
        config={"displayModeBar": False},
        clear_on_unhover=True,
    )
    seen = int((codes >= 0).sum())
    description = (
        f"Map of the {codes.size:,} experts of layer group {group}, {seen:,} of them active on the corpus, coloured by "
        "the label each is specialised in. The legend gives the counts; the grid beside it lists the experts."
    )
    map_panel = panel(
        "Map of the experts",
        [
            group_links(ctx, group, lambda other: overview_link(other, highlight)),
            picture(drawn, description),
            dcc.Tooltip(id="map-tooltip", className="map-tooltip"),
            _legend(ctx, group, codes, highlight),
        ],
        note="One cell an expert. Click one to open it; drag to zoom, double-click to zoom out.",
        kind="map-panel",
    )
    grid_panel = panel(
        f"Experts of group {group}",
        expert_grid_box(ctx, group, highlight),
        note=f"{seen:,} experts active on this corpus. Sort by a heading, filter in its menu.",
    )
    return [
        html.H1(f"Experts of {ctx.name}"),
        None if ctx.analysed else unanalysed(ctx.run.path),
        _model_facts(ctx),
        dcc.Store(
            id="map-facts",
            data={
                "group": group,
                "keys": ctx.run.num_keys,
                "labels": ["never active", ctx.without_label, *ctx.run.labels],
            },
        ),
        html.Div([map_panel, grid_panel], className="map-and-grid"),
        panel(
            "Labels",
            _label_table(ctx),
            note="Experts specialised in each label: their mean score for it is several times that for any other "
            "label, at least the ratio that monet analyze was given.",
            kind="narrow",
        ),
    ]


def expert_grid_box(ctx: Context, group: int, highlight: str | None) -> html.Div:
    """The grid of a group's experts, kept to one label where one is brought out."""
    hidden = () if ctx.analysed else ("specialised", "monosemanticity")
    drawn = grid.expert_grid("experts-grid", group, ctx.colours, hidden=hidden)
    if highlight is not None:
        drawn.filterModel = {"specialised": {"filterType": "text", "type": "equals", "filter": highlight}}
    return html.Div(
        [drawn, dcc.Store(id="grid-group", data=group)],
        className="grid-box",
        role="region",
        **aria(label=f"Grid of the experts of group {group}"),
    )


def register(app: Dash, ctx: Context) -> None:
    """Rows of the grid; the map's hover and click, which run in the browser."""

    @app.callback(
        Output("experts-grid", "getRowsResponse"), Input("experts-grid", "getRowsRequest"), State("grid-group", "data")
    )
    def rows(request: dict[str, Any] | None, group: int) -> dict[str, Any]:
        return grid.response(*grid.select(ctx.experts(group), request or {}))

    app.clientside_callback(
        ClientsideFunction("monet", "hover"),
        Output("map-tooltip", "show"),
        Output("map-tooltip", "bbox"),
        Output("map-tooltip", "children"),
        Input("map", "hoverData"),
        State("map-facts", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("monet", "open"),
        Output("url", "pathname", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Input("map", "clickData"),
        State("map-facts", "data"),
        prevent_initial_call=True,
    )
