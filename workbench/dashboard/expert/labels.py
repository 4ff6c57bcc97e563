"""What an expert is for, in numbers: its use for each label, and how pure it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from ...analysis import SCORES
from ...report.expert import label_use
from ...report.labels import shortened
from ...report.numbers import number, score_text
from ...store.token_text import visible_label
from ..context import Context
from ..elements import Element, html
from ..parts import bar, label_mark, table, term

LISTED_LABELS = 20  # before the rest are folded away


class _Use(NamedTuple):
    label: str
    share: float
    mass: float
    tokens: int


def label_table(ctx: Context, row: pd.Series) -> Element:
    """The labels by share; of many, the smallest are folded away, with their shares alone."""
    used = label_use(ctx.run, row)
    uses = [_Use(*one) for one in zip(*(used[name].tolist() for name in _Use._fields), strict=True)]
    rows = [
        [
            label_mark(use.label, ctx.colour(use.label)),
            bar(use.share, ctx.colour(use.label)),
            f"{100 * use.share:.1f} %",
            score_text(use.mass),
            f"{use.tokens:,}",
        ]
        for use in uses[:LISTED_LABELS]
    ]
    head = ["label", None, term("share"), term("mass"), "active tokens"]
    drawn = table(head, rows, "How the expert is used for each label", numeric=2)
    if not (rest := uses[LISTED_LABELS:]):
        return drawn
    shares = [f"{shortened(visible_label(use.label))} {100 * use.share:.1f} %" for use in rest if use.tokens]
    silent = sum(not use.tokens for use in rest)
    never = [f"never active on {silent:,} labels"] if silent else []
    total = f"The other {len(rest):,} labels: {100 * sum(use.share for use in rest):.1f} %"
    listed = [part for share in [*shares, *never] for part in (html.Bdi(share), "; ")][:-1]
    return html.Div([drawn, html.Details([html.Summary(total), *listed])])


def purity(row: dict[str, Any]) -> Element:
    """Every monosemanticity score of a ``Context.row``, with the false discovery rate at which it is significant."""
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
