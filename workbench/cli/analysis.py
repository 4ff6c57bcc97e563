"""Commands that measure how experts specialise, and what ablating them does."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..analysis.defaults import BUDGET, COVERAGE, ORDER, PERMUTATIONS, RATIO
from ..errors import BadInputError
from ..report.labels import natural_order
from .evaluate import BatchSize, Fewshot, Include, TaskLimit, TaskNames, print_accuracy_mask, task_names
from .output import (
    Device,
    Dtype,
    Json,
    Name,
    Ray,
    Resume,
    RunArgument,
    Sample,
    Workers,
    out_console,
    print_json,
    print_sample,
    print_table,
    print_transcoded,
    result_json,
    resumable,
)

if TYPE_CHECKING:
    from ..analysis import MaskResult, Replication, Summary

Ratio = Annotated[
    float, typer.Option(help="an expert is specialised if its first label's share is this many times its second's")
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="ablate the experts of this label only; may be repeated. Default: all"),
]
Confirmed = Annotated[
    bool, typer.Option("--confirmed", help="ablate only experts that `monet analyze` has confirmed, on all documents")
]


class Measure(StrEnum):
    """What the ablation of a label is measured by."""

    loss = "loss"
    accuracy = "accuracy"


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
    sample: Sample = None,
    name: Name = None,
    resume: Resume = False,
    ray: Ray = None,
    workers: Workers = 2,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Score every expert (label selectivity, class selectivity and others) and find those specialised in a label."""
    from .. import open_run
    from ..analysis import analyze_run
    from ..checkpoint import load_model

    opened, views = open_run(run), embeddings or []
    with resumable(resume):
        summary = analyze_run(
            opened,
            ratio=ratio,
            permutations=permutations,
            model=load_model(opened.model_path, device=device, dtype=dtype) if Embedding.residual in views else None,
            encoder=Embedding.encoder in views,
            name=name,
            sample=sample,
            progress=True,
            resume=resume,
            ray=ray,
            workers=workers,
        )
    if as_json:
        print_json(result_json(summary))
    else:
        _print_summary(summary)
        print_transcoded(opened)


def _print_summary(summary: Summary) -> None:
    """A table of each group's counts by label, and one over all groups: confirmed experts first."""
    labels, replication = natural_order(summary.specialised), summary.replication
    counts = {"confirmed": summary.confirmed, "specialised": summary.specialised}

    def cells(groups: list[int], label: str | None) -> list[str]:
        """Count and replication of the confirmed, then of the specialised."""
        found = []
        for of, table in counts.items():
            value = float("nan")
            if replication is not None and table is not None:
                value = replication.share(of, groups[0] if len(groups) == 1 else None, label)
            chosen = None if table is None else table.loc[groups, labels if label is None else [label]]
            found.append("not tested" if chosen is None else f"{chosen.to_numpy().sum():,}")
            found.append("–" if isnan(value) else f"{value:.0%}")
        return found

    head = ["label", "confirmed", "replicates", f"specialised (plain {summary.settings.ratio:g}x rule)", "replicates"]
    every = list(summary.seen)
    for title, groups in {**{f"Group {group}": [group] for group in every}, "All groups": every}.items():
        seen = sum(summary.seen[group] for group in groups)
        rows = [[label or "all", *cells(groups, label)] for label in [*labels, None]]
        print_table(f"{title}: {seen:,} active experts", head, rows)
    if replication is not None:
        _print_replication(replication)
    print_sample(summary)
    if summary.precision is not None:
        out_console.print(
            f"Labels are of all documents; tests and replication are of those read. Precision: {summary.precision}.",
            markup=False,
            highlight=False,
        )


def _print_replication(replication: Replication) -> None:
    """Replication by activity, and what the column of that name means."""
    bins, rules = replication.by_activity(), replication.rules
    shares = bins["share"].unstack("rule").reindex(columns=rules)
    named = bins.groupby("low")["tokens"].first()
    rows = [
        [named[low], *("–" if isnan(share) else f"{share:.0%}" for share in line)] for low, line in shares.iterrows()
    ]
    print_table("Replicates, by the active tokens of an expert", ["active tokens", *rules], rows)
    chance = [f"{row.chance_share:.0%} ({of})" for of, row in replication.overall().iterrows() if row.experts]
    out_console.print(
        "Replicates: of the experts called so on one half of the documents, the share with the same label on the other "
        f"half, at {replication.min_tokens} active tokens or more on a half; by chance: {', '.join(chance) or '–'}.",
        highlight=False,
    )


