"""The command `monet trace`: the circuit behind a token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..analysis.defaults import EDGE_THRESHOLD, NODE_THRESHOLD, NODES
from .output import Chat, Device, Dtype, Json, ModelArgument, out_console, print_json, print_table

if TYPE_CHECKING:
    from ..analysis.circuits.circuit_result import Circuit
    from ..analysis.circuits.node_names import NodeTexts


def trace(
    model: ModelArgument,
    text: Annotated[str, typer.Option(help="the prompt")],
    target: Annotated[str | None, typer.Option(help="the token explained; by default the likeliest")] = None,
    minus: Annotated[str | None, typer.Option(help="a token whose logit is subtracted from the target's")] = None,
    position: Annotated[
        int, typer.Option(help="index of the token behind which the target stands; -1 for the last one")
    ] = -1,
    nodes: Annotated[int, typer.Option(min=1, help="experts that become nodes of their own")] = NODES,
    node_threshold: Annotated[
        float,
        typer.Option(min=0, max=1, help="influence that the nodes kept hold, of all; 1 keeps all that have any"),
    ] = NODE_THRESHOLD,
    edge_threshold: Annotated[
        float,
        typer.Option(min=0, max=1, help="influence that the edges kept hold, of all; 1 keeps all that have any"),
    ] = EDGE_THRESHOLD,
    edit: Annotated[Path | None, typer.Option(help="file of an ExpertEdit that holds for the text")] = None,
    run: Annotated[str | None, typer.Option(help="a run of the model, for labels and explanations of experts")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write, for `report --circuit` and other tools")] = None,
    top: Annotated[int, typer.Option(min=1, help="number of nodes shown")] = 20,
    memory: Annotated[
        float, typer.Option(min=0.1, help="gigabytes that tracing may take, the model not counted")
    ] = 4.0,
    chat: Chat = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Trace the circuit behind a token: which experts made it, at which positions, and through which others.

    The circuit is pruned as the thresholds say. What is written is an attribution graph that Neuronpedia and
    circuit-tracer show.
    """
    from .. import open_run
    from ..analysis.circuits.graph_json import slug_of
    from ..analysis.circuits.node_names import NodeTexts
    from ..analysis.circuits.text import trace_text
    from ..report.circuit_texts import circuit_texts
    from ..report.edit import load_edit
    from ..report.files import save

    slug = slug_of("circuit" if out is None else out.stem)
    opened = None if run is None else open_run(run)
    loaded = None if edit is None else load_edit(edit)
    traced = trace_text(
        model,
        text,
        target,
        minus=minus,
        nodes=nodes,
        position=position,
        edit=loaded,
        run=opened,
        max_memory=memory * 1e9,
        chat=chat,
        device=device,
        dtype=dtype,
        progress=True,
    )
    circuit = traced.circuit.prune(node_threshold, edge_threshold)
    texts = NodeTexts(tokens=traced.tokens) if opened is None else circuit_texts(opened, circuit, traced.tokens)
    content = circuit.to_json(
        slug=slug,
        model=Path(model).name or model,
        texts=texts,
        pruning=(node_threshold, edge_threshold),
        origin=traced.origin,
    )
    if out is not None:
        save((json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n").encode(), out)
    if as_json:
        print_json(content)
        return
    _print(traced.circuit, circuit, texts, top)
    if out is not None:
        out_console.print(f"Wrote {len(circuit.nodes):,} nodes and {len(circuit.edges):,} edges to {out}.")


def _print(whole: Circuit, circuit: Circuit, texts: NodeTexts, top: int) -> None:
    """Tokens, target, shares kept, and the nodes of most influence."""
    from ..analysis.circuits.node_names import node_text, target_text, token_text
    from ..store.token_text import visible

    tokens = [f"{position} {visible(token_text(circuit, position))}" for position in range(len(circuit.ids))]
    out_console.print("Tokens: " + " | ".join(tokens), markup=False, highlight=False)
    for goal in circuit.targets:
        name = visible(target_text(goal, texts))
        told = f"{name} after token {goal.position}: logit {goal.logit:.4f}, probability {goal.probability:.3f}"
        out_console.print(f"Target {told}", markup=False, highlight=False)
    out_console.print(
        f"Kept {len(circuit.nodes):,} of {len(whole.nodes):,} nodes with {circuit.kept_nodes:.1%} of the influence, "
        f"and {len(circuit.edges):,} of {len(whole.edges):,} edges with {circuit.kept_edges:.1%}.",
        highlight=False,
    )
    out_console.print(f"Largest relative error of a sum before pruning: {whole.completeness:.1e}", highlight=False)
    found = circuit.nodes[circuit.nodes["kind"] != "logit"].nlargest(top, "influence")
    rows = [_row(circuit, row, texts, node_text(circuit, row["node"], texts)) for row in found.to_dict("records")]
    print_table("Nodes of most influence", ["kind", "layer", "token", "expert", "influence", "value", "known as"], rows)


def _row(circuit: Circuit, row: dict[str, Any], texts: NodeTexts, name: str) -> list[str]:
    from ..analysis.circuits.node_names import token_text
    from ..store.token_text import visible

    place = (row["layer"], row["expert"])
    position = row["position"]
    return [
        row["kind"],
        f"{row['layer']}" if row["layer"] >= 0 else "–",
        f"{position} {visible(token_text(circuit, position))}" if position >= 0 else "all",
        f"{row['expert']}" if row["kind"] == "expert" else "–",
        f"{row['influence']:.4f}",
        f"{row['value']:+.4f}",
        name if place in texts.labels or place in texts.explanations else "",
    ]
