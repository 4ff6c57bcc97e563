"""Interventions from a circuit: the real model, one expert at one position of one layer, beside what is predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import Circuit, intervene, react, trace_circuit
from workbench.errors import BadInputError

IDS = torch.tensor([[5, 9, 77, 31, 8]])
FEW = IDS % 61  # in the vocabulary of the random models


def strongest(circuit: Circuit, n: int) -> list[int]:
    experts = circuit.nodes[circuit.nodes["kind"] == "expert"]
    return experts.loc[experts["value"].abs().sort_values(ascending=False).index[:n], "node"].tolist()


def by_hand(model: MonetForCausalLM, circuit: Circuit, factors: dict[int, float], token: int) -> float:
    """The logit when single experts are scaled, their outputs taken from an edit of the whole layer group."""
    keys = model.config.moe_experts

    def hook(index: int) -> Any:
        def change(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
            x, routing, _ = args
            changed = output.clone()
            for node, factor in factors.items():
                row = circuit.nodes.iloc[node]
                if row["layer"] == index:
                    only = torch.zeros(keys, keys)
                    only.view(-1)[int(row["expert"])] = factor - 1
                    alone = module.combine(module.hidden(x), routing, only)
                    changed[:, int(row["position"])] += alone[:, int(row["position"])]
            return changed

        return change

    handles = [layer.moe.register_forward_hook(hook(index)) for index, layer in enumerate(model.model.layers)]
    try:
        with torch.no_grad():
            return float(model(IDS).logits[0, -1, token])
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_the_true_change_is_the_models_own(golden: MonetForCausalLM, factor: float) -> None:
    circuit = trace_circuit(golden, IDS, 7, nodes=60)
    nodes = strongest(circuit, 5)
    groups = [[node] for node in nodes] + [nodes]
    table = intervene(golden, circuit, groups, factor=factor)
    for group, row in zip(groups, table.itertuples(), strict=True):
        wanted = by_hand(golden, circuit, dict.fromkeys(group, factor), 7) - circuit.targets[0].logit
        assert row.actual == pytest.approx(wanted, abs=1e-5)
    values = circuit.nodes["value"].to_numpy()
    np.testing.assert_allclose(table["predicted"][:5], (factor - 1) * values[nodes], atol=1e-9)
    assert table["nodes"].tolist() == [1] * 5 + [5]


def test_a_small_change_of_the_last_layer_is_predicted_but_for_the_norm(golden: MonetForCausalLM) -> None:
    """Behind the last layer only the final norm is held: for a contrast, little can go wrong."""
    circuit = trace_circuit(golden, IDS, (7, 8), nodes=200)
    rows = circuit.nodes[circuit.nodes["layer"] == golden.config.num_hidden_layers - 1]
    nodes = rows[(rows["kind"] == "expert") & (rows["position"] == 4)].nlargest(3, "value")["node"]
    table = intervene(golden, circuit, [[node] for node in nodes], factor=0.999)
    scale = abs(circuit.targets[0].logit)
    assert (table["predicted"] - table["actual"]).abs().max() < 1e-3 * max(scale, 1)
    assert (table["routing_changed"] == 0).all()


def test_a_group_is_predicted_by_the_affine_model_not_by_adding_values(golden: MonetForCausalLM) -> None:
    """What one node passes to another is removed once, not twice: together they change less than their values' sum."""
    circuit = trace_circuit(golden, IDS, 7, nodes=300)
    edges = circuit.edges[circuit.edges["kind"] == "value"]
    kinds, layers = circuit.nodes["kind"].astype(str), circuit.nodes["layer"]
    both = edges[edges["source"].map(kinds).eq("expert") & edges["target"].map(kinds).eq("expert")]
    both = both[both["target"].map(layers) - both["source"].map(layers) == 1]  # no other expert is between the two
    edge = both.loc[both["weight"].abs().idxmax()]
    pair = [int(edge["source"]), int(edge["target"])]
    predicted = intervene(golden, circuit, [pair])["predicted"][0]
    values = circuit.nodes["value"].to_numpy()
    # The source's own way to the target goes with the target itself.
    assert predicted == pytest.approx(-(values[pair].sum() - edge["weight"]), abs=1e-6)


