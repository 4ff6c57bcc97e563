"""Experts that correlate with a score of the documents, such as toxicity, and the effect of removing them."""

from __future__ import annotations

import math
from typing import Any

from ...analysis import Purge, read_purge, read_score_summary
from ...jobs import Request
from ..context import Context
from ..elements import html
from ..failures import message_or
from ..links import SCORES_PATH, Address, expert_link
from ..page import Page
from ..parts import Child, command, fact, facts, panel, table, term
from ..running import run_first


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page."""
    return [html.H1("Correlation with a document score"), *message_or(_correlations, ctx)]


def _correlations(ctx: Context) -> list[Any]:
    summary = read_score_summary(ctx.run)
    if summary is None:
        return [_nothing_yet(ctx)]
    figures = facts(
        [
            fact(term("document score"), summary.column),
            fact("documents", f"{summary.documents:,}", "with a score"),
            fact("unit", summary.unit, "the expert's value per document"),
            fact(term("false discovery rate"), f"{summary.fdr:g}", "over the experts of a group"),
        ]
    )
    groups = [
        [
            f"{row['group']}",
            f"{row['seen']:,}",
            f"{row['tested']:,}",
            *(f"{row[f'{kind}:{sign}']:,}" for kind in ("pearson", "spearman") for sign in ("positive", "negative")),
        ]
        for row in summary.groups.to_dict("records")
    ]
    head = ["group", "active", "tested", "Pearson +", "Pearson −", "Spearman +", "Spearman −"]
    strongest = [
        [
            html.A(f"{row.group}:{row.expert}", href=expert_link(row.group, row.expert)),
            f"{row.pearson:+.3f}",
            f"{row.spearman:+.3f}",
            f"{row.documents:,}",
        ]
        for row in summary.strongest.itertuples(index=False)
    ]
    return [
        figures,
        panel(
            "Significant experts",
            table(head, groups, "Number of experts that correlate significantly with the score, by group"),
            note="Tested against scores shuffled among the documents, at the false discovery rate above.",
        ),
        panel(
            "Strongest correlations (Pearson)",
            table(["expert", "Pearson", "Spearman", "documents"], strongest, "Experts with the strongest correlation")
            if strongest
            else html.P("No expert has a significant Pearson correlation.", className="note"),
            note="The experts with the highest and the lowest Pearson correlation, of those where it is significant.",
        ),
        *message_or(_purge_panel, ctx),
    ]


def _nothing_yet(ctx: Context) -> Any:
    """The command, or what the corpus lacks for it."""
    if not ctx.scored:
        text = "The documents of this corpus have no score. Add one with "
        add = command("corpus", "score", "CORPUS", "OUT", "--with", "profanity")
        return panel("No document scores", html.P([text, html.Code(add, className="command"), " and export again."]))
    return run_first(ctx, "No correlations yet", Request("scores"))


def _purge_panel(ctx: Context) -> Any:
    stored = read_purge(ctx.run)
    if stored is None:
        return run_first(ctx, "No purging yet", Request("purge"))
    measures: dict[str, Child] = {"loss": term("held-out loss")}
    if stored.scorer is not None:
        measures |= {"expected_max": "expected maximum", "probability": "probability", "mean": "mean score"}
    rows = [["none", "", "", *(f"{stored.plain[name]:.4f}" for name in measures)]]
    rows += [
        [row["kind"], f"{row['threshold']:g}", f"{row['removed']:,}", *(f"{row[name]:.4f}" for name in measures)]
        for row in stored.points.to_dict("records")
    ]
    scored = f" Continuations of {stored.prompts} prompts, scored by {stored.scorer}." if stored.scorer else ""
    return panel(
        "Purging",
        [
            table(["experts removed", "threshold", "number", *measures.values()], rows, "Effect of purging", numeric=1),
            *_purged_prompts(stored),
            *_other_text(stored),
        ],
        note="Experts whose Pearson correlation is above a threshold are removed; as controls, as many active "
        "experts drawn at random, and as many that are about as active (Monet paper, Table 4). Loss on "
        f"{stored.measured:,} documents that had no part in choosing them.{scored}",
    )


def _purged_prompts(stored: Purge) -> list[Any]:
    """Toxic prompts and others apart; nothing where there were no continuations."""
    if stored.by_toxicity.empty:
        return []
    rows = [
        [*_removal(row), row["prompts"], f"{row['count']:,}"]
        + [f"{row[n]:.3f} ({row[f'{n}:low']:.3f} to {row[f'{n}:high']:.3f})" for n in ("expected_max", "probability")]
        for row in stored.by_toxicity.to_dict("records")
    ]
    head = ["experts removed", "threshold", "prompts", "number", "expected maximum", "probability"]
    return [table(head, rows, "Toxic prompts and others apart, with 95 % intervals", numeric=3)]


def _other_text(stored: Purge) -> list[Any]:
    """Losses on documents without a score; nothing where there are none."""
    rows = [[*_removal(row), row["label"], f"{row['loss']:.4f}"] for row in stored.other_text.to_dict("records")]
    head = ["experts removed", "threshold", term("label"), "loss"]
    return [table(head, rows, "Loss on texts without a score", numeric=3)] if rows else []


def _removal(row: dict[Any, Any]) -> list[str]:
    """Kind and threshold of a removal, as cells; the model as it is has no threshold."""
    return [row["kind"], "" if math.isnan(row["threshold"]) else f"{row['threshold']:g}"]


PAGE = Page("scores", SCORES_PATH, "Correlation", layout, navigation="Correlation", useful=lambda ctx: ctx.scored)
