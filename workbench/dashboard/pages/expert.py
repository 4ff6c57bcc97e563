"""One expert: how much it is used, for which labels, and the tokens where it is active, in their context."""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import Dash

from ...report.charts import used_bins
from ...store.address import Expert, read_expert
from .. import figures
from ..context import Context
from ..elements import Element, dcc, html
from ..expert import listing, logits, related, trial
from ..expert.ablation import ABLATION
from ..expert.header import label_against_examples, navigation, neighbours, stats
from ..expert.labels import label_table, purity
from ..expert.related import SIMILAR, coactivating
from ..expert.tokens import by_range, kept_examples, strongest
from ..explained import NUMERIC, cells, explain_first, heading, note
from ..failures import message_or
from ..heatmap import legend
from ..kept import kept_panel
from ..links import EXPERT_PATH, TOKENS, TRY, Address, overview_link, tokens_link
from ..page import Page
from ..parts import message, panel, picture, table, tabs, term
from ..running import unanalysed


def _read(ctx: Context, address: Address) -> Expert:
    group, expert = address.parts
    return read_expert(f"{group}:{expert}", ctx.run.groups, ctx.run.num_keys)


def _explained(ctx: Context, expert: Expert) -> Any:
    stored = ctx.explanations(*expert)
    if stored.empty:
        return panel("Explanations", explain_first(ctx, "None yet", expert))
    drawn = table(heading(), map(cells, stored.to_dict("records")), "Explanations of the expert", numeric=NUMERIC)
    return panel("Explanations", drawn, note=note())


def _side(ctx: Context, expert: Expert, row: dict[str, Any]) -> list[Any]:
    described = f"Histogram of the routing scores of expert {expert} over its {int(row['tokens']):,} active tokens."
    drawn = dcc.Graph(
        figure=figures.histogram(used_bins(ctx.run.histogram(*expert))),
        config={"displayModeBar": False},
        className="histogram",
    )
    share = [
        term("share", "Share"),
        ": the expert's rate for the label, as a fraction of the sum of its rates for all labels.",
    ]
    return [
        panel("Labels", label_table(ctx, ctx.run.expert(*expert)), note=share),
        panel("Purity", purity(row), note="Point at a measure for its definition.") if ctx.analysed else None,
        panel(
            "Distribution of routing scores", picture(drawn, described), note="Active tokens in each range of scores."
        ),
        logits.logits_panel(),
        ABLATION.layout(),
    ]


def _tokens(ctx: Context, expert: Expert, address: Address, examples: pd.DataFrame) -> Element:
    show = address.query.get("show", "")
    views = [
        ("Highest scores", tokens_link(*expert, address.query, show=""), show not in ("ranges", listing.ALL)),
        ("By score range", tokens_link(*expert, address.query, show="ranges"), show == "ranges"),
        ("All activations", tokens_link(*expert, address.query, show=listing.ALL), show == listing.ALL),
    ]
    if show == listing.ALL:
        drawn = listing.listing(ctx, expert, address.query)
    else:
        drawn = by_range(ctx, expert) if show == "ranges" else strongest(ctx, expert, address, examples)
    shown = panel(
        "Active tokens in context",
        [tabs("which tokens are shown", views, keeps=(TRY,)), legend(), *drawn],
        note="The stronger a token's colour, the higher its score, on one scale for all experts. Point at a token to "
        "see its score. · is a space, ↵ a line break, → a tab; the tokens of a character that takes several are "
        "numbered, 1/3, 2/3, 3/3.",
    )
    return html.Div(shown, id=TOKENS)


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page.

    Raises:
        NotFoundError: the run has no such group or expert.
        BadInputError: the address names no expert.
    """
    expert = _read(ctx, address)
    rank, above, below = neighbours(ctx, expert)
    i, j = divmod(expert.id, ctx.run.num_keys)
    group = f"layer group {expert.group} ({ctx.run.layers_text(expert.group)})"
    keys = html.Small(f"{group}, key {i} of set 1, key {j} of set 2")
    title = html.H1([f"Expert {expert}", keys])
    row = ctx.row(*expert)
    if rank is None or row is None:
        return [
            title,
            message("Never active", "No token of this corpus activates this expert, so there is nothing to show."),
            html.A("Browse the active experts", href=overview_link(expert.group)),
        ]
    examples = ctx.run.examples(*expert, n=kept_examples(ctx))
    drawn = [
        title,
        dcc.Store(id="expert-chosen", data=list(expert)),
        navigation(expert, above, below),
        None if ctx.analysed else unanalysed(ctx),
        stats(ctx, expert, row, rank, len(ctx.ranking(expert.group))),
        label_against_examples(ctx, expert, row["specialised"], row["ratio"], examples),
        *message_or(_explained, ctx, expert),
        *message_or(kept_panel, ctx, expert),
        html.Div(
            [
                html.Div(_side(ctx, expert, row), className="side"),
                html.Div([trial.trial_panel(ctx, address.query), _tokens(ctx, expert, address, examples)]),
            ],
            className="side-and-main",
        ),
        html.Div(
            [*message_or(coactivating, ctx, expert), related.same_keys_panel(), SIMILAR.layout()], className="related"
        ),
    ]
    ctx.prepare_model()
    return drawn


def register(app: Dash, ctx: Context) -> None:
    """The filters of the list of tokens; and what takes the model: the logit effect, and the reader's own text."""
    listing.register(app, ctx)
    logits.register(app, ctx)
    related.register(app, ctx)
    trial.register(app, ctx)
    ABLATION.register(app, ctx)
    SIMILAR.register(app, ctx)


def _title(ctx: Context, address: Address) -> str:
    return f"Expert {_read(ctx, address)}"


PAGE = Page("expert", EXPERT_PATH, _title, layout, register=register)
