"""Rows, columns and outputs of the lattice of experts, the standing committee, and a map of contexts."""

from __future__ import annotations

from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from ...analysis import read_map, read_map_summary, read_structure
from .. import figures
from ..context import Context
from ..failures import message_or
from ..links import STRUCTURE_PATH, Address, expert_template, structure_link
from ..page import Page
from ..parts import chosen_group, command, group_links, panel, picture, run_first, table, term

VIEWS = {"residual": "the model's own residual stream", "encoder": "a sentence encoder"}


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?group=1`` shows the map of another group.

    Raises:
        NotFoundError: the query names a group that the run does not have.
    """
    group = chosen_group(ctx, address)
    return [html.H1("Structure of the experts"), *message_or(_map_panel, ctx, group), *message_or(_figures, ctx)]


def _map_panel(ctx: Context, group: int) -> Any:
    summary = read_map_summary(ctx.run)
    if summary is None:
        purpose = "To map the most active experts by the contexts of their best tokens"
        return run_first("No map yet", purpose, command("map", ctx.run.path), "3 minutes", extra="map")
    points = read_map(ctx.run, group).join(ctx.experts(group)[["specialised", "tokens"]])
    drawn = dcc.Graph(
        id="plane", figure=figures.plane(points.reset_index(), ctx.colours), config={"displayModeBar": False}
    )
    described = (
        f"Map of {len(points):,} experts of layer group {group}. Experts whose best tokens occur in similar contexts "
        "are close together. The grid on the Experts page lists the same experts."
    )
    return panel(
        f"Map of the {len(points):,} most active experts of group {group}",
        [
            group_links(ctx, group, structure_link),
            picture(drawn, described),
            dcc.Store(id="plane-address", data=expert_template(group)),
        ],
        note=[
            "UMAP of the mean context of each expert's best tokens, as represented by "
            f"{VIEWS.get(summary.view, summary.view)}. Experts close together have similar contexts; large distances "
            "mean little. ",
            term("trustworthiness", "Trustworthiness"),
            f": {summary.trust[group]:.3f}. Click a point to open its expert.",
        ],
    )


def _figures(ctx: Context) -> list[Any]:
    stored = read_structure(ctx.run)
    if stored is None:
        purpose = "To measure how much of an expert its row and column explain, and to find the standing committee"
        line = command("structure", ctx.run.path)
        return [run_first("Structure not measured yet", purpose, line, "2 minutes")]
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
        for row in stored.lattice.itertuples(index=False)
    ]
    committee = [
        [f"{row.group}", f"{row.experts:,}", f"{row.chance:.3g}", f"{100 * row.mass:.1f} %", f"{row.everywhere:,}"]
        for row in stored.committee.itertuples(index=False)
    ]
    head = [
        "group",
        "model",
        "experts",
        "explained by keys",
        "by chance",
        "p",
        term("reliable"),
        "keys, of reliable",
        term("interaction", "interaction, of reliable"),
    ]
    panels = [
        panel(
            "Does an expert follow from its row and its column?",
            table(head, lattice, "Variance of label preference explained by the two keys", numeric=2),
            note=[
                term("two-way ANOVA", "Two-way (row × column) ANOVA"),
                " of the experts' label preference: the fraction of variance that row and column effects explain, and "
                "the same for experts shuffled over the lattice. The last two columns divide the reliable part, on "
                "which two halves of the documents agree, into row and column effects and their interaction.",
            ],
        ),
        panel(
            term("standing committee", "Standing committee"),
            table(
                [
                    "group",
                    "experts",
                    "expected by chance",
                    term("mass", "fraction of all mass"),
                    "active in every label",
                ],
                committee,
                "Experts that are among the most active in every label",
            ),
            note=f"Experts that are among the most active {100 * stored.top:g} % of their group in every label.",
        ),
    ]
    if stored.outputs is not None:
        rows = [
            [f"{row.group}", *(f"{value:+.3f}" for value in (row.row, row.column, row.other))]
            for row in stored.outputs.itertuples(index=False)
        ]
        panels.append(
            panel(
                "Do experts that share a key have similar outputs?",
                table(["group", "same row", "same column", "no shared key"], rows, "Mean cosine of experts' outputs"),
                note=f"Mean cosine similarity between the outputs of {stored.outputs['probes'].iloc[0]} experts and "
                "those of other experts.",
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
        State("plane-address", "data"),
        prevent_initial_call=True,
    )


PAGE = Page("structure", STRUCTURE_PATH, "Structure", layout, navigation="Structure", register=register)
