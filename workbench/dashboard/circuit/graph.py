"""A circuit as ``assets/circuit.js`` draws it: the nodes and edges that thresholds keep, and all edges of one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...analysis.circuits.circuit_result import Circuit
from ...report.labels import shortened
from ...store.token_text import visible, visible_label
from ..parts import LONGEST_NAME
from ..tables import GENERAL
from .traced import Traced, shares

if TYPE_CHECKING:
    import pandas as pd

    from ..context import Context

MOST_EDGES = 1500  # drawn at once, strongest first
OF_A_NODE = 400  # of those of a pinned node
LONGEST_TOKEN = 18  # characters


def graph_answer(ctx: Context, traced: Traced, node_threshold: float, edge_threshold: float) -> dict[str, Any]:
    """The pruned circuit.

    Returns:
        ``tokens`` (texts) and ``layers`` (their number), the axes; ``bos`` (whether the first token is the start of the
        text); ``keys`` (E); ``nodes``: see ``drawn_nodes``; ``edges``: source and target as indices of nodes, whether
        it is a routing edge, and its weight, strongest first; ``kept``: what ``kept_answer`` says.

    Raises:
        BadInputError: a threshold lies outside 0 .. 1.
    """
    pruned = traced.circuit.prune(node_threshold, edge_threshold)
    numbers = pruned_numbers(traced, pruned)
    strongest = np.argsort(-shares(pruned), kind="stable")[:MOST_EDGES]
    edges = pruned.edges.iloc[strongest]
    return {
        "tokens": [shortened(visible(piece), LONGEST_TOKEN) for piece in traced.pieces],
        "bos": traced.bos,
        "layers": traced.circuit.layers,
        "keys": traced.circuit.keys,
        "target": traced.title(len(traced.names) - 1),
        "nodes": drawn_nodes(ctx, traced, numbers),
        "edges": _edges(edges, edges["source"].to_numpy(), edges["target"].to_numpy()),
        "kept": kept_answer(traced, pruned) | {"drawn": len(edges)},
    }


def pruned_numbers(traced: Traced, pruned: Circuit) -> NDArray[np.int64]:
    """The number that each node of the pruned circuit has in the traced one."""
    place = ["kind", "layer", "position", "expert"]
    whole = traced.circuit.nodes[place].assign(number=np.arange(len(traced.circuit.nodes)))
    return pruned.nodes[place].merge(whole, on=place, how="left")["number"].to_numpy(np.int64)


def kept_answer(traced: Traced, pruned: Circuit) -> dict[str, Any]:
    """What pruning has left.

    Returns:
        ``nodes`` and ``edges`` (fractions of the influence), ``experts`` and ``all_experts``, ``all_edges`` (counts;
        edges of the pruned circuit), and ``completeness`` of the traced circuit.
    """
    experts = [int((one.nodes["kind"] == "expert").sum()) for one in (pruned, traced.circuit)]
    return {
        "nodes": pruned.kept_nodes,
        "edges": pruned.kept_edges,
        "experts": experts[0],
        "all_experts": experts[1],
        "all_edges": len(pruned.edges),
        "completeness": traced.completeness,
    }


def edges_answer(ctx: Context, traced: Traced, node: str) -> dict[str, Any]:
    """All edges of one node in the traced circuit, the strongest ``OF_A_NODE``.

    Returns:
        ``node``: the node itself; ``edges``: name of the other node, whether the edge leads away from this one, whether
        it is a routing edge, and its weight.

    Raises:
        NotFoundError: the circuit has no such node.
    """
    number = traced.number(node)
    edges = traced.circuit.edges
    mine = edges[(edges["source"] == number) | (edges["target"] == number)]
    mine = mine.loc[mine["weight"].abs().sort_values(ascending=False, kind="stable").index].head(OF_A_NODE)
    away = (mine["source"] == number).to_numpy()
    others = np.where(away, mine["target"], mine["source"])
    return {
        "node": drawn_nodes(ctx, traced, np.array([number]))[0],
        "edges": _edges(mine, [traced.names[other] for other in others], away.astype(int)),
    }


def drawn_nodes(ctx: Context, traced: Traced, numbers: NDArray[np.int64]) -> list[dict[str, Any]]:
    """What is drawn and said of nodes, by their numbers in the traced circuit.

    Returns:
        ``name``, ``kind``, ``layer``, ``position``, ``influence``, ``value``; of experts also ``group``, ``expert``
        (their id), ``label``, ``colour`` and ``score``.
    """
    found = []
    labels = {group: ctx.experts(group)["specialised"] for group in ctx.run.groups}
    for row in (traced.nodes[number] for number in numbers):
        node = {
            "name": traced.names[row.node],
            "title": traced.title(row.node),
            "kind": row.kind,
            "layer": int(row.layer),
            "position": int(row.position),
            "influence": _short(row.influence),
            "value": _short(row.value),
        }
        if (expert := traced.expert(row.node)) is not None:
            label = str(labels[expert.group].get(expert.id, GENERAL))
            node |= {
                "group": expert.group,
                "expert": expert.id,
                "label": shortened(visible_label(label), LONGEST_NAME) or ctx.kind(*expert),
                "colour": ctx.colour(label),
                "score": _short(row.score),
            }
        found.append(node)
    return found


def _edges(edges: pd.DataFrame, first: Any, second: Any) -> list[list[Any]]:
    routing = (edges["kind"] == "routing").astype(int)
    return [
        [one if isinstance(one, str) else int(one), int(other), int(kind), _short(weight)]
        for one, other, kind, weight in zip(first, second, routing, edges["weight"], strict=True)
    ]


def _short(number: float) -> float:
    return float(f"{number:.4g}")
