"""Circuits: complete at every node on any shape, equal to autograd through a model that is held, clear on bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from monet_model import MonetForCausalLM
from monet_model.record import record_pass
from workbench.analysis import Circuit, attribute, circuit_memory, open_edge, open_mlp, trace_circuit
from workbench.errors import BadInputError, NotFoundError

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5]])
DECOMPOSITIONS = pytest.mark.parametrize("decompose", ["vertical", "horizontal"])


def sums(circuit: Circuit, end: str, kind: str = "value") -> pd.Series:
    """Sum of the weights of a kind of edges at each node: leaving it (source) or entering it (target)."""
    edges = circuit.edges[circuit.edges["kind"] == kind]
    return edges.groupby(end)["weight"].sum().reindex(circuit.nodes["node"], fill_value=0.0)


@DECOMPOSITIONS
@pytest.mark.parametrize("nodes", [3, 3000])
def test_every_node_is_the_sum_of_its_edges(make_model: Any, decompose: str, shape: dict[str, Any], nodes: int) -> None:
    model = make_model(moe_decompose=decompose, **shape)
    circuit = trace_circuit(model, IDS, 7, nodes=nodes)
    assert circuit.completeness < 1e-9
    assert circuit.check().query("wanted.abs() > 1e-9")["error"].max() < 1e-6  # the rest nodes as well
    # What a node is worth, it hands on: what leaves it sums to its value too.
    values, inner = circuit.nodes["value"], ~circuit.nodes["kind"].isin(["logit"])
    np.testing.assert_allclose(sums(circuit, "source")[inner], values[inner], atol=1e-9)
    roots = values[circuit.nodes["kind"].isin(["embed", "bias"])].sum()
    logit = float(model(IDS).logits[0, -1, 7])
    assert circuit.targets[0].logit == pytest.approx(logit, abs=1e-5)
    assert roots == pytest.approx(logit, abs=1e-4)
    assert (circuit.edges["source"] < circuit.edges["target"]).all()


def test_a_margin_of_nothing_is_complete(make_model: Any) -> None:
    """Where no key reaches the threshold the highest one is active: it is its own threshold, and both sides are 0."""
    model = make_model(moe_topk=1, moe_heads=1)
    with torch.no_grad():
        for layer in model.model.layers:
            if layer.router is not None:
                layer.router.w1.weight.mul_(0.01)
                layer.router.w2.weight.mul_(0.01)
    circuit = trace_circuit(model, IDS, 7, nodes=3000)
    assert circuit.nodes["margin"].abs().max() < 1e-12
    assert circuit.completeness < 1e-9


@pytest.mark.parametrize("seed", [0, 1])
def test_golden_models_in_both_precisions(golden: MonetForCausalLM, seed: int) -> None:
    ids = torch.randint(3, 128, (1, 20), generator=torch.Generator().manual_seed(seed))
    assert trace_circuit(golden, ids, nodes=100).completeness < 1e-9
    single = trace_circuit(golden, ids, nodes=100, dtype=torch.float32)
    assert single.check().query("wanted.abs() > 1e-2")["error"].max() < 1e-3


class Held(torch.autograd.Function):
    """relu(u)**2 whose derivative is that of relu(u) * u with the first factor held."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(u)
        return u.relu().square()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (u,) = ctx.saved_tensors
        return grad * u.relu()


