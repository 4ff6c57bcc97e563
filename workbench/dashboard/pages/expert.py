"""One expert: how much it is used, for which labels, and the tokens it scores highest in their context."""

from __future__ import annotations

import re
from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import Dash, Input, Output, State, dcc, html, no_update

from ...errors import WorkbenchError
from ...explain import logit_view, read_explanations
from ...report.charts import used_bins
from ...report.expert import Example, examples, in_context, label_use
from ...report.palette import score_shade
from ...store.address import read_expert
from ...store.text import visible
from .. import figures
from ..context import Context
from ..freeze import freeze
from ..links import Address, expert_file, expert_link, overview_link
from ..parts import aria, bar, fact, facts, files, label_mark, message, number, panel, picture, table, unanalysed
from .explanations import HEAD, NOTE, said

EXAMPLES = 16
NEIGHBOURS = 10
LOGITS = 10


def _neighbours(ctx: Context, group: int, expert: int) -> tuple[int | None, int | None, int | None]:
    """Rank by mass (from 1) of an expert, and the experts one rank above and below it."""
    order = ctx.ranking(group)
    found = (order == expert).nonzero()[0]
    if not len(found):
        return None, None, None
    at = int(found[0])
    above = int(order[at - 1]) if at else None
    below = int(order[at + 1]) if at + 1 < len(order) else None
    return at + 1, above, below


def _step(text: str, group: int, expert: int | None, name: str) -> Any:
    if expert is None:
        return html.Span(text, className="button disabled", **aria(label=f"no {name} expert"))
    return html.A(
        text,
        href=expert_link(group, expert),
        className="button",
        **aria(label=f"{name} expert by mass: {group}:{expert}"),
    )


def _navigation(group: int, expert: int, above: int | None, below: int | None) -> html.Nav:
    steps = [_step("← more mass", group, above, "previous"), _step("less mass →", group, below, "next")]
    report = files("Report", lambda kind: expert_file(group, expert, kind))
    return html.Nav([*steps, report], className="expert-nav", **aria(label="other experts and report"))


def _label_table(ctx: Context, row: pd.Series) -> html.Table:
    rows = [
        [
            label_mark(use.label, ctx.colour(use.label)),
            bar(use.share, ctx.colour(use.label)),
            f"{100 * use.share:.1f} %",
            f"{use.mass:,.2f}",
            f"{use.tokens:,}",
        ]
        for use in label_use(ctx.run, row).itertuples(index=False)
    ]
    head = ["label", "", "share", "mass", "tokens"]
    return table(head, rows, "The expert's use by label", numeric=2)


def _token(text: str, score: float, top: float, chosen: bool) -> html.Span:
    shown = visible(text)
    if chosen:
        number = html.Span(f"{score:.2f}", className="score")
        return html.Span([shown, number], className="token top", style={"--shade": score_shade(score, top)})
    if score > 0:
        return html.Span(
            shown, className="token", style={"--shade": score_shade(score, top)}, title=f"score {score:.3f}"
        )
    return html.Span(shown, className="token")


def example_line(ctx: Context, example: Example, top: float) -> html.Li:
    """One example: where it stands, then its tokens, each shaded by the expert's score against ``top``."""
    tokens = [
        _token(text, score, top, number == example.at)
        for number, (text, score) in enumerate(zip(example.texts, example.scores, strict=True))
    ]
    where = [
        label_mark(example.label, ctx.colour(example.label)),
        html.Span(example.source, className="source", title=example.source) if example.source else None,
        html.Span(f"document {example.doc}, token {example.position}", className="place"),
    ]
    before, after = (
        html.Span("…", className="place") if cut else None for cut in (example.cut_before, example.cut_after)
    )
    line = [part for token in tokens for part in (html.Wbr(), token)]
    return html.Li(
        [html.Div(where, className="example-head"), html.P([before, *line, after], className="tokens")],
        className="example",
    )