def mask(
    run: RunArgument,
    label: Labels = None,
    ratio: Ratio = RATIO,
    confirmed: Confirmed = False,
    measure: Annotated[
        Measure, typer.Option(help="loss: of held-out documents, by label; accuracy: on --tasks (extra `eval`)")
    ] = Measure.loss,
    tasks: TaskNames = None,
    limit: TaskLimit = None,
    include: Include = None,
    num_fewshot: Fewshot = None,
    batch_size: BatchSize = 1,
    sample: Sample = None,
    name: Name = None,
    resume: Resume = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Zero-ablate each label's specialised experts and measure the held-out loss of every label (paper, Table 3).

    With --measure accuracy, measure the accuracy on --tasks instead (paper, Table 11: --tasks mmlu_domains).
    """
    from .. import open_run
    from ..analysis import bootstrap_mask, mask_labels
    from ..analysis.run_model import run_tokenizer
    from ..checkpoint import load_model

    opened = open_run(run)
    if measure is Measure.accuracy:
        from ..evaluation import mask_accuracy

        if sample is not None or resume:
            raise BadInputError("--sample and --resume belong to --measure loss.")
        names = task_names(tasks)
        measured = mask_accuracy(
            opened,
            load_model(opened.model_path, device=device, dtype=dtype),
            run_tokenizer(opened),
            names,
            labels=label or None,
            ratio=ratio,
            confirmed=confirmed,
            limit=limit,
            include=include,
            num_fewshot=num_fewshot,
            batch_size=batch_size,
            name=name,
            progress=True,
        )
        if as_json:
            print_json(measured.to_json())
        else:
            _tell_skipped(measured.skipped)
            print_accuracy_mask(measured)
        return
    if tasks or limit is not None or include is not None or num_fewshot is not None:
        raise BadInputError("--tasks, --limit, --include and --num-fewshot belong to --measure accuracy.")
    model = load_model(opened.model_path, device=device, dtype=dtype)
    with _resumable(resume, label, name):
        result = mask_labels(
            opened,
            model,
            labels=label or None,
            ratio=ratio,
            confirmed=confirmed,
            name=name,
            sample=sample,
            progress=True,
            resume=resume,
        )
    intervals = bootstrap_mask(result)
    if as_json:
        print_json(result_json(result) | {"intervals": intervals.to_json()})
        return
    print_sample(result)
    _tell_skipped(result.skipped)
    removed = dict(zip(result.rows, result.removed, strict=True))
    rows = [
        [name, f"{removed[name]:,}", *(f"{value:+.3f}" for value in line)]
        for name, line in _by_label(result, result.rows, result.matrix)
    ]
    labels = natural_order(result.labels)
    print_table("Rise in held-out loss, nats per token", ["label ablated", "experts", *labels], rows)
    for title, before, after in (
        ("Perplexity", result.baseline_perplexity, result.perplexity),
        ("Accuracy (fraction of tokens ranked first)", result.baseline_accuracy, result.accuracy),
    ):
        shown = "{:.1f}" if title == "Perplexity" else "{:.1%}"
        named = [*_by_label(result, ["none"], [before]), *_by_label(result, result.rows, after)]
        print_table(title, ["label ablated", *labels], [[n, *map(shown.format, line)] for n, line in named])
    for title, rise in (("Random control", result.control), ("Activity-matched control", result.activity_matched)):
        out_console.print(f"{title}: target {rise[result.own].mean():+.4f}, others {rise[~result.own].mean():+.4f}")
    for title, value, (low, high), form in (
        ("Delta target", result.delta_target, intervals.delta_target, "+.4f"),
        ("Delta others", result.delta_others, intervals.delta_others, "+.4f"),
        ("Selectivity", result.selectivity, intervals.selectivity, ".1f"),
    ):
        interval = f"{intervals.level:.0%} CI {low:{form}} to {high:{form}}"
        out_console.print(f"{title} {value:{form}} ({interval}, bootstrap over documents)")
    print_transcoded(opened)


def _resumable(resume: bool, label: list[str] | None, name: str | None) -> AbstractContextManager[None]:
    """As ``resumable``, where the result is stored and with it what an interruption leaves."""
    return nullcontext() if label and name is None else resumable(resume)


def _by_label(result: MaskResult, rows: list[str], values: Any) -> list[tuple[str, list[float]]]:
    """Lines of a matrix, named by ``rows``, whose columns are the result's labels; both in natural order."""
    columns = [result.labels.index(label) for label in natural_order(result.labels)]
    lines = dict(zip(rows, values, strict=True))
    return [(name, [float(lines[name][at]) for at in columns]) for name in natural_order(rows)]


def _tell_skipped(labels: list[str]) -> None:
    """Name the labels that could not be split into documents that choose and documents that measure."""
    if labels:
        out_console.print(
            f"Skipped, with fewer than two documents to choose experts on one and measure on the other: "
            f"{', '.join(labels)}",
            markup=False,
            highlight=False,
        )


def curve(
    run: RunArgument,
    label: Labels = None,
    confirmed: Confirmed = False,
    order: Annotated[
        str,
        typer.Option(help="preference: rate for the label over the mean of the others; ratio: over the highest other"),
    ] = ORDER,
    budget: Annotated[
        float, typer.Option(help="rise in the other labels' loss, nats per token, at which the curve is read")
    ] = BUDGET,
    sample: Sample = None,
    name: Name = None,
    resume: Resume = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Measure the forget/retain trade-off: ablate each label's experts in order; compare its loss with the others'."""
    from .. import open_run
    from ..analysis import bootstrap_curve, removal_curve
    from ..analysis.removal.curve_result import ACTIVITY_MATCHED, CHOSEN, CONTROLS, RANDOM
    from ..checkpoint import load_model

    opened = open_run(run)
    model = load_model(opened.model_path, device=device, dtype=dtype)
    with _resumable(resume, label, name):
        result = removal_curve(
            opened,
            model,
            labels=label or None,
            order=order,
            budget=budget,
            confirmed=confirmed,
            name=name,
            sample=sample,
            progress=True,
            resume=resume,
        )
    intervals = bootstrap_curve(result)
    if as_json:
        print_json(result_json(result) | {"intervals": intervals.to_json()})
        return
    print_sample(result)
    _tell_skipped(result.skipped)
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
        order = natural_order(table.columns)
        table = table.loc[order, order]
        rows = [
            [label, *(f"{value:.3f}" for value in line)] for label, line in zip(order, table.to_numpy(), strict=True)
        ]
        print_table(title, ["label", *order], rows)
    core = result.core[natural_order(result.core.index)]
    print_table("Core experts", list(core.index), [[f"{count:,}" for count in core]])