def held_logits(model: MonetForCausalLM, ids: Tensor, extra: dict[int, Tensor]) -> Tensor:
    """The logits (tokens, vocabulary) of a model held at a prompt, from dense weights: every expert expanded.

    Args:
        extra: layer -> (tokens, hidden), added to what the layer's experts write; also differentiable.
    """
    record, out = record_pass(model, lambda: model(ids, output_attentions=True))
    stream, eps = record.embedded[0].double(), model.config.rms_norm_eps
    heads, keys = model.config.num_attention_heads, model.config.moe_experts
    for index, (layer, seen) in enumerate(zip(model.model.layers, record.layers, strict=True)):
        attention = layer.self_attn
        scale = (stream.square().mean(-1, keepdim=True) + eps).rsqrt().detach()
        read = stream * scale * layer.input_layernorm.weight.double()
        values = (read @ attention.v_proj.weight.double().T).unflatten(-1, (heads, -1))
        moved = torch.einsum("hpq,qhe->phe", out.attentions[index][0].double(), values).flatten(1)
        stream = stream + moved @ attention.o_proj.weight.double().T
        scale = (stream.square().mean(-1, keepdim=True) + eps).rsqrt().detach()
        x = stream * scale * layer.post_attention_layernorm.weight.double()
        if seen.dense:
            mlp = layer.mlp
            gates = torch.nn.functional.silu(x @ mlp.gate_proj.weight.double().T).detach()
            neurons = gates * (x @ mlp.up_proj.weight.double().T)
            stream = stream + neurons @ mlp.down_proj.weight.double().T + extra.get(index, torch.zeros_like(stream))
            continue
        g1, g2 = seen.routing.dense()
        chosen = torch.einsum("thi,thj->tij", g1.double(), g2.double())
        moe = layer.moe
        units = Held.apply(x @ moe.u.weight.double().T + moe.u.bias.double()).unflatten(-1, (keys, -1))
        tops = moe.v.weight.double().unflatten(1, (keys, -1))
        written = torch.einsum("tij,tiu,dju->td", chosen, units, tops)
        written = written + chosen.sum(1) @ moe.b.double()
        stream = stream + written + extra.get(index, torch.zeros_like(stream))
    scale = (stream.square().mean(-1, keepdim=True) + eps).rsqrt().detach()
    return stream * scale * model.model.norm.weight.double() @ model.lm_head.weight.double().T


def test_values_are_those_of_autograd_through_a_held_model(make_model: Any) -> None:
    """Horizontal experts, expanded one by one, in a model written anew: an expert's value is its output's gradient."""
    model = make_model(moe_decompose="horizontal", num_hidden_layers=3, moe_groups=1)
    model.set_attn_implementation("eager")
    circuit = trace_circuit(model, IDS, 7, nodes=3000)
    more = {layer: torch.zeros(7, 24, dtype=torch.float64, requires_grad=True) for layer in range(3)}
    logits = held_logits(model, IDS, more)
    torch.testing.assert_close(logits[-1, 7].float(), model(IDS).logits[0, -1, 7], atol=1e-5, rtol=1e-5)
    gradients = torch.autograd.grad(logits[-1, 7], list(more.values()))
    record, _ = record_pass(model, lambda: model(IDS))
    experts = circuit.nodes[circuit.nodes["kind"] == "expert"]
    assert len(experts) > 100
    for row in experts.sample(40, random_state=0).itertuples():
        i, j = divmod(int(row.expert), 8)
        seen, moe = record.layers[row.layer], model.model.layers[row.layer].moe
        g1, g2 = seen.routing.dense()
        x = seen.x[0, row.position].double()
        units = (x @ moe.u.weight.double().T + moe.u.bias.double()).relu().square().unflatten(-1, (8, -1))[i]
        output = moe.v.weight.double().unflatten(1, (8, -1))[:, j] @ units + moe.b[j].double()
        score = float((g1[row.position, :, i] * g2[row.position, :, j]).sum())
        assert score == pytest.approx(row.score, abs=1e-6)
        assert float(gradients[row.layer][row.position] @ output) * score == pytest.approx(row.value, abs=1e-5)


def test_values_of_mlps_are_those_of_autograd_through_a_held_model(make_model: Any) -> None:
    """Gates held: an MLP's value is its output's gradient, its incoming edge from an embedding the path in between."""
    fields: dict[str, Any] = {"num_hidden_layers": 4, "moe_groups": 1, "dense_layers": [0, 2], "hidden_act": "silu"}
    model = make_model(moe_decompose="horizontal", intermediate_size=20, **fields)
    model.set_attn_implementation("eager")
    circuit = trace_circuit(model, IDS, 7, nodes=3000)
    more = {layer: torch.zeros(7, 24, dtype=torch.float64, requires_grad=True) for layer in (0, 2)}
    logits = held_logits(model, IDS, more)
    torch.testing.assert_close(logits[-1, 7].float(), model(IDS).logits[0, -1, 7], atol=1e-5, rtol=1e-5)
    gradients = dict(zip(more, torch.autograd.grad(logits[-1, 7], list(more.values())), strict=True))
    record, _ = record_pass(model, lambda: model(IDS))
    rows = circuit.nodes[circuit.nodes["kind"] == "mlp"]
    assert rows[["layer", "position"]].values.tolist() == [[layer, at] for layer in (0, 2) for at in range(7)]
    for row in rows.itertuples():
        output = record.layers[row.layer].output[0, row.position].double()
        assert float(gradients[row.layer][row.position] @ output) == pytest.approx(row.value, abs=1e-5)


