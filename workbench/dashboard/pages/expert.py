"""One expert: how much it is used, for which labels, and the tokens it scores highest in their context."""

from __future__ import annotations

import re
from typing import Any

import dash_mantine_components as dmc
import pandas as pd
from dash import Dash, Input, Output, dcc, html

from ...analysis import SCORES
from ...errors import WorkbenchError
from ...explain import read_explanations
from ...report.charts import used_bins
from ...report.expert import Example, examples, in_context, label_use
from ...report.numbers import number, score_text
from ...report.palette import score_shade
from ...store.address import Expert, read_expert, shared_key
from ...store.token_text import visible
from .. import figures
from ..context import Context
from ..explained import NUMERIC, cells, heading, note
from ..failures import kind_of, message_or
from ..freeze import freeze
from ..links import EXPERT_PATH, Address, expert_file, expert_link, overview_link
from ..page import Page
from ..parts import (
    aria,
    bar,
    command,
    fact,
    facts,
    files,
    label_mark,
    message,
    panel,
    picture,
    table,
    tabs,
    term,
    unanalysed,
)

EXAMPLES = 16
NEIGHBOURS = 10
LOGITS = 10
WEAK = 0.1  # an expert that never scores higher has little weight in the model


def _read(ctx: Context, address: Address) -> Expert:
    group, expert = address.parts
    return read_expert(f"{group}:{expert}", ctx.run.groups, ctx.run.num_keys)


def _neighbours(ctx: Context, expert: Expert) -> tuple[int | None, Expert | None, Expert | None]:
    """Rank by mass (from 1) of an expert, and the experts one rank above and below it."""
    order = ctx.ranking(expert.group)
    at = (order == expert.id).nonzero()[0]
    if not len(at):
        return None, None, None
    rank = int(at[0])
    above = Expert(expert.group, int(order[rank - 1])) if rank else None
    below = Expert(expert.group, int(order[rank + 1])) if rank + 1 < len(order) else None
    return rank + 1, above, below


def _step(text: str, expert: Expert | None) -> Any:
    if expert is None:
        return html.Span(text, className="button disabled", **aria(disabled="true"))
    return html.A(text, href=expert_link(*expert), className="button", title=f"expert {expert}")


def _navigation(expert: Expert, above: Expert | None, below: Expert | None) -> html.Nav:
    steps = [_step("← more mass", above), _step("less mass →", below)]
    report = files("Report", lambda kind: expert_file(*expert, kind))
    return html.Nav([*steps, report], className="expert-nav", **aria(label="neighbours by mass, and report"))


def _label_table(ctx: Context, row: pd.Series) -> html.Div:
    rows = [
        [
            label_mark(use.label, ctx.colour(use.label)),
            bar(use.share, ctx.colour(use.label)),
            f"{100 * use.share:.1f} %",
            score_text(use.mass),
            f"{use.tokens:,}",
        ]
        for use in label_use(ctx.run, row).itertuples(index=False)
    ]
    head = ["label", None, term("share"), term("mass"), "active tokens"]
    return table(head, rows, "How the expert is used for each label", numeric=2)


def _token(text: str, score: float, top: float, chosen: bool) -> html.Span:
    shown = visible(text)
    if score <= 0:
        return html.Span(shown, className="token")
    shade = {"--shade": score_shade(score, top)}
    if chosen:
        return html.Span([shown, html.Span(score_text(score), className="score")], className="token top", style=shade)
    return html.Span(shown, className="token", style=shade, title=f"score {score:.2g}")