def test_reactions_of_the_other_nodes(golden: MonetForCausalLM) -> None:
    circuit = trace_circuit(golden, IDS, 7, nodes=60)
    unchanged = react(golden, circuit, {strongest(circuit, 1)[0]: 1.0})
    assert unchanged.after == pytest.approx(unchanged.before, abs=1e-6)
    np.testing.assert_allclose(unchanged.nodes["after"], unchanged.nodes["before"], atol=1e-5)
    assert (unchanged.routing_changed, unchanged.attention_moved) == (0, pytest.approx(0, abs=1e-6))
    early = circuit.nodes.query("kind == 'expert' and layer == 0").nlargest(1, "influence")["node"].iloc[0]
    reaction = react(golden, circuit, {int(early): 0.0})
    after = reaction.nodes.set_index("node")["after"]
    assert after[early] == 0
    same = circuit.nodes.query("kind == 'expert' and layer == 0 and node != @early")["node"]
    np.testing.assert_allclose(after[same], circuit.nodes["value"][same], atol=1e-5)  # no layer reads itself
    assert (after - circuit.nodes["value"]).abs().max() > 1e-4
    assert reaction.after == pytest.approx(by_hand(golden, circuit, {int(early): 0.0}, 7), abs=1e-5)
    assert reaction.next_tokens["token"].is_unique


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_mlps_of_dense_layers_are_scaled_like_experts(mixed: MonetForCausalLM, factor: float) -> None:
    circuit = trace_circuit(mixed, FEW, 7, nodes=60)
    nodes = [int(node) for node in circuit.nodes.query("kind == 'mlp' and position in [1, 4]")["node"]]
    table = intervene(mixed, circuit, [[node] for node in nodes], factor=factor)
    for node, row in zip(nodes, table.itertuples(), strict=True):
        layer, position = int(circuit.nodes["layer"][node]), int(circuit.nodes["position"][node])

        def scale(module: Any, args: Any, output: torch.Tensor, position: int = position) -> torch.Tensor:
            return output.index_put((torch.tensor([0]), torch.tensor([position])), output[:, position] * factor)

        hook = mixed.model.layers[layer].mlp.register_forward_hook(scale)
        with torch.no_grad():
            wanted = float(mixed(FEW).logits[0, -1, 7]) - circuit.targets[0].logit
        hook.remove()
        assert row.actual == pytest.approx(wanted, abs=1e-5)
        assert row.predicted == pytest.approx((factor - 1) * circuit.nodes["value"][node], abs=1e-9)
    early = nodes[0]
    reaction = react(mixed, circuit, {early: factor})
    after = reaction.nodes.set_index("node")["after"]
    assert after[early] == pytest.approx(factor * circuit.nodes["value"][early], abs=1e-5)
    assert set(circuit.nodes["node"][circuit.nodes["kind"].isin(["expert", "mlp"])]) == set(after.index)
    unchanged = react(mixed, circuit, {early: 1.0})
    np.testing.assert_allclose(unchanged.nodes["after"], unchanged.nodes["before"], atol=1e-5)


def test_a_group_of_mlp_and_expert_is_predicted_by_the_affine_model(mixed: MonetForCausalLM) -> None:
    """As of two experts: what one passes to the other is removed once."""
    circuit = trace_circuit(mixed, FEW, 7, nodes=300)
    edges = circuit.edges[circuit.edges["kind"] == "value"]
    kinds, layers = circuit.nodes["kind"].astype(str), circuit.nodes["layer"]
    ends = edges["source"].map(kinds), edges["target"].map(kinds)
    apart = edges["target"].map(layers) - edges["source"].map(layers) == 1
    for first, second in (("mlp", "expert"), ("expert", "mlp")):
        both = edges[ends[0].eq(first) & ends[1].eq(second) & apart]
        edge = both.loc[both["weight"].abs().idxmax()]
        pair = [int(edge["source"]), int(edge["target"])]
        predicted = intervene(mixed, circuit, [pair])["predicted"][0]
        values = circuit.nodes["value"].to_numpy()
        assert predicted == pytest.approx(-(values[pair].sum() - edge["weight"]), abs=1e-6)


def test_wrong_nodes_and_another_model_are_refused(golden: MonetForCausalLM, make_model: Any) -> None:
    circuit = trace_circuit(golden, IDS, 7, nodes=5)
    with pytest.raises(BadInputError, match=r"node 0 of the circuit is no expert"):
        intervene(golden, circuit, [[0]])
    with pytest.raises(BadInputError, match=r"node 999 of the circuit is no expert"):
        react(golden, circuit, {999: 0.0})
    function = trace_circuit(golden, IDS, lambda logits: logits[3], nodes=5)
    with pytest.raises(BadInputError, match="explains a function of the logits"):
        intervene(golden, function, [strongest(function, 1)])
    factors = torch.zeros(golden.config.moe_experts, golden.config.moe_experts)
    with golden.edit_experts({0: factors}), pytest.raises(BadInputError, match="under another edit"):
        intervene(golden, circuit, [strongest(circuit, 1)])
