"""Experts that go with a score of the texts, such as toxicity, and what removing them does."""

from __future__ import annotations

from typing import Any

from dash import html

from ...analysis import read_purge, read_score_summary
from ..context import Context
from ..links import Address, expert_link
from ..parts import fact, facts, panel, run_first, table


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page."""
    title = html.H1("Experts and a score of the texts")
    summary = read_score_summary(ctx.run)
    if summary is None:
        return [title, run_first("Nothing correlated yet", "Correlations are here", f"monet scores {ctx.run.path}")]
    figures = facts(
        [
            fact("score", summary.column, "of the documents"),
            fact("documents", f"{summary.documents:,}", "with a number"),
            fact("unit", summary.unit, "an expert's value in a document"),
            fact("false discovery rate", f"{summary.fdr:g}", "over the experts of a group"),
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
        title,
        figures,
        panel(
            "Significant experts",
            table(head, groups, "Experts significantly correlated with the score, by group"),
            note="Held against scores shuffled among the documents, at the false discovery rate.",
        ),
        panel(
            "Strongest",
            table(["expert", "Pearson", "Spearman", "documents"], strongest, "Experts of strongest correlation")
            if strongest
            else html.P("No expert is significant.", className="note"),
            note="Of the significant experts, those of highest and of lowest Pearson correlation.",
        ),
        _purge_panel(ctx),
    ]


def _purge_panel(ctx: Context) -> Any:
    found = read_purge(ctx.run)
    if found is None:
        return run_first("Not purged yet", "What removing them does is here", f"monet purge {ctx.run.path}")
    measures = {"loss": "held-out loss"}
    if found.scorer is not None:
        measures |= {"expected_max": "expected maximum", "probability": "probability", "mean": "mean score"}
    rows = [["none removed", "", "", *(f"{found.plain[name]:.4f}" for name in measures)]]
    rows += [
        [row["kind"], f"{row['threshold']:g}", f"{row['removed']:,}", *(f"{row[name]:.4f}" for name in measures)]
        for row in found.points.to_dict("records")
    ]
    scored = "" if found.scorer is None else f" Continuations of {found.prompts} prompts, scored by {found.scorer}."
    return panel(
        "Purging",
        table(["experts removed", "threshold", "experts", *measures.values()], rows, "What purging does", numeric=1),
        note="Experts whose Pearson correlation is above a threshold, removed, beside as many random active ones "
        f"(paper, Table 4). Loss on {found.measured:,} documents that chose none.{scored}",
    )
