"""The front page: the model, the corpus, and the experts of one group as a map and a grid."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import numpy as np
import pandas as pd
from dash import Dash

from ...report.labels import shortened
from ...report.palette import OTHER_LABELS_COLOUR, highlight_colour
from ...store.token_text import visible_label
from .. import grid
from ..context import Context
from ..elements import Element, html
from ..expert_list import expert_list, meaning, register_list
from ..failures import message_or
from ..lattice import ExpertMap, packed, paint
from ..links import (
    ALL_LABELS,
    LIST_FIELDS,
    Address,
    atlas_link,
    card_template,
    expert_template,
    label_link,
    overview_link,
)
from ..page import Page
from ..parts import (
    IN_PLACE,
    LONGEST_NAME,
    alike_note,
    aria,
    chosen_group,
    fact,
    facts,
    group_links,
    keeping,
    label_mark,
    panel,
    swatch,
    table,
    term,
)
from ..replicates import percent, plain_rule, replicates_panel
from ..running import unanalysed
from ..tables import GENERALIST, TOO_LITTLE

GROUPS_TOLD = 4  # whose layers are all named


def _model_facts(ctx: Context) -> Element:
    model = ctx.run.manifest["model"]
    items = [
        fact(term("group", "layer groups"), f"{len(ctx.run.groups)}", _layers(ctx)),
        fact(
            term("expert", "experts per group"),
            f"{ctx.run.num_keys**2:,}",
            [f"{ctx.run.num_keys} × {ctx.run.num_keys} ", term("key", "keys")],
        ),
        fact(term("head", "routing heads"), f"{model['heads']}"),
        fact(term("decomposition"), str(model["decompose"])),
        fact(
            "tokens in the corpus",
            f"{ctx.run.tokens_total:,}",
            f"{len(ctx.run.labels)} {'label' if len(ctx.run.labels) == 1 else 'labels'}",
        ),
    ]
    return facts(items)


def _layers(ctx: Context) -> str:
    """The layers of each group, as far as they are few."""
    spans = [ctx.run.layers_text(group) for group in ctx.run.groups]
    return "; ".join(spans) if len(spans) <= GROUPS_TOLD else f"{spans[0]} … {spans[-1]}"


def _label_table(ctx: Context) -> Element:
    """Tokens and experts of each label: the confirmed, by group too, and those that the plain rule takes; a grid where
    there are many labels."""
    counts = {group: ctx.specialised(group) for group in ctx.run.groups}
    of_all = sum(counts.values())
    tokens, found = ctx.run.label_tokens, ctx.replication()
    shares = {} if found is None else ctx.of_summary("shares", lambda: found.by_label()["share"].to_dict())
    caption = "Tokens, confirmed experts and specialised experts per label"
    if ctx.uncoloured:
        return html.Div(_label_grid(ctx, counts), className="grid-box tall", role="region", **aria(label=caption))
    rows = [
        [
            html.A(label_mark(label, ctx.colour(label)), href=label_link(label)),
            f"{int(tokens[label]):,}",
            _confirmed(ctx, of_all.loc[label]),
            percent(shares.get(("confirmed", label), float("nan"))),
            *(_confirmed(ctx, count.loc[label]) for count in counts.values()),
            _known(ctx, of_all.loc[label, "experts"]),
            percent(shares.get(("specialised", label), float("nan"))),
        ]
        for label in ctx.labels
    ]
    groups = [f"in group {group}" for group in ctx.run.groups]
    head = ["label", "tokens", term("confirmed"), term("replicates"), *groups, plain_rule(ctx), term("replicates")]
    return table(head, rows, caption)


def _label_grid(ctx: Context, counts: dict[int, pd.DataFrame]) -> dag.AgGrid:
    of_all, tokens = sum(counts.values()), ctx.run.label_tokens
    columns = [("tokens", "tokens")]
    if ctx.tested:
        columns += [("confirmed", "confirmed"), *((f"group{group}", f"in group {group}") for group in counts)]
    columns.append(("all", "specialised"))
    known = {f"group{group}": count["confirmed"].to_dict() for group, count in counts.items()}
    known |= {"all": of_all["experts"].to_dict(), "confirmed": of_all["confirmed"].to_dict()}
    rows = [
        {"label": label, "link": label_link(label), "tokens": int(tokens[label])}
        | {name: part[label] for name, part in known.items() if ctx.analysed}
        for label in ctx.labels
    ]
    return grid.label_grid(ctx, columns, rows)


def _known(ctx: Context, experts: int) -> str:
    """A number of experts, which only an analysis knows."""
    return f"{int(experts):,}" if ctx.analysed else "–"


def _confirmed(ctx: Context, count: pd.Series) -> str:
    """The number of confirmed experts, which only a test knows."""
    return f"{int(count['confirmed']):,}" if ctx.tested else "not tested" if ctx.analysed else "–"


def _legend(ctx: Context, group: int, codes: np.ndarray, highlight: str | None) -> Element:
    unseen, general, little = ctx.of_group(
        group, "without label", lambda: [int((codes == code).sum()) for code in (-1, 0, len(ctx.run.labels) + 1)]
    )
    entries, counts = [], ctx.specialised(group)
    listed = [label for label in ctx.labels if label in {*ctx.coloured, highlight}]
    for label in listed:
        chosen, count = label == highlight, counts.loc[label]
        colour = highlight_colour(ctx.colour(label)) if chosen else ctx.colour(label)
        known = _known(ctx, count["experts"])
        if ctx.tested:
            known = f"{count['confirmed']:,} / {known}"
        link = html.A(
            [label_mark(label, colour), " ", html.Span(known, className="count")],
            href=overview_link(group, None if chosen else label),
            className=f"legend-entry {IN_PLACE}" + (" chosen" if chosen else ""),
            title=f"{_confirmed(ctx, count)}{' confirmed' if ctx.tested else ''}; the plain rule calls "
            f"{count['experts']:,} specialised. "
            + ("Click to show all labels again." if chosen else "Click to highlight this label."),
            **keeping("sort"),
            **aria(current="true" if chosen else None),
        )
        entries.append(html.Li(link))
    if others := [label for label in ctx.uncoloured if label != highlight]:
        known = _known(ctx, counts.loc[others, "experts"].sum())
        name = f"other labels ({len(others):,})"
        link = html.A(
            [swatch(OTHER_LABELS_COLOUR), name, html.Span(known, className="count")],
            href=f"#{ALL_LABELS}",
            className="legend-entry",
            title="They share one colour. Point at a cell for its label. Click to list all labels.",
        )
        entries.append(html.Li(link))
    kinds = [(ctx.without_label, general, "generalist"), (TOO_LITTLE, little, "too-little")]
    for name, many, style in (*kinds[: 1 + ctx.analysed], ("never active", unseen, "unseen")):
        mark = html.Span(className=f"swatch {style}", **aria(hidden="true"))
        shown = term(name) if name in (GENERALIST, TOO_LITTLE) else name
        entries.append(
            html.Li([mark, shown, html.Span(f"{many:,}", className="count")], className="legend-entry plain")
        )
    return html.Ul(entries, className="legend", **aria(label="Colours of the map, with the number of experts"))


def _counted(ctx: Context) -> list[Any]:
    """What the numbers of the legend count."""
    if not ctx.analysed:
        return []
    if not ctx.tested:
        return ["Experts of each label: ", plain_rule(ctx), "; not tested against chance."]
    return ["Experts of each label: ", term("confirmed"), " / ", plain_rule(ctx), ", by which the map is coloured."]


def _hover_name(label: str) -> str:
    return shortened(visible_label(label), LONGEST_NAME)


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page.

    Raises:
        NotFoundError: the query names a group or label that the run does not have.
    """
    group = chosen_group(ctx, address)
    highlight = address.query.get("label")
    if highlight is not None:
        ctx.run.check_label(highlight)
    listed = {name: address.query.get(name) for name in LIST_FIELDS}
    codes = ctx.codes(group)
    seen = len(ctx.experts(group))
    description = (
        f"Map of the {codes.size:,} experts of layer group {group}, {seen:,} of them active on this corpus, coloured "
        "by the label each is specialised in. The legend has the counts; the grid lists the same experts."
    )
    drawn = ExpertMap(
        id="map",
        group=group,
        keys=ctx.run.num_keys,
        address=expert_template(group),
        card=card_template(group),
        codes=ctx.of_group(group, "packed", lambda: packed(codes)),
        paint=paint(ctx.colours, highlight),
        labels=["never active", ctx.without_label, *map(_hover_name, ctx.run.labels), TOO_LITTLE],
        description=description,
    )

    def other_group(other: int) -> str:
        return overview_link(other, highlight, **listed)

    map_panel = panel(
        "Map of the experts",
        [
            group_links(ctx, group, other_group, "of the map", LIST_FIELDS),
            drawn,
            _legend(ctx, group, codes, highlight),
            html.P(_counted(ctx), className="note"),
        ],
        note=[
            "One cell per expert. Click a cell to open its expert, drag to zoom in; with the keyboard, move with the "
            "arrow keys and press Enter. The ",
            html.A("atlas", href=atlas_link(group)),
            " has both sets of keys beside the map, and other colours.",
        ],
        kind="map-panel",
    )
    list_panel = panel(
        f"Experts of group {group}",
        [
            group_links(ctx, group, other_group, "of the list", LIST_FIELDS),
            *expert_list(ctx, "experts-grid", group, address, highlight=highlight),
        ],
        note=[
            *meaning(),
            f"{seen:,} experts are active on this corpus. Drag over a histogram to filter by it, double-click it to "
            "stop; click a heading to sort, point at it for its meaning, open its menu to filter.",
        ],
        kind="expert-list",
    )
    return [
        html.H1(f"Experts of {ctx.name}"),
        None if ctx.analysed else unanalysed(ctx),
        alike_note(ctx.run.labels),
        _model_facts(ctx),
        list_panel,
        html.Div([map_panel, _label_panel(ctx)], className="map-and-labels"),
        *(message_or(replicates_panel, ctx) if ctx.analysed else []),
    ]


def _label_panel(ctx: Context) -> Element:
    return panel(
        html.Span("Experts per label", id=ALL_LABELS),
        _label_table(ctx),
        note=[
            "How many experts are ",
            term("confirmed"),
            " in each label, and how many the plain rule calls ",
            term("specialised"),
            ": their rate for it is at least twice (or the ratio chosen) that for any other label, tested or not.",
        ],
    )


def register(app: Dash, ctx: Context) -> None:
    """The list of experts."""
    register_list(app, ctx, "experts-grid")


PAGE = Page("overview", "/", "Experts", layout, navigation="Experts", register=register)
