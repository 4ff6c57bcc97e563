"""One label: the experts specialised in it, group by group."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import Dash, Input, Output, State, dcc, html

from ...report.label import top_tokens
from ...store.token_text import visible
from .. import grid
from ..context import Context
from ..links import LABEL_PATH, Address, label_file, label_link, overview_link
from ..page import Page
from ..parts import aria, chosen_group, fact, facts, files, group_links, panel, swatch, term, unanalysed

PREVIEWED = 6  # top tokens shown per expert
COLUMNS = (*(c for c in grid.EXPERT_COLUMNS if c["field"] != "specialised"), grid.TOP_TOKENS)


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page.

    Raises:
        NotFoundError: the run has no such label or group.
    """
    (label,) = address.parts
    ctx.run.check_label(label)
    group = chosen_group(ctx, address)
    if not ctx.analysed:
        return [html.H1([swatch(ctx.colour(label)), label]), unanalysed(ctx.run.path)]
    counts = {other: ctx.specialised(other).loc[label] for other in ctx.run.groups}
    in_all = sum(counts.values())
    tokens = int(ctx.run.label_tokens[label])
    others = [
        html.A([swatch(ctx.colour(name)), name], href=label_link(name, group), className="legend-entry")
        for name in ctx.run.labels
        if name != label
    ]
    return [
        html.H1([swatch(ctx.colour(label)), label]),
        html.Nav(files("Report", lambda kind: label_file(label, kind)), className="expert-nav", **aria(label="report")),
        facts(
            [
                fact("tokens", f"{tokens:,}", f"{100 * tokens / max(ctx.run.tokens_total, 1):.1f} % of the corpus"),
                fact(term("specialised", "specialised experts"), f"{in_all['experts']:,}", _confirmed(in_all)),
                *(
                    fact(f"in group {other}", f"{count['experts']:,}", _confirmed(count))
                    for other, count in counts.items()
                ),
            ]
        ),
        html.Nav([html.Span("other labels"), *others], className="legend", **aria(label="other labels")),
        panel(
            f"Experts specialised in {label}",
            [
                html.Div(
                    [
                        group_links(ctx, group, lambda other: label_link(label, other)),
                        html.A("Show on the map", href=overview_link(group, label)),
                    ],
                    className="bar-of-links",
                ),
                html.Div(
                    grid.expert_grid("label-grid", group, ctx.colours, COLUMNS),
                    className="grid-box tall",
                    role="region",
                    **aria(label=f"Grid of the experts of group {group} specialised in {label}"),
                ),
                dcc.Store(id="label-choice", data={"group": group, "label": label}),
            ],
            note=f"{counts[group]['experts']:,} experts in group {group}. Click a heading to sort, its menu to filter.",
        ),
    ]


def _confirmed(count: pd.Series) -> list[Any]:
    return [f"{count['confirmed']:,} ", term("confirmed")]


def _preview(ctx: Context, group: int, expert: int) -> str:
    return "  ".join(visible(text) for text in top_tokens(ctx.run, group, expert, PREVIEWED))


def register(app: Dash, ctx: Context) -> None:
    """Rows of the grid, with the top tokens of the visible ones only."""

    @app.callback(
        Output("label-grid", "getRowsResponse"), Input("label-grid", "getRowsRequest"), State("label-choice", "data")
    )
    def rows(request: dict[str, Any] | None, choice: dict[str, Any]) -> dict[str, Any]:
        group = choice["group"]
        table = ctx.experts(group)
        block, count = grid.select(table[table["specialised"] == choice["label"]], request or {})
        block = block.assign(preview=[_preview(ctx, group, int(expert)) for expert in block["expert"]])
        return grid.response(block, count)


def _title(ctx: Context, address: Address) -> str:
    return f"Label {address.parts[0]}"


PAGE = Page("label", LABEL_PATH, _title, layout, register=register)
