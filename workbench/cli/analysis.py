"""Commands that measure how experts specialise, and what ablating them does."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ..analysis.defaults import BUDGET, COVERAGE, ORDER, PERMUTATIONS, RATIO
from .output import Json, Name, RunArgument, out_console, print_json, print_table

Ratio = Annotated[
    float, typer.Option(help="an expert is specialised if its first label's share is this many times its second's")
]


class Embedding(StrEnum):
    """Views of a token's context that coherence is scored by."""

    residual = "residual"
    encoder = "encoder"


def analyze(
    run: RunArgument,
    ratio: Ratio = RATIO,
    permutations: Annotated[
        int, typer.Option(min=0, help="permutations of the labels in the significance test; 0 for no tests")
    ] = PERMUTATIONS,
    embeddings: Annotated[
        list[Embedding] | None,
        typer.Option(help="also score the coherence of each expert's contexts in this view; may be repeated"),
    ] = None,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Score every expert (monosemanticity, label selectivity and others) and find those specialised in a label."""
    from .. import open_run
    from ..analysis import analyze_run
    from ..checkpoint import load_model

    opened, views = open_run(run), embeddings or []
    summary = analyze_run(
        opened,
        ratio=ratio,
        permutations=permutations,
        model=load_model(opened.model_path) if Embedding.residual in views else None,
        encoder=Embedding.encoder in views,
        name=name,
        progress=True,
    )
    if as_json:
        print_json(summary.to_json())
    else:
        counts = summary.specialised
        rows = [[str(label), *(f"{n:,}" for n in counts[label]), f"{counts[label].sum():,}"] for label in counts]
        rows.append(["experts active", *(f"{n:,}" for n in summary.seen.values()), f"{sum(summary.seen.values()):,}"])
        head = ["label", *(f"group {group}" for group in summary.seen), "all"]
        print_table(f"Experts specialised in each label (ratio {ratio:g})", head, rows)


def mask(
    run: RunArgument,
    label: Annotated[
        list[str] | None, typer.Option(help="ablate the experts of this label only; may be repeated. Default: all")
    ] = None,
    ratio: Ratio = RATIO,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Zero-ablate each label's specialised experts and measure the held-out loss of every label (paper, Table 3)."""
    from .. import open_run
    from ..analysis import bootstrap_mask, mask_labels
    from ..checkpoint import load_model

    opened = open_run(run)
    model = load_model(opened.model_path)
    result = mask_labels(opened, model, labels=label or None, ratio=ratio, name=name, progress=True)
    intervals = bootstrap_mask(result)
    if as_json:
        print_json(result.to_json() | {"intervals": intervals.to_json()})
        return
    removed = dict(zip(result.rows, result.removed, strict=True))
    rows = [
        [name, f"{removed[name]:,}", *(f"{value:+.3f}" for value in values)]
        for name, values in zip(result.rows, result.matrix, strict=True)
    ]
    print_table("Rise in held-out loss, nats per token", ["label ablated", "experts", *result.labels], rows)
    for title, before, after in (
        ("Perplexity", result.baseline_perplexity, result.perplexity),
        ("Accuracy (fraction of tokens ranked first)", result.baseline_accuracy, result.accuracy),
    ):
        shown = "{:.1f}" if title == "Perplexity" else "{:.1%}"
        named = zip(["none", *result.rows], [before, *after], strict=True)
        print_table(title, ["label ablated", *result.labels], [[n, *map(shown.format, line)] for n, line in named])
    for title, rise in (("Random control", result.control), ("Activity-matched control", result.activity_matched)):
        out_console.print(f"{title}: target {rise[result.own].mean():+.4f}, others {rise[~result.own].mean():+.4f}")
    for title, value, (low, high), form in (
        ("Delta target", result.delta_target, intervals.delta_target, "+.4f"),
        ("Delta others", result.delta_others, intervals.delta_others, "+.4f"),
        ("Selectivity", result.selectivity, intervals.selectivity, ".1f"),
    ):
        interval = f"{intervals.level:.0%} CI {low:{form}} to {high:{form}}"
        out_console.print(f"{title} {value:{form}} ({interval}, bootstrap over documents)")


def curve(
    run: RunArgument,
    order: Annotated[
        str,
        typer.Option(help="preference: rate for the label over the mean of the others; ratio: over the highest other"),
    ] = ORDER,
    budget: Annotated[
        float, typer.Option(help="rise in the other labels' loss, nats per token, at which the curve is read")
    ] = BUDGET,
    name: Name = None,
    as_json: Json = False,
) -> None:
    """Measure the forget/retain trade-off: ablate each label's experts in order; compare its loss with the others'."""
    from .. import open_run
    from ..analysis import bootstrap_curve, removal_curve
    from ..analysis.removal.curve_result import ACTIVITY_MATCHED, CHOSEN, CONTROLS, RANDOM
    from ..checkpoint import load_model

    opened = open_run(run)
    result = removal_curve(opened, load_model(opened.model_path), order=order, budget=budget, name=name, progress=True)
    intervals = bootstrap_curve(result)
    if as_json:
        print_json(result.to_json() | {"intervals": intervals.to_json()})
        return
    rows = []
    for (kind, threshold), mean in result.means.iterrows():
        spread = intervals.points.loc[(kind, threshold)]
        rows.append(
            [
                CONTROLS.get(kind, kind),
                f"{threshold:g}",
                f"{mean['removed']:,.0f}",
                *(
                    f"{mean[name]:+.4f} ({spread[f'{name}_low']:+.4f} to {spread[f'{name}_high']:+.4f})"
                    for name in ("target", "others")
                ),
            ]
        )
    title = (
        f"Rise in held-out loss, nats per token, mean over labels ({intervals.level:.0%} CI, bootstrap over documents)"
    )
    print_table(title, ["ablated", "threshold", "experts", "target", "others"], rows)
    reading = result.at_budget()
    if reading is None:
        out_console.print(f"The others' loss never rises by {budget:g}.")
        return
    low, high = intervals.at_budget
    out_console.print(
        f"Where the others' loss has risen by {budget:g}, the target's has risen by {reading[CHOSEN]['target']:.3f} "
        f"({low:.3f} to {high:.3f}); random control: {reading[RANDOM]['target']:.3f}, "
        f"activity-matched control: {reading[ACTIVITY_MATCHED]['target']:.3f}"
    )


def overlap(
    run: RunArgument,
    coverage: Annotated[float, typer.Option(help="part of a label's mass that its core experts hold")] = COVERAGE,
    as_json: Json = False,
) -> None:
    """Show how far labels share experts: Jaccard index of their core experts, and mass on the same experts."""
    from .. import open_run
    from ..analysis import label_overlap

    result = label_overlap(open_run(run), coverage)
    if as_json:
        print_json(result.to_json())
        return
    tables = (("Jaccard index of core experts", result.jaccard), ("Mass on the same experts", result.shared))
    for title, table in tables:
        rows = [[str(label), *(f"{value:.3f}" for value in line)] for label, line in table.iterrows()]
        print_table(title, ["label", *table.columns], rows)
    print_table("Core experts", list(result.core.index), [[f"{count:,}" for count in result.core]])
