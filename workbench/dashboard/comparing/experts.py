"""Experts beside each other: their numbers, labels, shared tokens, promoted tokens and strongest examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ...analysis import pair_overlap
from ...errors import BadInputError
from ...report.expert import examples, label_use
from ...report.numbers import number, score_text
from ...store.address import Expert, read_expert
from ..context import Context
from ..elements import Element, html
from ..heatmap import example_line, legend
from ..links import document_link, expert_link
from ..parts import Child, bar, label_mark, panel, table, term, token_shown
from ..tables import GENERAL
from .forms import EXPERTS, Query

EXAMPLES = 6  # of each expert
SHARED = 8  # tokens listed that two experts share
LABELS = 20  # listed
PROMOTED = 8  # tokens of each expert


def read_experts(ctx: Context, query: Query) -> list[Expert]:
    """The experts that an address names, each once.

    Raises:
        BadInputError: there are fewer than two, or one cannot be read.
        NotFoundError: the run has no such group or expert.
    """
    named = [query[name] for name in EXPERTS if query.get(name, "").strip()]
    experts = list(dict.fromkeys(read_expert(text, ctx.run.groups, ctx.run.num_keys) for text in named))
    if len(experts) < 2:
        first = f"{ctx.run.groups[0]}:17"
        raise BadInputError(f"{len(experts)} expert is named; give two different ones, such as {first} and another.")
    return experts


def experts_answer(ctx: Context, experts: Sequence[Expert]) -> list[Any]:
    """Everything about the experts but the promoted tokens, which take the model."""
    return [
        html.Div([_numbers(ctx, experts), _labels(ctx, experts)], className="side-by-side"),
        _overlap(ctx, experts),
    ]


def examples_panel(ctx: Context, experts: Sequence[Expert]) -> Element:
    """The strongest tokens of every expert in context, in columns."""
    columns = []
    for expert in experts:
        shown = examples(ctx.run, expert, EXAMPLES)
        lines = [example_line(ctx, expert, example) for example in shown]
        drawn = html.Ol(lines, className="examples") if lines else html.P("Never active.", className="note")
        tokens = html.P(ctx.previews(expert.group, [expert.id])[0], className="compare-tokens")
        columns.append(html.Div([html.H3(_name(ctx, expert)), tokens, drawn], className="compare-column"))
    return panel(
        "Strongest examples",
        [legend(), html.Div(columns, className="compare-columns")],
        note="The different tokens among each expert's best, then its tokens of highest score in context. · is a "
        "space, ↵ a line break.",
    )


def _row(ctx: Context, expert: Expert) -> pd.Series | None:
    """The expert's row of ``Context.experts``; None for one that is never active."""
    known = ctx.experts(expert.group)
    return known.loc[expert.id] if expert.id in known.index else None


def _name(ctx: Context, expert: Expert) -> list[Child]:
    row = _row(ctx, expert)
    label = GENERAL if row is None else row["specialised"]
    return [
        html.A(f"Expert {expert}", href=expert_link(*expert)),
        " ",
        label_mark(label, ctx.colour(label), ctx.kind(*expert)),
    ]


def _numbers(ctx: Context, experts: Sequence[Expert]) -> Element:
    rows_of = [_row(ctx, expert) for expert in experts]
    total = ctx.run.tokens_total
    measures: list[tuple[Child, Callable[[pd.Series], str]]] = [
        (term("density", "active tokens"), lambda row: f"{int(row['tokens']):,}"),
        (term("density"), lambda row: f"{100 * row['tokens'] / total:.2g} %"),
        (term("mass"), lambda row: score_text(row["mass"])),
        (term("mean score"), lambda row: score_text(row["mean"])),
        (term("routing score", "highest score"), lambda row: score_text(row["max"])),
        (term("token entropy"), lambda row: number(row["token_entropy"], 2)),
        (term("interest"), lambda row: number(row["interest"], 2)),
    ]
    if ctx.analysed:
        measures = [
            (term("confirmed"), lambda row: "yes" if row["confirmed"] else "no"),
            (term("ratio"), lambda row: number(row["ratio"], 2)),
            (term("label selectivity"), lambda row: number(row["monosemanticity"], 3)),
            *measures,
        ]
    rows = [[name, *("–" if row is None else text(row) for row in rows_of)] for name, text in measures]
    marks = [html.Span(_name(ctx, expert), className="compare-name") for expert in experts]
    return panel("Numbers", table(["measure", *marks], rows, "Numbers of the experts"))


