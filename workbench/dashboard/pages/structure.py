"""Rows, columns and outputs of the lattice of experts, the standing committee, and a map of contexts."""

from __future__ import annotations

from typing import Any

from ...analysis import read_map, read_map_summary, read_structure
from ...jobs import Request
from ..atlas import plane
from ..context import Context
from ..elements import html
from ..failures import message_or
from ..links import STRUCTURE_PATH, Address, structure_link
from ..page import Page
from ..parts import chosen_group, group_links, panel, table, term
from ..running import run_first

VIEWS = {"residual": "the model's own residual stream", "encoder": "a sentence encoder"}


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?group=1`` shows the map of another group, and ``plane_parts`` reads the rest of the query.

    Raises:
        NotFoundError: the query names a group that the run does not have.
    """
    group = chosen_group(ctx, address)
    drawn = message_or(_map_panel, ctx, group, address)
    return [html.H1("Structure of the experts"), *drawn, *message_or(_figures, ctx)]


def _map_panel(ctx: Context, group: int, address: Address) -> Any:
    summary = read_map_summary(ctx.run)
    if summary is None:
        return run_first(ctx, "No map yet", Request("map"))
    points = len(read_map(ctx.run, group))

    def other_group(other: int) -> str:
        return structure_link(other, address.query.get("colour"))

    return panel(
        f"Map of the {points:,} most active experts of group {group}",
        [group_links(ctx, group, other_group, keeps=("colour",)), *plane.plane_parts(ctx, group, points, address)],
        note=[
            "UMAP of the mean context of each expert's best tokens, as represented by "
            f"{VIEWS.get(summary.view, summary.view)}. Experts close together have similar contexts; large distances "
            "mean little. ",
            term("trustworthiness", "Trustworthiness"),
            f": {summary.trust[group]:.3f}. Point at a point for its expert, click it to open it.",
        ],
    )


def _figures(ctx: Context) -> list[Any]:
    stored = read_structure(ctx.run)
    if stored is None:
        return [run_first(ctx, "Structure not measured yet", Request("structure"))]
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


PAGE = Page("structure", STRUCTURE_PATH, "Structure", layout, navigation="Structure", register=plane.register)