def test_mlps_open_into_heads_and_neurons(mixed: MonetForCausalLM) -> None:
    circuit = trace_circuit(mixed, IDS, nodes=60)
    kinds = circuit.nodes["kind"].astype(str)
    ends = circuit.edges["source"].map(kinds), circuit.edges["target"].map(kinds)
    inner = ["embed", "expert", "mlp"]
    mine = circuit.edges[(ends[0].eq("mlp") & ends[1].ne("rest")) | (ends[1].eq("mlp") & ends[0].isin(inner))]
    assert {"value", "routing"} == set(mine["kind"])
    for edge in mine.sample(24, random_state=1).itertuples():
        heads = open_edge(mixed, circuit, edge.source, edge.target, kind=edge.kind)
        assert heads["weight"].sum() == pytest.approx(edge.weight, rel=1e-9, abs=1e-12)
    for row in circuit.nodes[kinds == "mlp"].itertuples():
        neurons = open_mlp(mixed, circuit, row.node)
        bias = mixed.model.layers[row.layer].mlp.down_proj.bias
        assert sorted(neurons["neuron"]) == list(range(20))
        if bias is None:
            assert neurons["value"].sum() == pytest.approx(row.value, rel=1e-9, abs=1e-12)
        assert neurons["value"].abs().is_monotonic_decreasing
    mlp, logit = int(circuit.nodes["node"][kinds == "mlp"].iloc[0]), len(circuit.nodes) - 1
    with pytest.raises(BadInputError, match="an MLP is not routed"):
        open_edge(mixed, circuit, 0, mlp, kind="routing")
    with pytest.raises(BadInputError, match=f"node {logit} is of kind logit"):
        open_mlp(mixed, circuit, logit)


def test_a_model_of_dense_layers_alone_has_a_circuit_too(make_model: Any) -> None:
    model = make_model(dense_layers=[0, 1, 2, 3], intermediate_size=20, hidden_act="silu", attention_bias=True)
    circuit = trace_circuit(model, IDS, 7)
    assert set(circuit.nodes["kind"]) == {"embed", "bias", "mlp", "logit"}
    assert circuit.completeness < 1e-9
    assert attribute(model, IDS, 7).completeness < 1e-4


def test_direct_edges_of_the_last_layer_are_direct_logit_attribution(golden: MonetForCausalLM) -> None:
    ids = torch.tensor([[5, 9, 77, 31]])
    circuit = trace_circuit(golden, ids, 7, nodes=3000)
    direct, last = attribute(golden, ids, 7).experts, golden.config.num_hidden_layers - 1
    wanted = direct[direct["layer"] == last].set_index("expert")["contribution"]
    rows = circuit.nodes[(circuit.nodes["kind"] == "expert") & (circuit.nodes["position"] == 3)]
    nodes = rows[rows["layer"] == last].set_index("expert")
    np.testing.assert_allclose(nodes["value"], wanted.reindex(nodes.index), atol=1e-5)
    edges = circuit.edges.query("target == @circuit.nodes.node.iloc[-1]").set_index("source")["weight"]
    np.testing.assert_allclose(edges.reindex(nodes["node"]), nodes["value"], atol=1e-12)