def _labels(ctx: Context, experts: Sequence[Expert]) -> Element:
    """Every expert's share for each label; of many labels, those of the largest shares."""
    shares = pd.DataFrame(index=ctx.labels)
    for at, expert in enumerate(experts):
        if _row(ctx, expert) is None:
            shares[at] = 0.0
        else:
            use = label_use(ctx.run, ctx.run.expert(*expert))
            shares[at] = use.set_index("label")["share"].reindex(ctx.labels)
    listed = shares.max(axis=1).sort_values(ascending=False, kind="stable").index[:LABELS]
    rows = []
    for label in listed:
        cells: list[Child] = [label_mark(label, ctx.colour(label))]
        for share in shares.loc[label]:
            cells += [bar(share, ctx.colour(label)), f"{100 * share:.1f} %"]
        rows.append(cells)
    head = ["label", *(part for expert in experts for part in (None, f"{expert}"))]
    left = len(shares) - len(listed)
    note = [term("share", "Share"), " of each label.", f" {left:,} more labels have smaller shares." if left else ""]
    return panel("Labels", table(head, rows, "Share of each label, of every expert"), note=note)


def _overlap(ctx: Context, experts: Sequence[Expert]) -> Element:
    active = {expert: ctx.activations(*expert) for expert in experts}
    rows, shared = [], []
    kept = int(ctx.run.documents.loc[ctx.run.documents["kept"], "tokens"].sum())
    for first, second in combinations(experts, 2):
        found = pair_overlap(active[first], active[second])
        rows.append(
            [
                f"{first} and {second}",
                f"{found.tokens[0]:,}",
                f"{found.tokens[1]:,}",
                html.Strong(f"{len(found.together):,}"),
                f"{found.chance(kept):,.1f}",
                number(found.jaccard, 3),
                number(found.cosine, 3),
            ]
        )
        shared += _shared(ctx, first, second, found.together)
    head = ["experts", "active, first", "active, second", "both active", "by chance", "Jaccard", "cosine of scores"]
    part = "" if bool(ctx.run.documents["kept"].all()) else " whose routing the run keeps"
    note = (
        f"Counted over all {kept:,} tokens{part}. By chance: if the two were independent. Jaccard: both active, of the "
        "tokens where either is. Experts of different groups are compared at the same tokens."
    )
    drawn = table(head, rows, "Tokens that the experts share")
    return panel("Tokens in common", [drawn, *shared], note=note)


def _shared(ctx: Context, first: Expert, second: Expert, together: pd.DataFrame) -> list[Any]:
    """The tokens where both experts are active, of the largest product of scores."""
    if together.empty:
        return []
    product = (together["first"].astype(float) * together["second"].astype(float)).to_numpy()
    best = together.iloc[np.argsort(-product, kind="stable")[:SHARED]]
    texts = ctx.run.row_text(best["row"].to_numpy())
    rows = [
        [
            html.Span(token_shown(text), className="chip"),
            label_mark(row.label, ctx.colour(row.label)),
            html.A(
                f"document {row.doc}, token {row.position}",
                href=document_link(row.doc, first, row.row),
                className="place",
            ),
            score_text(row.first),
            score_text(row.second),
        ]
        for row, text in zip(best.itertuples(index=False), texts, strict=True)
    ]
    title = f"Strongest of the {len(together):,} tokens where both {first} and {second} are active"
    if len(together) == 1:
        title = f"The one token where both {first} and {second} are active"
    drawn = table(["token", "label", "where", f"{first}", f"{second}"], rows, title, numeric=3)
    return [html.Details([html.Summary(title), drawn], open=True, className="compare-shared")]


def promoted_panel(ctx: Context, experts: Sequence[Expert]) -> Element:
    """The tokens that any of the experts promotes most, with what every expert adds to their logits.

    Raises:
        WorkbenchError: there is no model, or another one than the run's.
    """
    model = ctx.model()
    from ...explain.logit_lens import expert_logits

    logits = [expert_logits(ctx.run, model, *expert) for expert in experts]
    known = [np.zeros(ctx.run.manifest["model"]["vocabulary"]) if one is None else one for one in logits]
    tops = [set() if one is None else set(np.argsort(-one, kind="stable")[:PROMOTED].tolist()) for one in logits]
    listed = sorted(set().union(*tops), key=lambda token: -max(one[token] for one in known))
    texts = ctx.run.token_text(np.array(listed, np.int64))
    rows = []
    for token, text in zip(listed, texts, strict=True):
        by = [f"{expert}" for expert, top in zip(experts, tops, strict=True) if token in top]
        cells = [
            html.Strong(f"{one[token]:+.3f}") if token in top else f"{one[token]:+.3f}"
            for one, top in zip(known, tops, strict=True)
        ]
        who = "all" if len(by) == len(experts) else f"{', '.join(by)} only" if len(by) == 1 else ", ".join(by)
        rows.append([html.Span(token_shown(text), className="chip"), *cells, who])
    common = len(set.intersection(*tops))
    note = [
        term("logit effect", "Logit effect"),
        f" on the {PROMOTED} tokens that each expert promotes most, in bold; ",
        f"{common} of them {'is' if common == 1 else 'are'} promoted most by all.",
    ]
    head = ["token", *map(str, experts), "promoted most by"]
    return panel("Promoted tokens", table(head, rows, "Tokens that the experts promote"), note=note)
