"""Tracing a circuit: which experts made a token, at which positions, and what made each of them.

1. Run the model once over the prompt, and hold what is held: ``FrozenModel``.
2. Send the targets' gradient backward through it. At every layer, all active experts' values come from the product of
   their keys (``cuda_ext.contributions``); the largest stay as nodes, the others are one node per layer and position.
   The MLP of a dense layer is one node per position.
3. For each node, send what it reads backward through attention alone: its product with what every earlier node writes
   is the weight of an edge. What the node's two keys read gives the routing edges likewise.
4. Incoming value edges sum to the node's value, incoming routing edges to its margin: ``Circuit.check``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...errors import BadInputError
from ...progress import Progress, silent
from ...store.token_text import token_pieces
from ..attribution.direct import ForwardPass
from ..attribution.target import LinearTarget, Target, check_ids
from ..defaults import NODES
from .circuit_result import Circuit, CircuitTarget
from .edges import Edges, Readers, Sources, edges_into
from .frozen import FrozenModel
from .influence import node_influence
from .kinds import KINDS, ROUTING, VALUE
from .selection import LayerNodes, select_nodes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetForCausalLM

MEMORY = 4e9  # bytes
EDGE_BYTES = 40  # of an edge, while tables are put together


def trace_circuit(
    model: MonetForCausalLM,
    input_ids: Tensor,
    target: Target | list[Target] | None = None,
    *,
    nodes: int = NODES,
    position: int | Sequence[int] = -1,
    attention_mask: Tensor | None = None,
    tokenizer: PreTrainedTokenizerFast | None = None,
    dtype: torch.dtype | None = None,
    max_memory: float = MEMORY,
    progress: Progress = silent,
) -> Circuit:
    """Trace the circuit behind a token: a graph over experts, complete, with no replacement model and no error node.

    With attention patterns, norm scales, routing scores and one factor of each squared rectifier held at their values,
    every expert's output is affine in the residual stream in front of it. In the dense layers of a mixed model the
    activated gates are held, and the MLP at a position is a node, which ``open_mlp`` takes apart into neurons. So what
    an expert adds to the target is the sum of what embeddings, earlier nodes and biases add to it: the ``value`` edges.
    Raw router logits are linear in the stream as well (norm scale held), so by how much an expert exceeded its
    thresholds is a sum of the same kind: the ``routing`` edges. The ``nodes`` experts of largest absolute value are
    nodes of their own; the other active experts of a layer are one node per position, so that nothing is missing. Edits
    of experts in force count.

    Args:
        model: a Monet model in evaluation mode.
        input_ids: (1, tokens) integer token ids, at most the model's context.
        target: a token id; a pair (a, b) for the difference of their logits, a - b; a differentiable function from
            logits (vocabulary,) to a number, linearised at the model's logits; or a list of these, whose sum is then
            explained. Default: the likeliest token.
        nodes: experts that become nodes of their own.
        position: the position behind which the target stands, or one for each target; negative ones count from the
            end. Default: the last.
        attention_mask: (1, tokens), 0 at padding on the left, which is left out: positions count from the first token
            that is read.
        tokenizer: gives the circuit the text of its tokens.
        dtype: what is computed in. Default: float64 where that fits into ``max_memory``, float32 for a larger model.
        max_memory: bytes that tracing may take, the model not counted.
        progress: counts nodes whose edges are done.

    Returns:
        A ``Circuit``, not pruned.

    Raises:
        BadInputError: a prompt, target, position or mask that does not fit; fewer than one node; or more memory needed
            than ``max_memory``, with the estimate.

    Source: Ameisen et al. 2025, "Circuit Tracing: Revealing Computational Graphs in Language Models"
    (https://transformer-circuits.pub/2025/attribution-graphs/methods.html), with experts in place of transcoders.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import trace_circuit
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> ids = tokenizer("public static void", return_tensors="pt").input_ids
        >>> circuit = trace_circuit(model, ids, nodes=64, tokenizer=tokenizer)
        >>> int((circuit.nodes["kind"] == "expert").sum()), circuit.completeness < 1e-6
        (64, True)
        >>> roots = circuit.nodes.query("kind in ['embed', 'bias']")["value"].sum()
        >>> bool(abs(roots - circuit.targets[0].logit) < 1e-4)
        True
        >>> circuit.prune().nodes.columns.tolist()[:4]
        ['node', 'kind', 'layer', 'position']
    """
    ids = _unpadded(check_ids(model, input_ids), attention_mask)
    if nodes < 1:
        raise BadInputError(f"a circuit has at least one expert, got nodes={nodes}.")
    goals = target if isinstance(target, list) else [target]
    places = _places(position, len(goals), ids.shape[1])
    tokens = max(places) + 1
    exact = circuit_memory(model, tokens, nodes, torch.float64) <= max_memory
    dtype = dtype or (torch.float64 if exact else torch.float32)
    needed = circuit_memory(model, tokens, nodes, dtype)
    if needed > max_memory:
        raise BadInputError(
            f"tracing {nodes:,} nodes over {tokens:,} tokens in {str(dtype).removeprefix('torch.')} takes about "
            f"{needed / 1e9:.1f} GB, and max_memory is {max_memory / 1e9:.1f} GB: take fewer nodes, or allow more."
        )
    seen = ForwardPass.run(model, ids).until(tokens)
    linear, told = [], []
    for goal, place in zip(goals, places, strict=True):
        logits = seen.logits_at(slice(place, place + 1))[0]
        linear.append(LinearTarget.at(int(logits.argmax()) if goal is None else goal, logits))
        told.append(_told(linear[-1], place, logits))
    frozen = FrozenModel(model, seen.record, dtype)
    read = [one.direction(model, frozen.final[place][None])[0] for one, place in zip(linear, places, strict=True)]
    table, edges = _graph(frozen, torch.stack(read).to(dtype), places, nodes, max_memory - needed, progress)
    circuit_ids = ids[0, :tokens].tolist()
    pieces = [] if tokenizer is None else token_pieces(tokenizer, circuit_ids)
    config = model.config
    return Circuit(circuit_ids, told, config.num_hidden_layers, config.moe_experts, table, edges, pieces=pieces)


def circuit_memory(model: MonetForCausalLM, tokens: int, nodes: int, dtype: torch.dtype = torch.float64) -> float:
    """An estimate of the bytes that ``trace_circuit`` needs beside the model: layers, vectors and edges.

    Args:
        model: the model.
        tokens: tokens of the prompt up to the target.
        nodes: experts that become nodes.
        dtype: what is computed in.
    """
    config = model.config
    layers, hidden, keys = config.num_hidden_layers, config.hidden_size, config.moe_experts
    dense, width = len(config.dense_layers), (config.intermediate_size or 0) if config.dense_layers else 0
    rest = layers * tokens
    sources, readers = nodes + rest + tokens, 2 * nodes + rest
    vectors = (sources + readers) * hidden + 8 * layers * tokens * hidden
    patterns = layers * config.num_attention_heads * tokens**2
    units = 8 * tokens * max(keys * config.moe_dim, width) + 2 * nodes * hidden * config.moe_dim
    copied = 0
    if model.dtype != dtype:
        of_experts = 3 * keys * config.moe_dim + 2 * config.moe_heads * keys
        copied = ((layers - dense) * of_experts + dense * 3 * width + layers * 4 * hidden) * hidden
    # An earlier node may reach every later one: half of all pairs have an edge.
    return dtype.itemsize * (vectors + patterns + units + copied) + EDGE_BYTES * readers * sources / 2


def _unpadded(ids: Tensor, mask: Tensor | None) -> Tensor:
    """The ids of a prompt without the padding on its left."""
    if mask is None:
        return ids
    if mask.shape != ids.shape:
        raise BadInputError(
            f"attention_mask must have the shape of input_ids, {tuple(ids.shape)}, got {tuple(mask.shape)}."
        )
    read = mask[0].bool()
    if not read.any() or (read.int().diff() < 0).any():
        raise BadInputError("attention_mask must be 0 at padding on the left and 1 from there on.")
    return ids[:, int(read.int().argmax()) :]


def _places(position: int | Sequence[int], targets: int, tokens: int) -> list[int]:
    """The position of each target, counted from the first token."""
    given = [position] * targets if isinstance(position, int) else list(position)
    if len(given) != targets or not targets:
        raise BadInputError(f"give one position, or one for each target: got {len(given)} for {targets}.")
    if wrong := [place for place in given if not -tokens <= place < tokens]:
        raise BadInputError(f"there is no position {wrong[0]}: the prompt has {tokens:,} tokens, 0 to {tokens - 1}.")
    return [place % tokens for place in given]


def _told(linear: LinearTarget, place: int, logits: Tensor) -> CircuitTarget:
    token, minus = linear.target if isinstance(linear.target, tuple) else (linear.target, None)
    probability = float("nan") if token is None else float(logits.double().softmax(-1)[token])
    return CircuitTarget(place, token, minus, probability, float(linear.value(logits)))


def _graph(
    frozen: FrozenModel, directions: Tensor, places: list[int], nodes: int, budget: float, progress: Progress
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Nodes and edges of the circuit of targets that read ``directions`` (targets, hidden) at some positions."""
    at = torch.tensor(places, device=directions.device)
    layers, embedded = select_nodes(frozen, torch.zeros_like(frozen.final).index_add_(0, at, directions), nodes)
    table = _node_table(frozen, layers, embedded, directions, places)
    first = _Numbers(table, directions.device)
    written = [_sources(layer, first, index) for index, layer in enumerate(layers)]
    every = torch.arange(len(frozen.embedded), device=directions.device)
    embeddings = Sources(first.of("embed"), every, frozen.embedded)
    biases = first.of("bias")
    none = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    found: dict[str, list[Edges]] = {VALUE: [none], ROUTING: [none]}  # of dense layers alone there is no routing
    groups = [(VALUE, Readers(len(layers), first.of("logit"), at, directions))]
    for index, layer in enumerate(layers):
        experts, rest = first.of("expert", index), first.of(layer.rest_kind, index)
        for node, parts in ((experts, layer.experts), (rest, layer.rest)):
            groups.append((VALUE, Readers(index, node, parts.position, parts.read)))
            found[VALUE].append(_constants(biases[index], node, parts.constant))
        if index not in frozen.experts:
            continue
        owner = frozen.experts[frozen.experts[index].owner]
        chosen = owner.choice(layer.experts.position, layer.pairs, layer.head)
        groups.append((ROUTING, Readers(owner.index, experts, layer.experts.position, chosen.vectors)))
        found[ROUTING].append(_constants(biases[owner.index], experts, -chosen.threshold))
        margin = (chosen.vectors * owner.middle[layer.experts.position]).sum(-1) - chosen.threshold
        table.loc[experts.numpy(force=True), "margin"] = margin.numpy(force=True)
    for kind, readers in groups:
        for part in readers.batches(budget):
            found[kind] += edges_into(frozen, part, written, embeddings, biases)
            progress(len(part.node))
    edges = pd.concat([_edge_table(kind, parts) for kind, parts in found.items()], ignore_index=True)
    edges["kind"] = pd.Categorical(edges["kind"], [VALUE, ROUTING])
    of_value = edges[edges["kind"] == VALUE]
    leaving = np.bincount(of_value["source"], of_value["weight"], len(table))
    is_bias = (table["kind"] == "bias").to_numpy()
    table.loc[is_bias, "value"] = leaving[is_bias]
    table["influence"] = node_influence(table, edges, np.full(len(places), 1 / len(places)))
    return table, edges


class _Numbers:
    """The numbers of the nodes of a kind, and of a layer."""

    def __init__(self, table: pd.DataFrame, device: torch.device) -> None:
        self._table, self._device = table, device

    def of(self, kind: str, layer: int | None = None) -> Tensor:
        rows = (self._table["kind"] == kind) & (True if layer is None else self._table["layer"] == layer)
        return torch.from_numpy(np.flatnonzero(rows)).to(self._device, non_blocking=True)


def _node_table(
    frozen: FrozenModel, layers: list[LayerNodes], embedded: Tensor, directions: Tensor, places: list[int]
) -> pd.DataFrame:
    def rows(kind: str, position: Any, value: Any, layer: int = -1, **more: Any) -> pd.DataFrame:
        columns = {"kind": kind, "layer": layer, "position": position, "expert": -1, "value": value, "influence": 0.0}
        return pd.DataFrame(columns | {"score": np.nan, "head": -1, "margin": np.nan} | more)

    tables = [rows("embed", range(len(embedded)), embedded.numpy(force=True))]
    keys = next((layer.experts.keys for layer in frozen.experts.values()), 0)
    for index, layer in enumerate(layers):
        experts, rest = layer.experts, layer.rest
        told = {
            "expert": (layer.pairs[0] * keys + layer.pairs[1]).numpy(force=True),
            "score": layer.score.numpy(force=True),
            "head": layer.head.numpy(force=True),
        }
        tables.append(rows("bias", [-1], 0.0, index))
        tables.append(
            rows("expert", experts.position.numpy(force=True), experts.value.numpy(force=True), index, **told)
        )
        tables.append(rows(layer.rest_kind, rest.position.numpy(force=True), rest.value.numpy(force=True), index))
    logits = (directions * frozen.final[places]).sum(-1)
    tables.append(rows("logit", places, logits.numpy(force=True)))
    table = pd.concat(tables, ignore_index=True)
    table["kind"] = pd.Categorical(table["kind"], KINDS)
    table.insert(0, "node", np.arange(len(table)))
    return table


def _sources(layer: LayerNodes, numbers: _Numbers, index: int) -> Sources:
    return Sources(
        torch.cat([numbers.of("expert", index), numbers.of(layer.rest_kind, index)]),
        torch.cat([layer.experts.position, layer.rest.position]),
        torch.cat([layer.experts.written, layer.rest.written]),
    )


def _constants(bias: Tensor, node: Tensor, constant: Tensor) -> Edges:
    """Edges from a layer's biases."""
    weight = constant.double().numpy(force=True)
    there = weight != 0
    return bias.expand_as(node).numpy(force=True)[there], node.numpy(force=True)[there], weight[there]


def _edge_table(kind: str, parts: list[Edges]) -> pd.DataFrame:
    source, target, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    ends = {"source": source.astype(np.int32), "target": target.astype(np.int32)}
    return pd.DataFrame({**ends, "kind": kind, "weight": weight})
