"""Supernodes: sums of a circuit's nodes and edges, by hand and by what experts share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis.circuits.circuit_result import Circuit
from workbench.analysis.circuits.supernodes import group_by, supernodes
from workbench.analysis.circuits.trace import trace_circuit
from workbench.errors import BadInputError, NotFoundError

MODEL = Path(__file__).parents[3] / "golden" / "tiny-hd"


@pytest.fixture(scope="module")
def circuit() -> Circuit:
    model = MonetForCausalLM.from_pretrained(MODEL).eval()
    return trace_circuit(model, torch.tensor([[1, 40, 7, 40, 90]]), 5, nodes=40)


@pytest.mark.parametrize("by", ["row", "column"])
def test_sums_stay_exact(circuit: Circuit, by: str) -> None:
    """The edges into a supernode, and those inside it, sum to its value, as those of a node do."""
    groups = group_by(circuit, by, layer_groups=[0] * circuit.layers)  # type: ignore[arg-type]
    together = supernodes(circuit, groups)
    assert any(len(members) > 1 for members in groups.values())
    edges = together.edges[together.edges["kind"] == "value"]
    into = edges.groupby("target")["weight"].sum()
    for row in together.nodes.head(len(groups)).itertuples(index=False):
        members = groups[row.name]
        assert row.members == len(members)
        assert row.value == pytest.approx(circuit.nodes["value"].to_numpy()[members].sum())
        assert row.influence == pytest.approx(circuit.nodes["influence"].to_numpy()[members].sum())
        assert into.get(row.name, 0.0) + row.internal == pytest.approx(row.value, abs=1e-9)
    assert together.nodes["value"].sum() == pytest.approx(circuit.nodes["value"].sum())
    assert together.nodes["name"].is_unique


def test_weights_between_groups_by_a_plain_loop(circuit: Circuit) -> None:
    experts = np.flatnonzero(circuit.nodes["kind"] == "expert")
    groups = {"early": experts[:9].tolist(), "late": experts[-9:].tolist()}
    together = supernodes(circuit, groups)
    for kind in ("value", "routing"):
        expected = sum(
            edge.weight
            for edge in circuit.edges.itertuples()
            if edge.kind == kind and edge.source in groups["early"] and edge.target in groups["late"]
        )
        chosen = together.edges.query("source == 'early' and target == 'late' and kind == @kind")
        assert chosen["weight"].sum() == pytest.approx(expected)


def test_rows_and_columns_hold_experts_of_one_key(circuit: Circuit) -> None:
    for by, key in (("row", lambda e: e // circuit.keys), ("column", lambda e: e % circuit.keys)):
        for name, members in group_by(circuit, by).items():  # type: ignore[arg-type]
            rows = circuit.nodes.iloc[members]
            assert len(set(zip(rows["layer"], key(rows["expert"]), strict=True))) == 1
            assert name == f"{by} {key(rows['expert'].iloc[0])} of group {rows['layer'].iloc[0]}"


def test_labels_and_explanations_come_from_texts(circuit: Circuit) -> None:
    experts = circuit.nodes[circuit.nodes["kind"] == "expert"]
    some = experts.head(5)
    texts = {(0, int(expert)): "<lua>" for expert in some["expert"]}
    groups = group_by(circuit, "label", layer_groups=[0] * circuit.layers, texts=texts)
    assert list(groups) == ["<lua>"]
    held = set(zip([0] * len(experts), experts["expert"], strict=True)) & set(texts)
    assert len(groups["<lua>"]) == sum((0, expert) in held for expert in experts["expert"])
    assert group_by(circuit, "explanation", texts={}) == {}
    with pytest.raises(BadInputError, match="texts"):
        group_by(circuit, "label")
    with pytest.raises(BadInputError, match="row, column"):
        group_by(circuit, "colour")  # type: ignore[arg-type]
    with pytest.raises(BadInputError, match="names 1 layers"):
        group_by(circuit, "row", layer_groups=[0])


def test_names_can_be_changed(circuit: Circuit) -> None:
    together = supernodes(circuit, {"a": [0], "b": [1]})
    assert together.rename({"a": "first"}).groups == {"first": [0], "b": [1]}
    assert together.rename({"a": "b"}).groups == {"b": [0, 1]}
    with pytest.raises(NotFoundError, match="'c'"):
        together.rename({"c": "d"})
    with pytest.raises(BadInputError, match="name of a node"):
        together.rename({"a": "token 2"})


def test_groups_that_make_no_sense(circuit: Circuit) -> None:
    with pytest.raises(BadInputError, match="two supernodes"):
        supernodes(circuit, {"a": [0, 1], "b": [1]})
    with pytest.raises(BadInputError, match="at least one node"):
        supernodes(circuit, {"a": []})
    with pytest.raises(NotFoundError, match="no node 99999"):
        supernodes(circuit, {"a": [99999]})
