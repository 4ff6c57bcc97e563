"""Circuits as files: readers of attribution graphs take them, and they come back whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from jsonschema import Draft202012Validator

from monet_model import MonetForCausalLM
from workbench.analysis.circuits.circuit_result import Circuit
from workbench.analysis.circuits.graph_json import read_graph, slug_of, supernode_groups
from workbench.analysis.circuits.node_names import NodeTexts
from workbench.analysis.circuits.trace import trace_circuit
from workbench.errors import BadInputError, DamagedError, NotFoundError, UnsupportedError

GOLDEN = Path(__file__).parents[3] / "golden"
SCHEMA = Draft202012Validator(json.loads(Path(__file__).with_name("attribution_graph.schema.json").read_text()))
IDS = torch.tensor([[1, 40, 7, 40, 90]])


@pytest.fixture(scope="module", params=["tiny-hd", "tiny-vd"])
def model(request: pytest.FixtureRequest) -> MonetForCausalLM:
    return MonetForCausalLM.from_pretrained(GOLDEN / request.param).eval()


@pytest.fixture(scope="module")
def circuit(model: MonetForCausalLM) -> Circuit:
    return trace_circuit(model, IDS, 5, nodes=24)


def through_a_file(content: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    return read


def assert_same(read: Circuit, wanted: Circuit) -> None:
    pd.testing.assert_frame_equal(read.nodes, wanted.nodes, check_exact=True)
    pd.testing.assert_frame_equal(read.edges, wanted.edges, check_exact=True)
    for name in ("ids", "layers", "keys", "kept_nodes", "kept_edges", "pieces"):
        assert getattr(read, name) == getattr(wanted, name), name
    np.testing.assert_equal([vars(one) for one in read.targets], [vars(one) for one in wanted.targets])


def test_a_file_is_read_back_whole(circuit: Circuit) -> None:
    for wanted in (circuit, circuit.prune(), circuit.prune(0.3, 0.3)):
        content = through_a_file(wanted.to_json(pruning=(0.8, 0.98)))
        SCHEMA.validate(content)
        assert_same(Circuit.from_json(content), wanted)


def test_mlps_of_dense_layers_go_out_and_come_back(mixed: MonetForCausalLM) -> None:
    wanted = trace_circuit(mixed, IDS % 61, 5, nodes=24)
    content = through_a_file(wanted.to_json())
    SCHEMA.validate(content)
    assert_same(Circuit.from_json(content), wanted)
    mlps = [node for node in content["nodes"] if node["feature_type"] == "MLP"]
    assert [node["node_id"] for node in mlps] == [
        f"{layer}_-3_{position}" for layer in mixed.config.dense_layers for position in range(5)
    ]
    assert mlps[6]["clerp"] == f"MLP of layer {mixed.config.dense_layers[1]} at 1"


def test_several_targets_differences_and_functions(model: MonetForCausalLM) -> None:
    goals: list[Any] = [5, (5, 6), 5, lambda logits: logits.logsumexp(0)]
    several = trace_circuit(model, IDS, goals, nodes=8, position=[4, 4, 2, 3])
    content = through_a_file(several.to_json())
    SCHEMA.validate(content)
    assert_same(Circuit.from_json(content), several)
    names = [node["node_id"] for node in content["nodes"]]
    assert len(set(names)) == len(names)
    told = [node["clerp"] for node in content["nodes"] if node["feature_type"] == "logit"]
    assert told[1].startswith('Output "#5 - #6" (p=0.')
    assert told[3] == 'Output "function of the logits" (p=nan)'


def test_links_are_the_value_edges_and_name_nodes(circuit: Circuit) -> None:
    content = circuit.to_json()
    names = [node["node_id"] for node in content["nodes"]]
    value = circuit.edges[circuit.edges["kind"] == "value"]
    assert [link["source"] for link in content["links"]] == [names[source] for source in value["source"]]
    assert [link["target"] for link in content["links"]] == [names[target] for target in value["target"]]
    assert [link["weight"] for link in content["links"]] == value["weight"].tolist()
    assert len(content["metadata"]["monet"]["routing_links"]) == len(circuit.edges) - len(value)


def test_nodes_are_named_by_layer_expert_and_position(circuit: Circuit) -> None:
    content = circuit.to_json()
    for row, node in zip(circuit.nodes.itertuples(index=False), content["nodes"], strict=True):
        if row.kind == "expert":
            assert node["node_id"] == f"{row.layer}_{row.expert}_{row.position}"
            assert (node["feature"], node["layer"], node["ctx_idx"]) == (row.expert, str(row.layer), row.position)
            assert node["activation"] == row.score
        if row.kind == "embed":
            assert node["node_id"] == f"E_{circuit.ids[row.position]}_{row.position}"
        if row.kind == "logit":
            assert node["node_id"] == f"{circuit.layers}_5_4"
            assert node["is_target_logit"]
            assert node["token_prob"] == circuit.targets[0].probability
    assert {node["feature_type"] for node in content["nodes"]} == {
        "embedding", "bias", "expert", "other experts", "logit"
    }  # fmt: skip


def test_influence_is_what_frontends_prune_by(circuit: Circuit) -> None:
    """A frontend that hides nodes above a threshold shows those that hold that share of the influence."""
    content = circuit.to_json()
    inner = [node for node in content["nodes"] if node["feature_type"] != "logit"]
    own = np.array([node["monet"]["influence"] for node in inner])
    share = np.array([node["influence"] for node in inner])
    for threshold in (0.3, 0.6, 0.9):
        shown = share <= threshold
        assert own[shown].sum() / own.sum() <= threshold
        assert own[shown].min() >= own[~shown].max()
    assert share.max() == content["metadata"]["node_threshold"] == pytest.approx(1)
    pruned = circuit.prune(0.6).to_json()
    shares = [node["influence"] for node in pruned["nodes"] if node["influence"] is not None]
    assert max(shares) == pruned["metadata"]["node_threshold"] == pytest.approx(circuit.prune(0.6).kept_nodes)


def test_texts_become_clerps(circuit: Circuit) -> None:
    first, second = circuit.nodes[circuit.nodes["kind"] == "expert"].head(2).itertuples(index=False)
    texts = NodeTexts(
        labels={(first.layer, first.expert): "<b>lua</b>"},
        explanations={(first.layer, first.expert): "ends", (second.layer, second.expert): "braces"},
        tokens={5: ' "x'},
    )
    nodes = circuit.to_json(texts=texts)["nodes"]
    assert (nodes[first.node]["clerp"], nodes[first.node]["monet"]["label"]) == ("<b>lua</b>: ends", "<b>lua</b>")
    assert nodes[second.node]["clerp"] == "braces"
    assert nodes[-1]["clerp"].startswith('Output " "x" (p=')


def test_supernodes_go_out_and_come_back(circuit: Circuit) -> None:
    groups = {"start": [0, 1], "an expert": [int(circuit.nodes.index[circuit.nodes["kind"] == "expert"][0])]}
    content = through_a_file(circuit.to_json(supernodes=groups))
    SCHEMA.validate(content)
    assert content["qParams"]["supernodes"][0] == ["start", "E_1_0", "E_40_1"]
    assert supernode_groups(content) == groups
    content["qParams"]["supernodes"] += [["start", "E_40_3", "gone"], ["empty"]]  # as a person left them
    assert supernode_groups(content) == {**groups, "start (2)": [3]}


def test_other_files_are_refused_by_name(circuit: Circuit, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no circuit at"):
        read_graph(tmp_path / "none.json")
    for text, error in (("{", DamagedError), ("[]", UnsupportedError), ('{"metadata": {}}', UnsupportedError)):
        (tmp_path / "graph.json").write_text(text)
        with pytest.raises(error):
            read_graph(tmp_path / "graph.json")
    content = circuit.to_json()
    content["metadata"]["monet"]["format"] = 99
    with pytest.raises(UnsupportedError, match="99"):
        Circuit.from_json(content)
    for part in ("nodes", "links"):
        content = through_a_file(circuit.to_json())
        del content[part][0]["feature_type" if part == "nodes" else "weight"]
        with pytest.raises(DamagedError, match="damaged"):
            Circuit.from_json(content)


def test_slugs() -> None:
    assert slug_of("My Graph_1.json") == "my-graph-1-json"
    with pytest.raises(BadInputError):
        slug_of("***")


def test_networkx_holds_both_kinds_of_edges(circuit: Circuit) -> None:
    graph = circuit.to_networkx()
    assert graph.number_of_nodes() == len(circuit.nodes)
    assert graph.number_of_edges() == len(circuit.edges)
    last = len(circuit.nodes) - 1
    total = sum(weight for _, _, weight in graph.in_edges(last, data="weight"))
    assert total == pytest.approx(circuit.targets[0].logit)
    assert graph.nodes[last]["kind"] == "logit"
    source, target, kind, held = next(iter(graph.edges(keys=True, data=True)))
    assert held["kind"] == kind
    assert graph.edges[source, target, kind]["weight"] == held["weight"]