def _explained(ctx: Context, group: int, expert: int) -> Any:
    found = read_explanations(ctx.run, group, expert).to_dict("records")
    if not found:
        command = f"monet explain {ctx.run.path} --expert {group}:{expert}"
        return html.P(["Nobody has explained it yet: ", html.Code(command)], className="note")
    return panel("Explanations", table(HEAD, map(said, found), "Explanations of the expert", numeric=2), note=NOTE)


def _near(ctx: Context, group: int, expert: int) -> Any:
    found = ctx.run.neighbours(group, expert, NEIGHBOURS)
    if not len(found):
        return panel("Fires with", html.P("The run holds no routing of its best tokens.", className="note"))
    labels = ctx.experts(group)["specialised"]
    keys = {0: "", 1: "row", 2: "column"}
    rows = [
        [
            html.A(f"{group}:{row.expert}", href=expert_link(group, row.expert)),
            label_mark(labels[row.expert], ctx.colour(labels[row.expert]), ctx.without_label),
            keys[row.key],
            f"{row.similarity:.3f}",
        ]
        for row in found.itertuples(index=False)
    ]
    return panel(
        "Fires with",
        table(["expert", "label", "same key", "similarity"], rows, "Experts active on the same tokens", numeric=3),
        note="Experts active on its best tokens: the cosine of the scores there.",
    )


def _logits(ctx: Context, group: int, expert: int) -> Any:
    try:
        view = logit_view(ctx.run, ctx.model(), group, expert, LOGITS)
    except WorkbenchError as error:
        return message("Not shown", str(error), "warning")
    half = len(view) // 2
    raised, lowered = view.iloc[:half], view.iloc[half:].iloc[::-1]
    rows = [
        [html.Span(visible(up.token_text), className="chip"), f"{up.logit:+.3f}"]
        + [html.Span(visible(down.token_text), className="chip"), f"{down.logit:+.3f}"]
        for up, down in zip(raised.itertuples(index=False), lowered.itertuples(index=False), strict=False)
    ]
    return table(["raises", "logit", "lowers", "logit"], rows, "Next tokens that the expert raises and lowers")


def _kept(ctx: Context) -> int:
    """Examples that the run keeps of an expert."""
    return int(ctx.run.manifest["settings"]["examples"])


def _examples(ctx: Context, group: int, expert: int, count: int) -> list[Any]:
    found = examples(ctx.run, group, expert, count)
    top = max(example.score for example in found)
    more = None
    if len(found) == count < (kept := _kept(ctx)):
        more = html.A(f"Show up to {kept}", href=f"{expert_link(group, expert)}?n={kept}")
    return [html.Ol([example_line(ctx, example, top) for example in found], className="examples"), more]


def _ranges(ctx: Context, group: int, expert: int) -> list[Any]:
    """A few tokens from every range of the expert's scores, highest range first."""
    table = ctx.run.quantile_examples(group, expert)
    found = in_context(ctx.run, group, expert, table)
    top, parts = float(table["score"].max()), []
    for (low, high, count), rows in table.groupby(["low", "high", "count"], sort=False).groups.items():
        lines = [example_line(ctx, found[row], top) for row in rows]
        parts += [html.H3(f"{low:.2g} to {high:.2g}: {count:,} tokens"), html.Ol(lines, className="examples")]
    return parts


def _which(group: int, expert: int, ranges: bool) -> html.Nav:
    views = [("Best", expert_link(group, expert), not ranges)]
    views.append(("From every range of scores", f"{expert_link(group, expert)}?show=ranges", ranges))
    links = [
        html.A(
            name,
            href=href,
            className="group-link" + (" chosen" if chosen else ""),
            **aria(current="true" if chosen else None),
        )
        for name, href, chosen in views
    ]
    return html.Nav(links, className="group-links", **aria(label="which tokens are shown"))


