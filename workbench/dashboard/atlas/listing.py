"""Experts of a region or of a key as a table, and the panel of a region that is marked on a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from dash import Dash, Input, Output

from ...errors import WorkbenchError
from ...report.numbers import score_text
from ...store.address import Expert
from ..elements import Element, dcc, dmc, html
from ..freeze import freeze
from ..gather import gather_box
from ..links import expert_link, label_link, region_file, shared_list_link
from ..parts import aria, fact, facts, label_mark, message, panel, table, term
from ..tables import GENERAL, TOO_LITTLE
from .regions import CELLS, read_region

if TYPE_CHECKING:
    from ..context import Context

LISTED = 200  # experts of a region in its table


def expert_rows(ctx: Context, group: int, experts: Sequence[int], first: int = 0) -> Element:
    """A table of experts: place, id and a box to choose it, label, top tokens, mass, highest score, active tokens.

    Args:
        ctx: the run.
        group: their group.
        experts: flat ids of active experts, in the order of the table.
        first: place of the first one, from 0.
    """
    known = ctx.experts(group).loc[list(experts)]
    rows = []
    previews = ctx.previews(group, experts)
    kinds = [TOO_LITTLE if ctx.analysed else ctx.without_label, ctx.without_label]
    for place, (row, preview) in enumerate(zip(known.itertuples(), previews, strict=True), start=first + 1):
        expert, label = Expert(group, int(row.Index)), row.specialised
        sure = html.Span(" ✓", title="confirmed", **aria(label="confirmed")) if row.confirmed else None
        rows.append(
            [
                f"{place:,}",
                html.Span(
                    [gather_box(expert), html.A(f"{expert}", href=expert_link(*expert))], className="search-chosen"
                ),
                html.Span([label_mark(label, ctx.colour(label), kinds[not row.too_little]), sure]),
                html.Span(preview, className="atlas-tokens"),
                score_text(row.mass),
                score_text(row.max),
                f"{row.tokens:,}",
            ]
        )
    head = ["place", "expert", "label", "top tokens", term("mass"), "highest score", "active tokens"]
    return table(head, rows, "Experts, largest mass first", numeric=4)


def label_counts(ctx: Context, group: int, experts: Sequence[int]) -> Element:
    """How many experts have each label, and how many of them are confirmed; labels without any are left out."""
    known = ctx.experts(group).loc[list(experts)]
    counts = known.groupby("specialised", observed=True)["confirmed"].agg(["size", "sum"])
    labels = [label for label in ctx.labels if label in counts.index]
    entries: list[Any] = [
        html.A(
            [label_mark(label, ctx.colour(label)), html.Span(_counted(ctx, counts.loc[label]), className="count")],
            href=label_link(label, group),
            className="legend-entry",
        )
        for label in labels
    ]
    little = int(known["too_little"].sum())
    general = int((known["specialised"] == GENERAL).sum()) - little
    for kind, many, style in ((ctx.without_label, general, "generalist"), (TOO_LITTLE, little, "too-little")):
        if many:
            mark = html.Span(className=f"swatch {style}", **aria(hidden="true"))
            entries.append(html.Span([mark, kind, html.Span(f"{many:,}", className="count")], className="legend-entry"))
    named = "Experts of each label" + (", confirmed / all" if ctx.tested else "")
    return html.Ul([html.Li(entry) for entry in entries], className="legend", **aria(label=named))


def _counted(ctx: Context, count: pd.Series) -> str:
    return f"{count['sum']:,} / {count['size']:,}" if ctx.tested else f"{count['size']:,}"


def region_panel(ctx: Context, kind: str, text: str) -> Element:
    """The panel of a region.

    Raises:
        WorkbenchError: as ``read_region``.
    """
    region = read_region(ctx, kind, text)
    count = len(region.experts)
    if not count:
        return panel("Selection", html.P("No expert in it is active on this corpus.", className="note"))
    known = ctx.experts(region.group).loc[region.experts]
    listed = [int(expert) for expert in region.experts[:LISTED]]
    first = f"the first {LISTED}" if count > LISTED else "all"
    opened = shared_list_link(_name(kind, text), [(region.group, expert) for expert in listed])
    links = html.Div(
        [
            html.A(f"All {count:,} as CSV", href=region_file(kind, text), download="", className="button"),
            html.A(f"Open {first} as a list", href=opened, className="button"),
        ],
        className="bar-of-links",
    )
    numbers = [fact("active experts", f"{count:,}", f"of {region.places:,} cells" if kind == CELLS else None)]
    if ctx.tested:
        numbers.append(fact(term("confirmed"), f"{int(known['confirmed'].sum()):,}"))
    numbers.append(fact(term("mass"), score_text(float(known["mass"].sum()))))
    told = f"Those of most mass; {first} of {count:,}." if count > LISTED else "Largest mass first."
    return panel(
        f"Selection: {_name(kind, text)}",
        [
            facts(numbers),
            label_counts(ctx, region.group, region.experts.tolist()),
            links,
            html.Div(expert_rows(ctx, region.group, listed), className="atlas-list"),
        ],
        note=told,
    )


def _name(kind: str, text: str) -> str:
    """What a region is called."""
    group, _, place = text.partition(":")
    if kind == CELLS:
        rows, _, columns = place.partition(",")
        return f"group {group}, keys {rows.replace('-', '–')} × {columns.replace('-', '–')}"
    return f"a region of the map of group {group}"


def region_parts(prefix: str, text: str) -> list[Any]:
    """Where the panel of a region goes: ``{prefix}-region`` holds its text, which scripts of a map set."""
    return [
        dcc.Store(id=f"{prefix}-region", data=text),
        dcc.Loading(dmc.Box(id=f"{prefix}-inside", **aria(live="polite")), delay_show=200),
    ]


def register_region(app: Dash, ctx: Context, prefix: str, kind: str, hint: str) -> None:
    """Draw the panel of the region that is marked; ``hint`` says how to mark one while there is none."""

    @app.callback(Output(f"{prefix}-inside", "children"), Input(f"{prefix}-region", "data"))
    def show(text: str | None) -> Any:
        if not text:
            return freeze(html.P(hint, className="note"))
        try:
            return freeze(region_panel(ctx, kind, text))
        except WorkbenchError as error:
            return message("This region cannot be shown", str(error), "error")
