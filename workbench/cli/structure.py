"""Commands about how experts stand to one another."""

from __future__ import annotations

from typing import Annotated

import typer

from .output import Json, RunArgument, out_console, print_json, print_table


def structure(run: RunArgument, as_json: Json = False) -> None:
    """Test whether an expert is its row times its column, and find the experts that fire for every label."""
    from .. import open_run
    from ..analysis import analyze_structure
    from ..export import load_model

    opened = open_run(run)
    found = analyze_structure(opened, model=load_model(opened.model_path), progress=True)
    if as_json:
        print_json(found.to_json())
        return
    tests = list(found.lattice.itertuples(index=False))
    rows = [
        [f"{row.group}", row.model, f"{row.experts:,}", f"{row.explained:.3f}", f"{row.null:.3f}", f"{row.p:.2g}"]
        for row in tests
    ]
    head = ["group", "model", "experts", "explained", "by chance", "p"]
    print_table("Is an expert its row and its column? Variance of label preference they explain", head, rows)
    rows = [
        [f"{row.group}", row.model, f"{row.reliable:.3f}", f"{row.keys:.3f}", f"{row.interaction:.3f}"]
        + [f"{row.interaction_p:.2g}"]
        for row in tests
    ]
    head = ["group", "model", "correlation", "row + column", "expert's own", "p"]
    print_table("Of what both halves of the documents agree on", head, rows)
    rows = [
        [f"{row.group}", f"{row.experts:,}", f"{row.chance:.3g}", f"{row.mass:.1%}", f"{row.everywhere:,}"]
        for row in found.committee.itertuples(index=False)
    ]
    head = ["group", "experts", "by chance", "mass", "active in every label"]
    print_table(f"Among the {found.top:.0%} most active experts of every label", head, rows)
    if found.outputs is not None:
        rows = [
            [f"{row.group}", *(f"{value:+.3f}" for value in (row.row, row.column, row.other))]
            for row in found.outputs.itertuples(index=False)
        ]
        print_table("Mean cosine of experts' outputs that share a key", ["group", "row", "column", "neither"], rows)


def map_command(
    run: RunArgument,
    experts: Annotated[int, typer.Option(help="experts a group, the most active ones")] = 4000,
    encoder: Annotated[bool, typer.Option("--encoder", help="contexts as a sentence encoder sees them")] = False,
    as_json: Json = False,
) -> None:
    """Lay the most active experts out on a plane by the contexts of their best tokens (UMAP)."""
    from .. import open_run
    from ..analysis import map_experts
    from ..export import load_model

    opened = open_run(run)
    model = None if encoder else load_model(opened.model_path)
    found = map_experts(opened, model, experts=experts, progress=True)
    if as_json:
        print_json(found.to_json())
        return
    rows = [[f"{group}", f"{count:,}", f"{found.trust[group]:.3f}"] for group, count in found.experts.items()]
    print_table(f"Maps by {found.view}", ["group", "experts", "trustworthiness"], rows)
    out_console.print(f"They are in {opened.path}.")