def _stats(ctx: Context, row: pd.Series, rank: int, active: int) -> html.Dl:
    label = row["specialised"]
    known = [
        fact("label", label_mark(label, ctx.colour(label)), "confirmed against chance" if row["confirmed"] else None),
        fact("ratio", number(row["ratio"], 2), "first share over second"),
        fact("monosemanticity", number(row["score"], 3)),
    ]
    share = 100 * row["tokens"] / ctx.run.tokens_total
    return facts(
        [
            *(known if ctx.analysed else ()),
            fact("rank by mass", f"{rank:,}", f"of {active:,} active"),
            fact("active tokens", f"{int(row['tokens']):,}", f"{share:.2f} % of the corpus"),
            fact("mass", f"{row['mass']:,.2f}", "sum of scores"),
            fact("mean score", f"{row['mean']:.4f}", "where active"),
            fact("highest score", f"{row['max']:.4f}"),
        ]
    )


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page.

    Raises:
        WorkbenchError: the run has no such group or expert.
    """
    group_text, expert_text = address.parts
    group, expert = read_expert(f"{group_text}:{expert_text}", ctx.run.groups, ctx.run.num_keys)
    asked = address.query.get("n", "")
    count = min(int(asked), _kept(ctx)) if re.fullmatch(r"[1-9]\d{0,3}", asked) else EXAMPLES
    rank, above, below = _neighbours(ctx, group, expert)
    i, j = divmod(expert, ctx.run.num_keys)
    title = html.H1(
        [f"Expert {group}:{expert}", html.Small(f"layer group {group}, key i {i} of set 1, key j {j} of set 2")]
    )
    if rank is None:
        return [
            title,
            message("Never active", "No token of this corpus activates this expert, so there is nothing to show."),
            html.A("To the experts that are", href=overview_link(group)),
        ]
    experts = ctx.experts(group)
    row = experts.loc[expert]
    described = f"Histogram of the scores of expert {group}:{expert} over its {int(row['tokens']):,} active tokens."
    drawn = dcc.Graph(
        figure=figures.histogram(used_bins(ctx.run.histogram(group, expert))),
        config={"displayModeBar": False},
        className="histogram",
    )
    side = [
        panel(
            "Labels", _label_table(ctx, row), note="Share: mean score a token of the label, against the other labels."
        ),
        panel("Scores", picture(drawn, described), note="Numbers over the bars: tokens in each range."),
        panel(
            "What it writes",
            [
                dcc.Store(id="expert-chosen", data=[group, expert]),
                dcc.Loading(dmc.Box(id="expert-logits", className="logits"), delay_show=200),
            ],
            note="Next tokens whose logit it raises and lowers most where it fires: the mean over its best tokens.",
        ),
        _near(ctx, group, expert),
    ]
    ranges = address.query.get("show") == "ranges"
    main = panel(
        "Tokens in context",
        [
            _which(group, expert, ranges),
            *(_ranges(ctx, group, expert) if ranges else _examples(ctx, group, expert, count)),
        ],
        note="The stronger a token's colour, the higher its score; point at one for its number.",
    )
    return [
        title,
        _navigation(group, expert, above, below),
        None if ctx.analysed else unanalysed(ctx.run.path),
        _stats(ctx, row, rank, len(experts)),
        _explained(ctx, group, expert),
        html.Div([html.Div(side, className="side"), main], className="side-and-main"),
    ]


def register(app: Dash, ctx: Context) -> None:
    """What the expert writes, which takes the model; the go-to box in the header."""

    @app.callback(Output("expert-logits", "children"), Input("expert-chosen", "data"))
    def logits(chosen: list[int]) -> Any:
        return freeze(_logits(ctx, *chosen))

    @app.callback(
        Output("url", "pathname", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Output("go-to", "error"),
        Input("go-to", "n_submit"),
        State("go-to", "value"),
        prevent_initial_call=True,
    )
    def go_to(_: int, text: str | None) -> tuple[Any, Any, str | None]:
        try:
            group, expert = read_expert(text or "", ctx.run.groups, ctx.run.num_keys)
        except WorkbenchError as error:
            return no_update, no_update, str(error)
        return expert_link(group, expert), "", None
