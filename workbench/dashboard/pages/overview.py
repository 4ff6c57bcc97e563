"""The front page: the model, the corpus, and the experts of one group as a map and a grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from .. import figures, grid
from ..context import Context
from ..links import Address, expert_template, label_link, overview_link
from ..page import Page
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
    term,
    unanalysed,
)


def _model_facts(ctx: Context) -> html.Dl:
    model = ctx.run.manifest["model"]
    items = [
        fact(term("group", "layer groups"), f"{len(ctx.run.groups)}"),
        fact(
            term("expert", "experts per group"),
            f"{ctx.run.num_keys**2:,}",
            [f"{ctx.run.num_keys} × {ctx.run.num_keys} ", term("key", "keys")],
        ),
        fact(term("head", "routing heads"), f"{model['heads']}"),
        fact(term("decomposition"), str(model["decompose"])),
        fact("tokens in the corpus", f"{ctx.run.tokens_total:,}", f"{len(ctx.run.labels)} labels"),
    ]
    return facts(items)


def _label_table(ctx: Context) -> html.Div:
    """Tokens and specialised experts of each label, with the groups as columns."""
    counts = {group: ctx.specialised(group) for group in ctx.run.groups}
    counts_of_all = sum(counts.values())
    tokens = ctx.run.label_tokens
    rows = [
        [
            html.A(label_mark(label, ctx.colour(label)), href=label_link(label)),
            f"{int(tokens[label]):,}",
            *(_known(ctx, count.loc[label, "experts"]) for count in counts.values()),
            _known(ctx, counts_of_all.loc[label, "experts"]),
            _known(ctx, counts_of_all.loc[label, "confirmed"]),
        ]
        for label in ctx.run.labels
    ]
    groups = [f"group {group}" for group in ctx.run.groups]
    head = ["label", "tokens", *groups, "all groups", term("confirmed", "of these confirmed")]
    return table(head, rows, "Tokens and specialised experts per label")


def _known(ctx: Context, experts: int) -> str:
    """A number of specialised experts, which only an analysis knows."""
    return f"{int(experts):,}" if ctx.analysed else "–"


def _legend(ctx: Context, group: int, codes: np.ndarray, highlight: str | None) -> html.Ul:
    unseen, general = np.bincount(codes.ravel() + 1, minlength=2)[:2]
    entries = []
    for label, count in ctx.specialised(group).iterrows():
        chosen, known = label == highlight, _known(ctx, count["experts"])
        link = html.A(
            [swatch(ctx.colour(label)), label, " ", html.Span(known, className="count")],
            href=overview_link(group, None if chosen else label),
            className="legend-entry" + (" chosen" if chosen else ""),
            title=f"{count['confirmed']:,} of them confirmed. "
            + ("Click to show all labels again." if chosen else "Click to highlight this label."),
            **aria(current="true" if chosen else None),
        )
        entries.append(html.Li(link))
    for name, many, style in ((ctx.without_label, general, "generalist"), ("never active", unseen, "unseen")):
        mark = html.Span(className=f"swatch {style}", **aria(hidden="true"))
        shown = term(name) if name == "generalist" else name
        entries.append(
            html.Li([mark, shown, html.Span(f"{many:,}", className="count")], className="legend-entry plain")
        )
    return html.Ul(entries, className="legend", **aria(label="Colours of the map, with the number of experts"))


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page.

    Raises:
        NotFoundError: the query names a group or label that the run does not have.
    """
    group = chosen_group(ctx, address)
    highlight = address.query.get("label")
    if highlight is not None:
        ctx.run.check_label(highlight)
    codes = ctx.codes(group)
    drawn = dcc.Graph(
        id="map",
        figure=figures.expert_map(codes, ctx.colours, highlight),
        config={"displayModeBar": False},
        clear_on_unhover=True,
    )
    seen = int((codes >= 0).sum())
    description = (
        f"Map of the {codes.size:,} experts of layer group {group}, {seen:,} of them active on this corpus, coloured "
        "by the label each is specialised in. The legend has the counts; the grid lists the same experts."
    )
    map_panel = panel(
        "Map of the experts",
        [
            group_links(ctx, group, lambda other: overview_link(other, highlight)),
            picture(drawn, description),
            dcc.Tooltip(id="map-tooltip", className="map-tooltip"),
            _legend(ctx, group, codes, highlight),
        ],
        note="One cell per expert. Click a cell to open its expert; drag to zoom in, double-click to zoom out.",
        kind="map-panel",
    )
    grid_panel = panel(
        f"Experts of group {group}",
        expert_grid_box(ctx, group, highlight),
        note=f"{seen:,} experts are active on this corpus. Click a heading to sort, point at it for its "
        "meaning, open its menu to filter.",
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
                "address": expert_template(group),
                "labels": ["never active", ctx.without_label, *ctx.run.labels],
            },
        ),
        html.Div([map_panel, grid_panel], className="map-and-grid"),
        panel(
            "Experts per label",
            _label_table(ctx),
            note=[
                "How many experts are ",
                term("specialised"),
                " in each label: their rate for it is at least twice (or the ratio chosen) that for any other label.",
            ],
            kind="narrow",
        ),
    ]


def expert_grid_box(ctx: Context, group: int, highlight: str | None) -> html.Div:
    """The grid of a group's experts, filtered to the highlighted label if there is one."""
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


PAGE = Page("overview", "/", "Experts", layout, navigation="Experts", register=register)
