"""How experts stand to their keys, to one another and to all labels at once, and a map of them by what they read."""

from __future__ import annotations

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from ...analysis import read_map, read_map_summary, read_structure
from .. import figures
from ..context import Context
from ..links import Address
from ..parts import chosen_group, group_links, panel, picture, run_first, table


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?group=1`` shows the map of another group.

    Raises:
        WorkbenchError: the query names a group the run does not have.
    """
    return [html.H1("How experts stand to one another"), _map_panel(ctx, chosen_group(ctx, address)), *_figures(ctx)]


def _map_panel(ctx: Context, group: int) -> Any:
    summary = read_map_summary(ctx.run)
    if summary is None:
        return run_first("No map yet", "A map of the experts is here", f"monet map {ctx.run.path}")
    table = read_map(ctx.run, group).join(ctx.experts(group)[["specialised", "tokens"]])
    drawn = dcc.Graph(
        id="plane", figure=figures.plane(table.reset_index(), ctx.colours), config={"displayModeBar": False}
    )
    view = "the model's own residual stream" if summary.view == "residual" else "a sentence encoder"
    described = (
        f"Map of {len(table):,} experts of layer group {group}; those whose best tokens stand in like contexts lie "
        "near each other. The grid of the first page lists the same experts."
    )
    return panel(
        f"{len(table):,} most active experts of group {group}, by the contexts of their best tokens",
        [
            group_links(ctx, group, lambda other: f"/structure?group={other}"),
            picture(drawn, described),
            dcc.Store(id="plane-group", data=group),
        ],
        note=f"A UMAP of the mean contexts as {view} sees them: near is alike, far says little. Trustworthiness "
        f"{summary.trust[group]:.3f} (1: all neighbours here are neighbours in truth). Click a point to open it.",
    )


def _figures(ctx: Context) -> list[Any]:
    found = read_structure(ctx.run)
    if found is None:
        return [run_first("Not measured yet", "Keys and committee are here", f"monet structure {ctx.run.path}")]
    lattice = [
        [
            f"{row.group}",
            row.model,
            f"{row.experts:,}",
            f"{row.explained:.3f}",
            f"{row.null:.3f}",
            f"{row.p:.2g}",
            f"{row.reliable:.3f}",
            f"{row.keys:.3f}",
            f"{row.interaction:.3f}",
        ]
        for row in found.lattice.itertuples(index=False)
    ]
    committee = [
        [f"{row.group}", f"{row.experts:,}", f"{row.chance:.3g}", f"{100 * row.mass:.1f} %", f"{row.everywhere:,}"]
        for row in found.committee.itertuples(index=False)
    ]
    panels = [
        panel(
            "Is an expert its row and its column?",
            table(
                ["group", "model", "experts", "explained", "by chance", "p", "reliable", "keys", "interaction"],
                lattice,
                "Variance of label preference that the two keys explain",
                numeric=2,
            ),
            note="Part of the variance of the experts' label preference that effects of row and column explain, and as "
            "much with experts shuffled over the lattice. Of the part that is reliable (alike in two halves of the "
            "documents), what the keys account for and what is the pair's own.",
        ),
        panel(
            "Standing committee",
            table(
                ["group", "experts", "by chance", "part of all mass", "active in every label"],
                committee,
                "Experts that fire for every label",
            ),
            note=f"Experts among the {100 * found.top:g} % active at most tokens, in every label at once.",
        ),
    ]
    if found.outputs is not None:
        rows = [
            [f"{row.group}", *(f"{value:+.3f}" for value in (row.row, row.column, row.other))]
            for row in found.outputs.itertuples(index=False)
        ]
        panels.append(
            panel(
                "Do experts of one key write alike?",
                table(["group", "same row", "same column", "neither"], rows, "Mean cosine of experts' outputs"),
                note=f"Mean cosine of the outputs of {found.outputs['probes'].iloc[0]} experts with those of others.",
            )
        )
    return panels


def register(app: Dash, ctx: Context) -> None:
    """The map's click, which runs in the browser."""
    app.clientside_callback(
        ClientsideFunction("monet", "openPoint"),
        Output("url", "pathname", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Input("plane", "clickData"),
        State("plane-group", "data"),
        prevent_initial_call=True,
    )