def example_line(ctx: Context, example: Example, top: float) -> html.Li:
    """One example: its document, then its tokens, each shaded by the expert's score relative to ``top``."""
    tokens = [
        _token(text, score, top, at == example.at)
        for at, (text, score) in enumerate(zip(example.texts, example.scores, strict=True))
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


def _explained(ctx: Context, expert: Expert) -> Any:
    stored = read_explanations(ctx.run, *expert).to_dict("records")
    if not stored:
        line = command("explain", ctx.run.path, "--expert", expert)
        drawn: Any = html.P(["None yet. To add one, run ", html.Code(line, className="command")], className="note")
        return panel("Explanations", drawn)
    drawn = table(heading(), map(cells, stored), "Explanations of the expert", numeric=NUMERIC)
    return panel("Explanations", drawn, note=note())


def _coactivating(ctx: Context, expert: Expert) -> Any:
    near = ctx.run.neighbours(*expert, NEIGHBOURS)
    if not len(near):
        return panel(
            "Co-activating experts",
            html.P("The run does not keep the routing of this expert's best tokens.", className="note"),
        )
    labels = ctx.experts(expert.group)["specialised"]
    keys = shared_key(near["expert"].to_numpy(), expert.id, ctx.run.num_keys)
    rows = [
        [
            html.A(f"{expert.group}:{row.expert}", href=expert_link(expert.group, row.expert)),
            label_mark(labels[row.expert], ctx.colour(labels[row.expert]), ctx.without_label),
            key,
            f"{row.similarity:.3f}",
        ]
        for row, key in zip(near.itertuples(index=False), keys, strict=True)
    ]
    return panel(
        "Co-activating experts",
        table(["expert", "label", term("key", "same key"), "similarity"], rows, "Co-activating experts", numeric=3),
        note="Cosine similarity of their scores with this expert's, over its best tokens.",
    )


def _logits(ctx: Context, expert: Expert) -> Any:
    try:
        view = ctx.logit_view(*expert, LOGITS)
    except WorkbenchError as error:
        return message(kind_of(error).heading, str(error), "warning")
    half = len(view) // 2
    promoted, suppressed = view.iloc[:half], view.iloc[half:].iloc[::-1]
    rows = [
        [html.Span(visible(up.token_text), className="chip"), f"{up.logit:+.3f}"]
        + [html.Span(visible(down.token_text), className="chip"), f"{down.logit:+.3f}"]
        for up, down in zip(promoted.itertuples(index=False), suppressed.itertuples(index=False), strict=False)
    ]
    return table(["promoted", "logit", "suppressed", "logit"], rows, "Top promoted and suppressed tokens")


def _kept(ctx: Context) -> int:
    """Examples that the run keeps per expert."""
    return int(ctx.run.manifest["settings"]["examples"])


def _best(ctx: Context, expert: Expert, count: int) -> list[Any]:
    """The tokens of highest score; a note says where the run holds fewer than the expert has, or many tie."""
    shown = examples(ctx.run, expert, count)
    top, active = max(example.score for example in shown), int(ctx.experts(expert.group).loc[expert.id, "tokens"])
    more: Any = None
    if len(shown) == count < (kept := _kept(ctx)):
        more = html.A(f"Show up to {kept}", href=expert_link(*expert, n=kept))
    elif len(shown) < active:
        more = html.P(
            f"The run keeps {len(shown)} of the expert's {active:,} active tokens: at most {kept} per expert, and only "
            "a few per document.",
            className="note",
        )
    tied = sum(example.score == top for example in shown)
    ties = html.P(f"{tied} tokens tie for the highest score; they are listed in corpus order.", className="note")
    return [
        ties if tied > 1 else None,
        html.Ol([example_line(ctx, example, top) for example in shown], className="examples"),
        more,
    ]


def _by_range(ctx: Context, expert: Expert) -> list[Any]:
    """A few tokens from each range of the expert's scores, highest range first."""
    sample = ctx.run.examples_by_score(*expert)
    shown = in_context(ctx.run, expert, sample)
    top, parts = float(sample["score"].max()), []
    for (low, high, count), rows in sample.groupby(["low", "high", "count"], sort=False).groups.items():
        lines = [example_line(ctx, shown[row], top) for row in rows]
        parts += [html.H3(f"{low:.2g} to {high:.2g}: {count:,} tokens"), html.Ol(lines, className="examples")]
    return parts


def _stats(ctx: Context, row: pd.Series, rank: int, active: int) -> html.Dl:
    label = row["specialised"]
    confirmed = term("confirmed") if row["confirmed"] else [html.Span("not "), term("confirmed")] if label else None
    known = [
        fact(term("specialised", "label"), label_mark(label, ctx.colour(label)), confirmed),
        fact(term("ratio"), number(row["ratio"], 2), "largest label share over second"),
        fact(term("monosemanticity"), number(row["monosemanticity"], 3)),
    ]
    share = 100 * row["tokens"] / ctx.run.tokens_total
    return facts(
        [
            *(known if ctx.analysed else ()),
            fact("rank by mass", f"{rank:,}", f"of {active:,} active experts"),
            fact(term("density", "active tokens"), f"{int(row['tokens']):,}", f"{share:.2g} % of the corpus"),
            fact(term("mass"), score_text(row["mass"]), "sum of scores"),
            fact(term("mean score"), score_text(row["mean"]), "where active"),
            fact(term("routing score", "highest score"), score_text(row["max"]), "weak" if row["max"] < WEAK else None),
        ]
    )


def _scores(row: pd.Series) -> html.Div:
    """Every monosemanticity score of the run's analysis, with the false discovery rate at which it is significant."""
    rows = [
        [
            html.Span(score.title, title=score.definition, className="term"),
            number(row[name], 3),
            score.unit,
            number(row.get(f"q:{name}", float("nan")), 3),
        ]
        for name, score in SCORES.items()
        if name in row
    ]
    head = ["measure", "value", "unit", term("false discovery rate", "q")]
    return table(head, rows, "How pure the expert is", numeric=1)


def _side(ctx: Context, expert: Expert, row: pd.Series) -> list[Any]:
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
        panel("Labels", _label_table(ctx, row), note=share),
        panel("Purity", _scores(row), note="Point at a measure for its definition.") if ctx.analysed else None,
        panel(
            "Distribution of routing scores", picture(drawn, described), note="Active tokens in each range of scores."
        ),
        panel(
            "Top promoted and suppressed tokens",
            [
                dcc.Store(id="expert-chosen", data=list(expert)),
                dcc.Loading(dmc.Box(id="expert-logits", className="logits"), delay_show=200),
            ],
            note=[term("logit effect", "Logit effect"), ", averaged over the expert's best tokens."],
        ),
        *message_or(_coactivating, ctx, expert),
    ]


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page.

    Raises:
        NotFoundError: the run has no such group or expert.
        BadInputError: the address names no expert.
    """
    expert = _read(ctx, address)
    asked = address.query.get("n", "")
    count = min(int(asked), _kept(ctx)) if re.fullmatch(r"[1-9]\d{0,3}", asked) else EXAMPLES
    rank, above, below = _neighbours(ctx, expert)
    i, j = divmod(expert.id, ctx.run.num_keys)
    keys = html.Small(f"layer group {expert.group}, key {i} of set 1, key {j} of set 2")
    title = html.H1([f"Expert {expert}", keys])
    if rank is None:
        return [
            title,
            message("Never active", "No token of this corpus activates this expert, so there is nothing to show."),
            html.A("Browse the active experts", href=overview_link(expert.group)),
        ]
    experts = ctx.experts(expert.group)
    row = experts.loc[expert.id]
    ranges = address.query.get("show") == "ranges"
    views = [
        ("Highest scores", expert_link(*expert), not ranges),
        ("By score range", expert_link(*expert, show="ranges"), ranges),
    ]
    main = panel(
        "Active tokens in context",
        [
            tabs("which tokens are shown", views),
            *(_by_range(ctx, expert) if ranges else _best(ctx, expert, count)),
        ],
        note="The stronger a token's colour, the higher its score, relative to this expert's highest. Point at a token "
        "to see its score. · is a space, ↵ a line break, → a tab.",
    )
    return [
        title,
        _navigation(expert, above, below),
        None if ctx.analysed else unanalysed(ctx.run.path),
        _stats(ctx, row, rank, len(experts)),
        *message_or(_explained, ctx, expert),
        html.Div([html.Div(_side(ctx, expert, row), className="side"), main], className="side-and-main"),
    ]


def register(app: Dash, ctx: Context) -> None:
    """The logit effect, which takes the model."""

    @app.callback(Output("expert-logits", "children"), Input("expert-chosen", "data"))
    def logits(chosen: list[int]) -> Any:
        return freeze(_logits(ctx, Expert(*chosen)))


def _title(ctx: Context, address: Address) -> str:
    return f"Expert {_read(ctx, address)}"


PAGE = Page("expert", EXPERT_PATH, _title, layout, register=register)
