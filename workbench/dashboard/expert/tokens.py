"""An expert's tokens in context: those of highest score, and a few of each range of scores."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from ...report.expert import in_context, score_ranges
from ...report.numbers import score_text
from ...store.address import Expert
from ..context import Context
from ..elements import html
from ..heatmap import example_line
from ..links import TRY, Address, tokens_link
from ..parts import IN_PLACE, keeping

EXAMPLES = 16


def kept_examples(ctx: Context) -> int:
    """Examples that the run keeps per expert."""
    return int(ctx.run.manifest["settings"]["examples"])


def strongest(ctx: Context, expert: Expert, address: Address, examples: pd.DataFrame) -> list[Any]:
    """The tokens of highest score, those of ``examples``; a note says where the run holds fewer than the expert has, or
    many tie."""
    asked = address.query.get("n", "")
    kept = kept_examples(ctx)
    count = min(int(asked), kept) if re.fullmatch(r"[1-9]\d{0,3}", asked) else EXAMPLES
    shown = in_context(ctx.run, expert, examples.head(count))
    row = ctx.row(*expert)
    assert row is not None
    top, active = max(example.score for example in shown), int(row["tokens"])
    more: Any = None
    if len(shown) == count < kept:
        link = tokens_link(*expert, address.query, n=kept)
        more = html.A(f"Show up to {kept}", href=link, className=IN_PLACE, **keeping(TRY))
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
        html.Ol([example_line(ctx, expert, example) for example in shown], className="examples"),
        more,
    ]


def by_range(ctx: Context, expert: Expert) -> list[Any]:
    """A few tokens from each range of the expert's scores, highest range first."""
    parts: list[Any] = []
    for one in score_ranges(ctx.run, expert):
        low, high, count = one["low"], one["high"], one["count"]
        lines = [example_line(ctx, expert, example) for example in one["examples"]]
        parts += [
            html.H3(f"{score_text(low)} to {score_text(high)}: {count:,} {'token' if count == 1 else 'tokens'}"),
            html.Ol(lines, className="examples"),
        ]
    return parts
