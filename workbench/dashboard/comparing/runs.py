"""Two runs of one corpus beside each other: how far their models' expectations are apart, and which experts changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...analysis import Divergence, read_divergence
from ...errors import UnsupportedError, kind_of
from ...jobs import Request
from ...report.comparison import joined, most_changed
from ...report.labels import natural_order
from ...report.numbers import number, score_text
from ...report.palette import RAISES
from ...store.address import Expert
from ..context import Context
from ..elements import Element, html
from ..links import compare_link, document_link, expert_link
from ..parts import Child, bar, fact, facts, label_mark, message, panel, table, tabs, term, token_shown
from ..running import run_first

if TYPE_CHECKING:
    from ...store import Run

TOKENS = 12  # of largest divergence, in context
BEFORE, AFTER = 24, 8  # tokens of context
EXPERTS = 25  # listed
ORDERS = {"mass": "Mass", "density": "Density", "label": "Changed labels"}


def divergence_answer(ctx: Context, other: Run, name: str) -> list[Any]:
    """How far the models' next-token distributions are apart, or the button that measures it.

    Raises:
        DamagedError: the stored result is damaged.
        UnsupportedError: it is of another version.
    """
    result = read_divergence(ctx.run, other)
    if result is None:
        return [run_first(ctx, "Not measured yet", Request("compare", {"other": name}))]
    every = result.labels.iloc[-1]
    told = facts(
        [
            fact(term("divergence", "mean divergence"), number(every["kl"], 4), "nats per token"),
            fact(term("95 % CI"), f"{every['low']:.4f} to {every['high']:.4f}", "bootstrap over documents"),
            fact("measured tokens", f"{int(every['tokens']):,}", f"of {result.documents:,} documents"),
        ]
    )
    note = f"Of {ctx.name} from {name}: 0 where both models expect the same next token with the same probabilities."
    return [
        panel("Divergence", [told, _by_label(ctx, result)], note=note),
        panel(
            "Tokens of largest divergence",
            html.Ol([_in_context(ctx, row) for row in result.largest(TOKENS).itertuples()], className="examples"),
            note="Marked: where the two models, having read what stands before it, expected the most different tokens.",
            kind="compare-kl",
        ),
    ]


def _by_label(ctx: Context, result: Divergence) -> Element:
    known = result.labels.set_index("label")
    most = float(known["kl"].max()) or 1.0
    rows = [
        [
            label_mark(label, ctx.colour(label), "all labels"),
            bar(known.loc[label, "kl"] / most, RAISES),
            f"{known.loc[label, 'kl']:.4f}",
            f"{known.loc[label, 'low']:.4f} to {known.loc[label, 'high']:.4f}",
            f"{int(known.loc[label, 'documents']):,}",
            f"{int(known.loc[label, 'tokens']):,}",
        ]
        for label in [*natural_order([name for name in known.index if name]), ""]
    ]
    head = ["label", None, "nats per token", term("95 % CI"), "documents", "tokens"]
    return table(head, rows, "Mean divergence of every label", numeric=2)


def _in_context(ctx: Context, row: Any) -> Element:
    """A token with the text around it, of its document only."""
    documents = ctx.run.documents
    first, tokens = int(documents["row"].iloc[row.doc]), int(documents["tokens"].iloc[row.doc])
    start, end = max(first, row.row - BEFORE), min(first + tokens, row.row + AFTER + 1)
    line: list[Child] = []
    for at, text in enumerate(ctx.run.row_text(slice(start, end)), start):
        shown = token_shown(text, at > start)
        line += [html.Wbr(), html.Mark(shown) if at == row.row else html.Span(shown, className="token")]
    where = [
        label_mark(row.label, ctx.colour(row.label)),
        html.A(
            f"document {row.doc}, token {row.row - first}",
            href=document_link(row.doc, token=row.row),
            className="place",
        ),
        html.Span(f"{row.kl:.2f} nats"),
    ]
    return html.Li([html.Div(where, className="example-head"), html.P(line, className="tokens")], className="example")


def experts_answer(ctx: Context, other: Run, name: str, order: str) -> Element | Any:
    """The experts that changed most from one run to the other; a message where they have no counterparts."""
    try:
        changes = changed_experts(ctx.run, other, order)
    except UnsupportedError as error:
        return message(kind_of(error).heading, str(error), "warning")
    links = [(title, compare_link(run=name, sort=key), key == order) for key, title in ORDERS.items()]
    body: list[Any] = [tabs("order", links, before="largest change in")]
    if changes.empty:
        body.append(html.P("No expert has another label.", className="note"))
    else:
        body.append(_changes_table(ctx, name, changes))
    note = [
        f"{ctx.name} → {name}. ",
        term("mass", "Mass"),
        " per 1,000 tokens, ",
        term("density"),
        " in per cent of the tokens, and label in each.",
    ]
    return panel("Experts that changed most", body, note=note)


def changed_experts(run: Run, other: Run, order: str, n: int = EXPERTS) -> pd.DataFrame:
    """The ``n`` experts that changed most: rows of ``joined``, with density, other_density and density_change.

    Args:
        run, other: opened runs of one corpus.
        order: ``mass`` or ``density``, by their difference; ``label`` for those of another label only, by mass.
        n: experts, at most.

    Raises:
        UnsupportedError: the runs differ in groups or keys, so experts have no counterparts.
    """
    pairs = joined(run, other)
    pairs["density"] = pairs["tokens"] / run.tokens_total
    pairs["other_density"] = pairs["other_tokens"] / other.tokens_total
    pairs["density_change"] = pairs["other_density"] - pairs["density"]
    if order == "label":
        pairs = pairs[pairs["specialised"] != pairs["other_specialised"]]
    return most_changed(pairs, n, "density_change" if order == "density" else "change")


def _changes_table(ctx: Context, name: str, changes: pd.DataFrame) -> Element:
    rows: list[Sequence[Child]] = []
    for row in changes.itertuples(index=False):
        expert = Expert(row.group, row.expert)
        rows.append(
            [
                html.A(f"{expert}", href=expert_link(*expert)),
                _label(ctx, row.specialised),
                _label(ctx, row.other_specialised),
                score_text(1000 * row.rate),
                score_text(1000 * row.other_rate),
                f"{1000 * row.change:+.3g}",
                f"{100 * row.density:.3g}",
                f"{100 * row.other_density:.3g}",
                f"{100 * row.density_change:+.2g}",
            ]
        )
    head = ["expert", "label", f"in {name}", "mass", f"in {name}", "change", "density, %", f"in {name}", "change"]
    return table(head, rows, "Experts that changed most", numeric=3)


def _label(ctx: Context, label: str) -> Element:
    return label_mark(label, ctx.colour(label), "–")