def test_margins_are_what_the_router_saw(golden: MonetForCausalLM) -> None:
    """Both raw key logits, less the thresholds of their head, in the layer that owns the router."""
    ids = torch.tensor([[5, 9, 77, 31]])
    circuit = trace_circuit(golden, ids, nodes=200)
    record, _ = record_pass(golden, lambda: golden(ids))
    groups, owners = golden.config.layer_groups, [group.start for group in golden.config.routing_groups]
    keys = golden.config.moe_experts
    for row in circuit.nodes.query("kind == 'expert'").iloc[::7].itertuples():
        owner = owners[groups[row.layer]]
        router = golden.model.layers[owner].router
        margin = 0.0
        sides = zip(
            router.logits(record.layers[owner].x), (router.norm1, router.norm2), divmod(row.expert, keys), strict=True
        )
        for logits, norm, key in sides:
            seen = logits[0, row.position, row.head]
            threshold = norm.running_mean[row.head] + router.sigma * (norm.running_var[row.head] + norm.eps).sqrt()
            margin += (seen[key] - min(threshold, seen.max())).item()
        assert row.margin == pytest.approx(margin, abs=1e-4)
        assert row.margin >= 0


def test_edges_open_into_heads(golden: MonetForCausalLM) -> None:
    ids = torch.tensor([[5, 9, 77, 31, 8, 8, 90]])
    circuit = trace_circuit(golden, ids, nodes=60)
    kinds = circuit.nodes["kind"].astype(str)
    for kind, ends in (("value", ["expert", "logit"]), ("routing", ["expert"])):
        mine = circuit.edges[
            (circuit.edges["kind"] == kind)
            & circuit.edges["source"].map(kinds).isin(["embed", "expert"])
            & circuit.edges["target"].map(kinds).isin(ends)
        ]
        for edge in mine.sample(12, random_state=1).itertuples():
            heads = open_edge(golden, circuit, edge.source, edge.target, kind=kind)
            assert heads["weight"].sum() == pytest.approx(edge.weight, rel=1e-9, abs=1e-12)
            assert heads["weight"].abs().is_monotonic_decreasing


def test_several_targets_and_any_position(golden: MonetForCausalLM) -> None:
    ids = torch.tensor([[5, 9, 77, 31, 8]])
    both = trace_circuit(golden, ids, [7, (3, 4)], position=[1, -2], nodes=50)
    assert [(one.position, one.token, one.minus) for one in both.targets] == [(1, 7, None), (3, 3, 4)]
    assert both.ids == [5, 9, 77, 31]  # nothing behind the last target
    assert both.completeness < 1e-9
    logits = golden(ids).logits[0].double()
    assert both.nodes["value"].iloc[-2:].tolist() == pytest.approx(
        [float(logits[1, 7]), float(logits[3, 3] - logits[3, 4])], abs=1e-4
    )
    only = trace_circuit(golden, ids, 7, position=1, nodes=50)
    shorter = trace_circuit(golden, ids[:, :2], 7, nodes=50)
    np.testing.assert_allclose(only.nodes["value"], shorter.nodes["value"], atol=1e-4)
    function = trace_circuit(golden, ids, lambda logits: logits[3] - logits.mean(), nodes=20)
    assert function.targets[0].token is None
    assert function.completeness < 1e-9


def test_padding_on_the_left_changes_nothing(golden: MonetForCausalLM) -> None:
    ids = torch.tensor([[5, 9, 77, 31]])
    padded = torch.cat([torch.full((1, 3), 2), ids], 1)
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1]])
    plain, other = trace_circuit(golden, ids, 7), trace_circuit(golden, padded, 7, attention_mask=mask)
    pd.testing.assert_frame_equal(plain.nodes, other.nodes)
    with pytest.raises(BadInputError, match="0 at padding on the left"):
        trace_circuit(golden, padded, 7, attention_mask=mask.flip(1))
    with pytest.raises(BadInputError, match=r"\(1, 7\), got \(1, 4\)"):
        trace_circuit(golden, padded, 7, attention_mask=mask[:, :4])


def test_an_edit_in_force_counts(golden: MonetForCausalLM) -> None:
    ids = torch.tensor([[5, 9, 77, 31]])
    best = trace_circuit(golden, ids, 7).nodes.query("kind == 'expert' and layer == 0").nlargest(1, "value").iloc[0]
    factors = torch.ones(golden.config.moe_experts, golden.config.moe_experts)
    factors.view(-1)[int(best["expert"])] = 0.0
    with golden.edit_experts({0: factors}):
        edited = trace_circuit(golden, ids, 7)
        assert edited.targets[0].logit == pytest.approx(float(golden(ids).logits[0, -1, 7]), abs=1e-5)
    assert edited.completeness < 1e-9
    with pytest.raises(NotFoundError, match=f"no expert {int(best['expert'])}"):
        edited.node(0, int(best["position"]), int(best["expert"]))


