"""One label: the experts specialised in it, group by group."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import Dash

from ...report.labels import shortened
from ...report.palette import OTHER_LABELS_COLOUR, highlight_colour
from ...store.token_text import visible_label
from ..context import Context
from ..elements import Element, html
from ..expert_list import expert_list, meaning, register_list
from ..links import LABEL_PATH, LIST_FIELDS, Address, all_labels_link, label_file, label_link, overview_link
from ..page import Page
from ..parts import (
    LONGEST_NAME,
    alike_note,
    aria,
    chosen_group,
    fact,
    facts,
    files,
    group_links,
    label_mark,
    panel,
    swatch,
    term,
)
from ..replicates import plain_rule, share_text
from ..running import unanalysed


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page.

    Raises:
        NotFoundError: the run has no such label or group.
    """
    (label,) = address.parts
    ctx.run.check_label(label)
    group = chosen_group(ctx, address)
    if not ctx.analysed:
        return [_heading(ctx, label), unanalysed(ctx)]
    counts = {other: ctx.specialised(other).loc[label] for other in ctx.run.groups}
    in_all = sum(counts.values())
    tokens, found = int(ctx.run.label_tokens[label]), ctx.replication()
    others = [
        html.A(label_mark(name, ctx.colour(name)), href=label_link(name, group), className="legend-entry")
        for name in ctx.coloured
        if name != label
    ]
    if ctx.uncoloured:
        name = f"all {len(ctx.labels):,} labels"
        others.append(html.A([swatch(OTHER_LABELS_COLOUR), name], href=all_labels_link(), className="legend-entry"))
    shown = shortened(visible_label(label), LONGEST_NAME)
    listed = {name: address.query.get(name) for name in LIST_FIELDS}
    return [
        _heading(ctx, label),
        alike_note(ctx.run.labels, label),
        html.Nav(files("Report", lambda kind: label_file(label, kind)), className="expert-nav", **aria(label="report")),
        facts(
            [
                fact("tokens", f"{tokens:,}", f"{100 * tokens / max(ctx.run.tokens_total, 1):.1f} % of the corpus"),
                fact(term("confirmed", "confirmed experts"), *_counts(ctx, in_all)),
                fact(
                    term("replicates"),
                    share_text(found, "confirmed" if ctx.tested else "specialised", label=label),
                    f"{share_text(found, 'specialised', label=label)} of the specialised" if ctx.tested else None,
                ),
                *(fact(f"in group {other}", *_counts(ctx, count)) for other, count in counts.items()),
            ]
        ),
        html.Nav([html.Span("other labels"), *others], className="legend", **aria(label="other labels")),
        panel(
            f"Experts specialised in {shown}",
            [
                html.Div(
                    [
                        group_links(ctx, group, lambda other: label_link(label, other, **listed), keeps=LIST_FIELDS),
                        html.A("Show on the map", href=overview_link(group, label)),
                    ],
                    className="bar-of-links",
                ),
                *expert_list(ctx, "label-grid", group, address, label=label, tall=True),
            ],
            kind="expert-list",
            note=[
                f"Group {group}: ",
                f"{counts[group]['confirmed']:,} confirmed of " if ctx.tested else "",
                f"{counts[group]['experts']:,} ",
                plain_rule(ctx),
                ". ",
                *([*meaning(), "Click a heading to sort, its menu to filter."] if counts[group]["experts"] else ()),
            ],
        ),
    ]


def _counts(ctx: Context, count: pd.Series) -> tuple[str, list[Any]]:
    """The number of confirmed experts, and a note of how many the plain rule calls specialised."""
    shown = f"{count['confirmed']:,}" if ctx.tested else "not tested"
    return shown, [f"{count['experts']:,} ", plain_rule(ctx)]


def _heading(ctx: Context, label: str) -> Element:
    return html.H1([swatch(highlight_colour(ctx.colour(label))), visible_label(label)])


def register(app: Dash, ctx: Context) -> None:
    """The list of experts."""
    register_list(app, ctx, "label-grid")


def _title(ctx: Context, address: Address) -> str:
    return f"Label {shortened(visible_label(address.parts[0]), LONGEST_NAME)}"


PAGE = Page("label", LABEL_PATH, _title, layout, register=register)
