"""How well labels replicate on halves of the documents: the share beside a count, and a panel by activity."""

from __future__ import annotations

from collections.abc import Hashable
from math import isnan
from typing import Any

from ..analysis import Replication
from ..jobs import Request
from ..store.sample import Sample
from .activity_chart import activity_chart
from .context import Context
from .elements import Element, html
from .freeze import freeze
from .links import based
from .parts import panel, picture, table, term
from .running import run_first


def share_text(found: Replication | None, rule: str, group: int | None = None, label: str | None = None) -> str:
    """The share that replicates, as a page shows it; – where it is not known, or of no experts."""
    return percent(float("nan") if found is None else found.share(rule, group, label))


def percent(share: float) -> str:
    """A share as a page shows it; – for one that is not known."""
    return "–" if isnan(share) else f"{share:.0%}"


def replicates_panel(ctx: Context) -> Any:
    """Replication by activity, as a figure and in numbers; or what to run where it is not known."""
    found, summary = ctx.replication(), ctx.summary()
    if found is None or summary is None:
        purpose = "To see how many labels hold on other documents"
        return run_first(ctx, "No replication yet", Request("analyze"), purpose)
    return ctx.of_summary(("replicates", based("")), lambda: freeze(_panel(found, summary.drawn)))


def _panel(found: Replication, sample: Sample | None) -> Element:
    overall = found.overall()
    head: list[Any] = ["active tokens"]
    for rule in found.rules:
        head += [term(rule, f"{rule}, both halves"), term("replicates"), "by chance"]
    bins = found.by_activity()
    counts = bins.to_dict("index")
    rows = [
        [words, *_cells([counts.get((rule, low)) for rule in found.rules])]
        for low, words in bins.groupby("low")["tokens"].first().items()
    ]
    rows.append(["all", *_cells([overall.loc[rule].to_dict() for rule in found.rules])])
    described = "Share of experts with the same label on the other half of the documents, by their active tokens."
    documents = " and ".join(f"{row.units:,}" for row in found.halves.itertuples())
    shares = [f"{overall.loc[rule, 'share']:.0%} of the {rule}" for rule in found.rules if overall.loc[rule, "experts"]]
    read = "" if sample is None else f" Tests and replication are of a sample: {sample}."
    skipped = f" Not in either half: {', '.join(found.skipped)}." if found.skipped else ""
    return panel(
        "Replicates by activity",
        [
            picture(activity_chart(bins), described),
            table(head, rows, "Experts that have the same label on both halves, by activity"),
        ],
        note=[
            term("replicates", "Replicates"),
            f": of the experts called so on one half of the documents ({documents}), those with the same label on the "
            f"other: {', '.join(shares) or 'none'}. An expert needs {found.min_tokens:,} active tokens on a half, so "
            f"one active at fewer than {2 * found.min_tokens:,} in all cannot replicate.{skipped}{read}",
        ],
        kind="narrow",
    )


def _cells(counts: list[dict[Hashable, Any] | None]) -> list[str]:
    """Experts, share and chance of each rule, of a bin or of all."""
    cells = []
    for row in counts:
        if row is None or not row["experts"]:
            cells += ["0", "–", "–"]
            continue
        cells += [f"{int(row['experts']):,}", f"{row['share']:.0%}", f"{row['chance_share']:.0%}"]
    return cells


def plain_rule(ctx: Context) -> Element:
    """What the rule without a test is called: specialised, by the plain 2× rule."""
    summary = ctx.summary()
    ratio = "" if summary is None else f" {summary.settings.ratio:g}×"
    return html.Span([term("specialised"), f" (plain{ratio} rule)"])
