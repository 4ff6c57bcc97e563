"""Commands that measure what experts know."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .output import Json, RunArgument, out_console, print_json, print_table


class Embedding(StrEnum):
    """Views of a token's context that coherence is scored by."""

    residual = "residual"
    encoder = "encoder"


def analyze(
    run: RunArgument,
    ratio: Annotated[float, typer.Option(help="a specialist's rate for its label over that for the second")] = 2.0,
    permutations: Annotated[int, typer.Option(min=0, help="shuffles of the labels in the null; 0 for no tests")] = 200,
    embeddings: Annotated[
        list[Embedding] | None, typer.Option(help="also score coherence by this view; may be given again")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find each expert's labels, its monosemanticity, and the specialised experts of each label."""
    from .. import open_run
    from ..analysis import analyze_run
    from ..export import load_model

    opened, views = open_run(run), embeddings or []
    summary = analyze_run(
        opened,
        ratio=ratio,
        permutations=permutations,
        model=load_model(opened.model_path) if Embedding.residual in views else None,
        encoder=Embedding.encoder in views,
        progress=True,
    )
    if as_json:
        print_json(summary.to_json())
    else:
        found = summary.specialised
        rows = [[str(label), *(f"{n:,}" for n in found[label]), f"{found[label].sum():,}"] for label in found]
        rows.append(["experts active", *(f"{n:,}" for n in summary.seen.values()), f"{sum(summary.seen.values()):,}"])
        head = ["label", *(f"group {group}" for group in summary.seen), "all"]
        print_table(f"Experts specialised in each label (ratio {ratio:g})", head, rows)


def mask(
    run: RunArgument,
    label: Annotated[list[str] | None, typer.Option(help="a label whose experts are removed; all by default")] = None,
    ratio: Annotated[float, typer.Option(help="a specialist's rate for its label over that for the second")] = 2.0,
    as_json: Json = False,
) -> None:
    """Remove the experts of each label and measure the held-out loss of every label (paper, Table 3)."""
    from .. import open_run
    from ..analysis import bootstrap_mask, mask_labels
    from ..export import load_model

    opened = open_run(run)
    result = mask_labels(opened, load_model(opened.model_path), labels=label or None, ratio=ratio, progress=True)
    intervals = bootstrap_mask(result)
    if as_json:
        print_json(result.to_json() | {"intervals": intervals.to_json()})
        return
    removed = dict(zip(result.rows, result.removed, strict=True))
    rows = [
        [name, f"{removed[name]:,}", *(f"{value:+.3f}" for value in values)]
        for name, values in zip(result.rows, result.matrix, strict=True)
    ]
    print_table("Rise in held-out loss, nats a token", ["label removed", "experts", *result.labels], rows)
    for title, before, after in (
        ("Perplexity", result.baseline_perplexity, result.perplexity),
        ("Tokens ranked first", result.baseline_accuracy, result.accuracy),
    ):
        shown = "{:.1f}" if title == "Perplexity" else "{:.1%}"
        named = zip(["nothing", *result.rows], [before, *after], strict=True)
        print_table(title, ["label removed", *result.labels], [[n, *map(shown.format, line)] for n, line in named])
    known = result.to_json()
    for kind, name in (("control", "random"), ("equal", "equally active")):
        target, others = known[f"{kind}_target"], known[f"{kind}_others"]
        out_console.print(f"As many {name} experts: target {target:+.4f}, others {others:+.4f}")
    for name in ("delta_target", "delta_others", "selectivity"):
        low, high = getattr(intervals, name)
        shown = ".1f" if name == "selectivity" else "+.4f"
        value = getattr(result, name)
        out_console.print(
            f"{name.replace('_', ' ').capitalize()} {value:{shown}} ({intervals.level:.0%} of draws of documents: "
            f"{low:{shown}} to {high:{shown}})"
        )


def curve(
    run: RunArgument,
    order: Annotated[
        str,
        typer.Option(help="preference: rate for the label over the mean of the others; ratio: over the highest other"),
    ] = "preference",
    budget: Annotated[float, typer.Option(help="rise of the others' loss, nats, at which the curve is read")] = 0.02,
    as_json: Json = False,
) -> None:
    """Remove the experts of each label in order, and measure what that label loses against what the others lose."""
    from .. import open_run
    from ..analysis import bootstrap_curve, removal_curve
    from ..export import load_model

    opened = open_run(run)
    found = removal_curve(opened, load_model(opened.model_path), order=order, budget=budget, progress=True)
    intervals = bootstrap_curve(found)
    if as_json:
        print_json(found.to_json() | {"intervals": intervals.to_json()})
        return
    rows = []
    for at, mean in found.means.iterrows():
        spread = intervals.points.loc[at]
        rows.append(
            [
                *(f"{value}" for value in at),
                f"{mean['removed']:,.0f}",
                *(
                    f"{mean[name]:+.4f} ({spread[f'{name}_low']:+.4f} to {spread[f'{name}_high']:+.4f})"
                    for name in ("target", "others")
                ),
            ]
        )
    title = "Rise in held-out loss, nats a token, means over labels (95 % of draws of documents)"
    print_table(title, ["removed", "down to", "experts", "target", "others"], rows)
    read = found.at_budget()
    if read is None:
        out_console.print(f"The others' loss never rises by {budget:g}.")
        return
    low, high = intervals.at_budget
    out_console.print(
        f"Where the others' loss has risen by {budget:g}, the target's has by {read['chosen']['target']:.3f} "
        f"({low:.3f} to {high:.3f}); as many random experts: {read['random']['target']:.3f}, "
        f"equally active ones: {read['equal']['target']:.3f}"
    )


def overlap(
    run: RunArgument,
    coverage: Annotated[float, typer.Option(help="part of a label's mass that its core experts hold")] = 0.5,
    as_json: Json = False,
) -> None:
    """How far labels share experts: Jaccard index of their core experts, and the mass they share."""
    from .. import open_run
    from ..analysis import label_overlap

    found = label_overlap(open_run(run), coverage)
    if as_json:
        print_json(found.to_json())
        return
    for title, table in (("Jaccard index of core experts", found.jaccard), ("Mass on the same experts", found.shared)):
        rows = [[str(label), *(f"{value:.3f}" for value in line)] for label, line in table.iterrows()]
        print_table(title, ["label", *table.columns], rows)
    print_table("Core experts", list(found.core.index), [[f"{count:,}" for count in found.core]])
