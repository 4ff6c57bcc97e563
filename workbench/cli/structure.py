"""Commands about how experts relate to their keys, to each other and to all labels at once."""

from __future__ import annotations

from typing import Annotated

import typer

from ..analysis.structure.defaults import MAP_EXPERTS
from ..errors import shell_command
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
    result_json,
    resumable,
)


def structure(
    run: RunArgument,
    sample: Sample = None,
    name: Name = None,
    resume: Resume = False,
    ray: Ray = None,
    workers: Workers = 2,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Test whether row and column explain an expert (two-way ANOVA); find the experts most active in every label."""
    from .. import open_run
    from ..analysis import analyze_structure
    from ..checkpoint import load_model

    opened = open_run(run)
    with resumable(resume):
        result = analyze_structure(
            opened,
            model=load_model(opened.model_path, device=device, dtype=dtype),
            name=name,
            sample=sample,
            progress=True,
            resume=resume,
            ray=ray,
            workers=workers,
        )
    if as_json:
        print_json(result_json(result))
        return
    print_sample(result)
    tests = list(result.lattice.itertuples(index=False))
    print_table(
        "Variance of label preference explained by row and column (two-way ANOVA)",
        ["group", "model", "experts", "explained", "null mean", "p"],
        [
            [f"{row.group}", row.model, f"{row.experts:,}", f"{row.explained:.3f}", f"{row.null:.3f}", f"{row.p:.2g}"]
            for row in tests
        ],
    )
    print_table(
        "The part that both halves of the documents agree on, divided",
        ["group", "model", "correlation of halves", "row + column", "interaction", "p"],
        [
            [f"{row.group}", row.model, f"{row.reliable:.3f}", f"{row.keys:.3f}", f"{row.interaction:.3f}"]
            + [f"{row.interaction_p:.2g}"]
            for row in tests
        ],
    )
    print_table(
        f"Standing committee: experts among the {result.top:.0%} most active in every label",
        ["group", "experts", "expected by chance", "share of mass", "active in every label"],
        [
            [f"{row.group}", f"{row.experts:,}", f"{row.chance:.3g}", f"{row.mass:.1%}", f"{row.everywhere:,}"]
            for row in result.committee.itertuples(index=False)
        ],
    )
    if result.outputs is not None:
        print_table(
            "Mean cosine similarity of experts' outputs, by the key they share",
            ["group", "row", "column", "neither"],
            [
                [f"{row.group}", *(f"{value:+.3f}" for value in (row.row, row.column, row.other))]
                for row in result.outputs.itertuples(index=False)
            ],
        )


def map_command(
    run: RunArgument,
    experts: Annotated[int, typer.Option(help="experts per group, the most active ones")] = MAP_EXPERTS,
    encoder: Annotated[
        bool, typer.Option("--encoder", help="embed contexts with a sentence encoder (extra `encoder`), not the model")
    ] = False,
    name: Name = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Draw a map of the most active experts by the contexts of their top tokens (UMAP, extra `map`)."""
    from .. import open_run
    from ..analysis import map_experts
    from ..checkpoint import load_model

    opened = open_run(run)
    model = None if encoder else load_model(opened.model_path, device=device, dtype=dtype)
    result = map_experts(opened, model, experts=experts, name=name, progress=True)
    if as_json:
        print_json(result.to_json())
        return
    rows = [[f"{group}", f"{count:,}", f"{result.trust[group]:.3f}"] for group, count in result.experts.items()]
    print_table(f"Maps by {result.view}", ["group", "experts", "trustworthiness"], rows)
    out_console.print(
        f"The maps are in {opened.path}; `{shell_command('serve', opened.path)}` shows them on the page Structure."
    )


def coactive_command(
    run: RunArgument,
    expert: Annotated[str, typer.Argument(metavar="EXPERT", help="group:id or group:i,j")],
    n: Annotated[int, typer.Option("-n", min=1, help="experts to show")] = 10,
    sample: Sample = None,
    as_json: Json = False,
) -> None:
    """List the experts that co-activate most with an expert, counted over all tokens of the run, or in a sample."""
    from .. import open_run
    from ..analysis import coactive
    from ..store.address import read_expert

    opened = open_run(run)
    asked = read_expert(expert, opened.groups, opened.num_keys)
    if sample is not None:
        opened = opened.sample(sample, by_size=True)
    table, drawn = coactive(opened, *asked, n=n, progress=True), opened.drawn
    if as_json:
        about = {} if drawn is None else {"sample": drawn.to_json()}
        print_json({"group": asked.group, "expert": asked.id, "coactive": table.to_dict("records")} | about)
        return
    rows = [
        [f"{asked.group}:{row.expert}", row.shared, f"{row.together:,}", f"{row.tokens:,}", f"{row.jaccard:.3f}"]
        + ([] if drawn is None else [f"{row.jaccard_low:.3f} to {row.jaccard_high:.3f}"])
        + [f"{row.pmi:+.2f}"]
        for row in table.itertuples(index=False)
    ]
    if drawn is not None:
        out_console.print(f"Read: {drawn}.", markup=False, highlight=False)
    print_table(
        f"Experts that co-activate with {asked}, of {opened.tokens_total:,} tokens",
        ["expert", "same key", "tokens together" if drawn is None else "together in the sample", "tokens", "Jaccard"]
        + ([] if drawn is None else ["95 % CI"])
        + ["PMI, nats"],
        rows,
    )
