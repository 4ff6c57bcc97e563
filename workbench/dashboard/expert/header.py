"""The head of an expert's page: its neighbours by mass, its numbers, and whether label and strongest tokens agree."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...analysis import READABLE_SCORE
from ...report.labels import shortened
from ...report.numbers import number, score_text
from ...store.address import Expert
from ...store.token_text import visible_label
from ..comparing.forms import compare_with
from ..context import Context
from ..elements import Element, html
from ..links import expert_file, expert_link
from ..parts import LONGEST_NAME, aria, fact, facts, files, label_mark, term


def neighbours(ctx: Context, expert: Expert) -> tuple[int | None, Expert | None, Expert | None]:
    """Rank by mass (from 1) of an expert, and the experts one rank above and below it."""
    rank = ctx.rank(*expert)
    if rank is None:
        return None, None, None
    order = ctx.ranking(expert.group)
    above = Expert(expert.group, int(order[rank - 1])) if rank else None
    below = Expert(expert.group, int(order[rank + 1])) if rank + 1 < len(order) else None
    return rank + 1, above, below


def _step(text: str, expert: Expert | None) -> Any:
    if expert is None:
        return html.Span(text, className="button disabled", **aria(disabled="true"))
    return html.A(text, href=expert_link(*expert), className="button", title=f"expert {expert}")


def navigation(expert: Expert, above: Expert | None, below: Expert | None) -> Element:
    """Links to the experts of next larger and smaller mass and to the report, and a field for one to compare with."""
    steps = [_step("← more mass", above), _step("less mass →", below)]
    report = files("Report", lambda kind: expert_file(*expert, kind))
    return html.Nav(
        [*steps, report, compare_with(expert)],
        className="expert-nav",
        **aria(label="neighbours by mass, report and comparison"),
    )


def stats(ctx: Context, expert: Expert, row: dict[str, Any], rank: int, active: int) -> Element:
    """The expert's numbers, of its ``Context.row``; ``rank`` of ``active`` experts by mass."""
    label = row["specialised"]
    confirmed = term("confirmed") if row["confirmed"] else [html.Span("not "), term("confirmed")] if label else None
    known = [
        fact(term("specialised", "label"), label_mark(label, ctx.colour(label), ctx.kind(*expert)), confirmed),
        fact(term("ratio"), number(row["ratio"], 2), "largest label share over second"),
        fact(term("label selectivity"), number(row["monosemanticity"], 3)),
    ]
    share = 100 * row["tokens"] / ctx.run.tokens_total
    return facts(
        [
            *(known if ctx.analysed else ()),
            fact("rank by mass", f"{rank:,}", f"of {active:,} active experts"),
            fact(term("density", "active tokens"), f"{int(row['tokens']):,}", f"{share:.2g} % of the corpus"),
            fact(term("mass"), score_text(row["mass"]), "sum of scores"),
            fact(term("mean score"), score_text(row["mean"]), "where active"),
            fact(
                term("routing score", "highest score"),
                score_text(row["max"]),
                "weak" if row["max"] < READABLE_SCORE else None,
            ),
        ]
    )


def label_against_examples(
    ctx: Context, expert: Expert, label: str, ratio: float, examples: pd.DataFrame
) -> Element | None:
    """A sentence where under half of the expert's strongest tokens are of its own label; None where they agree.

    Args:
        ctx: the run.
        expert: the expert.
        label: what it is specialised in; "" for a generalist, with which nothing disagrees.
        ratio: its share for the label over the next.
        examples: its tokens of highest score, as ``Run.examples`` has them.
    """
    if not label:
        return None
    strongest = examples["label"].value_counts()
    own, total = int(strongest.get(label, 0)), int(strongest.sum())
    if 2 * own >= total:
        return None
    others = strongest.drop(label, errors="ignore")
    other, count = str(others.index[0]), int(others.iloc[0])
    row = ctx.run.expert(*expert).to_dict()
    own_tokens, other_tokens = (int(row[f"tokens:{name}"]) for name in (label, other))
    own_mean, other_mean = (
        float(row[f"mass:{name}"]) / max(tokens, 1) for name, tokens in ((label, own_tokens), (other, other_tokens))
    )
    why = []
    if other_mean > own_mean:
        why.append(f"it scores higher (mean {score_text(other_mean)} against {score_text(own_mean)})")
    if other_tokens > own_tokens:
        why.append(f"it is active at more tokens ({other_tokens:,} against {own_tokens:,})")
    shown, shown_other = (shortened(visible_label(name), LONGEST_NAME) for name in (label, other))
    because = f", where {' and '.join(why)}" if why else ""
    leads = f"only {own} of the {total} strongest tokens are {shown} too, and " if own > count else ""
    return html.P(
        f"{shown} by rate ({number(ratio, 1)}× the next label); {leads}{count} of the {total} strongest tokens are "
        f"{shown_other}{because}.",
        className="note label-note",
    )
