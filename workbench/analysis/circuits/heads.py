"""An edge of a circuit, opened: which attention heads it goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from ...errors import BadInputError
from .circuit_result import Circuit
from .held import HeldCircuit
from .kinds import ROUTING, VALUE

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from .frozen_experts import FrozenExperts


@torch.no_grad()
def open_edge(
    model: MonetForCausalLM, circuit: Circuit, source: int, target: int, *, kind: str = VALUE
) -> pd.DataFrame:
    """Open an edge into the attention heads that carry it: each path counts for the first head that it goes through.

    Args:
        model: the model that the circuit was traced in, under the same edits.
        circuit: the circuit, pruned or not.
        source: number of an embedding's, expert's or MLP's node.
        target: number of an expert's or MLP's node, or of a target.
        kind: ``value`` or ``routing``.

    Returns:
        One row per head that carries something, largest first; the weights sum to that of the edge.

        - layer: the head's layer; -1 for what goes straight through the residual stream.
        - head: the head; -1 likewise.
        - weight: what it carries, in the edge's unit.

    Raises:
        BadInputError: nodes of other kinds, a source behind its target, or as ``intervene``.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import open_edge, trace_circuit
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> circuit = trace_circuit(model, tokenizer("public static void", return_tensors="pt").input_ids, nodes=64)
        >>> logit = len(circuit.nodes) - 1
        >>> edge = circuit.edges.query("target == @logit and source < 4").iloc[0]  # from an embedding
        >>> heads = open_edge(model, circuit, int(edge["source"]), logit)
        >>> bool(abs(heads["weight"].sum() - edge["weight"]) < 1e-9)
        True
    """
    if kind not in (VALUE, ROUTING):
        raise BadInputError(f"an edge is of kind {VALUE!r} or {ROUTING!r}, got {kind!r}.")
    start = row_of(circuit, source, ("embed", "expert", "mlp"))
    end = row_of(circuit, target, ("expert", "mlp", "logit"))
    if kind == ROUTING and end["kind"] != "expert":
        what = "a target" if end["kind"] == "logit" else "an MLP"
        raise BadInputError(f"{what} is not routed: its edges are of kind 'value'.")
    held = HeldCircuit(model, circuit)
    layers = held.frozen.layers
    below, position = int(start["layer"]), int(start["position"])
    written = held.frozen.embedded[position][None] if below < 0 else _written(held, start)
    top, read = _read(held, end, kind)
    g = torch.zeros_like(held.frozen.final)[:, None]
    g[int(end["position"]), 0] = read
    if below >= top:
        raise BadInputError(f"node {source} is not in front of node {target}: no edge leads from it.")
    found = [(-1, -1, float(g[position, 0] @ written[0]))]
    at = torch.tensor([position], device=g.device)
    for layer in reversed(layers[below + 1 : top + 1]):
        carried = (layer.values_of(written, at)[0] * layer.through_heads(g)[:, position, 0]).sum(-1)
        found += [(layer.index, head, value) for head, value in enumerate(carried.tolist())]
        g = layer.attention_back(g)
    table = pd.DataFrame(found, columns=["layer", "head", "weight"])
    table = table[table["weight"] != 0]
    return table.loc[table["weight"].abs().sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def row_of(circuit: Circuit, node: int, kinds: tuple[str, ...]) -> pd.Series:
    """The row of a node, which must be of one of some kinds.

    Raises:
        BadInputError: there is no such node, or it is of another kind.
    """
    if not 0 <= node < len(circuit.nodes):
        raise BadInputError(f"the circuit has no node {node}; its nodes are 0 to {len(circuit.nodes) - 1}.")
    row = circuit.nodes.iloc[node]
    if row["kind"] not in kinds:
        raise BadInputError(f"node {node} is of kind {row['kind']}; what is asked for goes with {' or '.join(kinds)}.")
    return row


def _expert(layer: FrozenExperts, row: pd.Series) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
    """Position, keys and score by head of an expert's node, (1,) each."""
    position, expert = (torch.tensor([int(row[name])], device=layer.x.device) for name in ("position", "expert"))
    pairs = (expert // layer.experts.keys, expert % layer.experts.keys)
    return position, pairs, layer.scores(position, pairs)


def _written(held: HeldCircuit, row: pd.Series) -> Tensor:
    """What an expert's or MLP's node writes, (1, hidden)."""
    if row["kind"] == "mlp":
        return held.frozen.layers[int(row["layer"])].written[int(row["position"])][None]
    layer = held.frozen.experts[int(row["layer"])]
    position, pairs, score = _expert(layer, row)
    return layer.outputs(position, pairs, score.sum(-1))


def _read(held: HeldCircuit, row: pd.Series, kind: str) -> tuple[int, Tensor]:
    """The layer in front of whose experts a node reads, and what, (hidden,)."""
    layers = held.frozen.layers
    if row["kind"] == "logit":
        logits = held.circuit.nodes["node"][held.circuit.nodes["kind"] == "logit"]
        return len(layers), held.directions[int(row["node"] - logits.iloc[0])]
    index = int(row["layer"])
    if row["kind"] == "mlp":
        return index, layers[index].mlp_back(held.gradients()[index])[0][int(row["position"])]
    layer = held.frozen.experts[index]
    position, pairs, score = _expert(layer, row)
    if kind == ROUTING:
        owner = held.frozen.experts[layer.owner]
        return owner.index, owner.choice(position, pairs, score.abs().argmax(-1)).vectors[0]
    return layer.index, layer.reads(position, pairs, score.sum(-1), held.gradients()[layer.index])[0][0]