def test_an_edit_at_some_positions_counts_there(golden: MonetForCausalLM) -> None:
    ids = torch.tensor([[5, 9, 77, 31]])
    none = torch.zeros(golden.config.moe_experts, golden.config.moe_experts)
    with golden.edit_experts({0: none}, positions=[1]):
        circuit = trace_circuit(golden, ids, 7, nodes=500)
    assert circuit.completeness < 1e-9
    first = circuit.nodes[(circuit.nodes["kind"] == "expert") & (circuit.nodes["layer"] == 0)]
    assert set(first["position"]) == {0, 2, 3}


def test_influence_is_conserved_and_pruning_says_what_is_left(golden: MonetForCausalLM) -> None:
    circuit = trace_circuit(golden, torch.tensor([[5, 9, 77, 31, 8]]), nodes=100)
    kinds = circuit.nodes["kind"]
    # What flows into the target leaves the graph where nothing leads further: at embeddings and biases.
    assert circuit.nodes["influence"][kinds.isin(["embed", "bias"])].sum() == pytest.approx(1)
    pruned = circuit.prune()
    assert pruned.pruned
    assert 0.8 <= pruned.kept_nodes < 1
    assert 0 < pruned.kept_edges < 1
    assert len(pruned.edges) < len(circuit.edges)
    assert {"embed", "logit"} <= set(pruned.nodes["kind"])
    assert pruned.completeness > circuit.completeness
    leaves = set(pruned.edges.query("kind == 'value'")["source"])
    inner = pruned.nodes[~pruned.nodes["kind"].isin(["embed", "logit"])]
    assert set(inner["node"]) <= leaves  # every node leads to the target
    kept = pruned.nodes.merge(circuit.nodes, on=["kind", "layer", "position", "expert"])
    assert len(kept) == len(pruned.nodes)
    np.testing.assert_array_equal(kept["value_x"], kept["value_y"])
    everything = circuit.prune(1, 1)
    assert everything.kept_nodes == pytest.approx(1)
    assert everything.completeness < 1e-6
    with pytest.raises(BadInputError, match=r"edge_threshold must lie in 0 .. 1, got 2"):
        circuit.prune(edge_threshold=2)


def test_bad_input_is_refused_by_name(golden: MonetForCausalLM) -> None:
    ids = torch.tensor([[5, 9, 77]])
    for arguments, message in (
        ({"nodes": 0}, "at least one expert, got nodes=0"),
        ({"position": 3}, "no position 3: the prompt has 3 tokens, 0 to 2"),
        ({"position": [0, 1]}, "one position, or one for each target: got 2 for 1"),
        ({"target": []}, "got 0 for 0"),
        ({"target": 99_999}, "target 99999 lies outside the vocabulary"),
        ({"max_memory": 1000}, r"in float32 takes about 0.0 GB, and max_memory is 0.0 GB: take fewer nodes"),
    ):
        with pytest.raises(BadInputError, match=message):
            trace_circuit(golden, ids, **arguments)
    with pytest.raises(BadInputError, match="the prompt has no tokens"):
        trace_circuit(golden, ids[:, :0])
    circuit = trace_circuit(golden, ids, nodes=5)
    logit = len(circuit.nodes) - 1
    for source, target, kind, message in (
        (logit, logit, "value", "node .* is of kind logit"),
        (0, 9999, "value", "no node 9999"),
        (0, logit, "routing", "a target is not routed"),
        (0, logit, "way", "of kind 'value' or 'routing', got 'way'"),
    ):
        with pytest.raises(BadInputError, match=message):
            open_edge(golden, circuit, source, target, kind=kind)


def test_memory_is_said_before_it_is_taken(golden: MonetForCausalLM) -> None:
    small, large = (circuit_memory(golden, 10, nodes) for nodes in (10, 1000))
    assert small < large < circuit_memory(golden, 60, 1000)
