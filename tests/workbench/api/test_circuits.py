"""Circuits over HTTP are those of the package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from workbench import Run
from workbench.analysis.circuits.trace import trace_circuit
from workbench.analysis.run_model import load_run_model, run_tokenizer
from workbench.client import ApiError, Client

TEXT = "def add(a, b):"


def test_a_circuit(client: Client, run: Run) -> None:
    tokenizer = run_tokenizer(run)
    ids = tokenizer(TEXT)["input_ids"]
    a, b = (tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in "ab")
    told = client.circuit(TEXT, target="a", minus="b", position=3, nodes=16, edges=5)
    whole = trace_circuit(load_run_model(run), torch.tensor([ids]), (a, b), nodes=16, position=3, tokenizer=tokenizer)
    known = whole.prune()
    assert (told.target, told.minus, told.position, told.target_text) == (a, b, 3, "a - b")
    assert told.tokens == known.pieces
    assert told.logit == pytest.approx(known.targets[0].logit)
    assert (told.kept_nodes, told.kept_edges) == (known.kept_nodes, known.kept_edges)
    assert told.completeness == whole.completeness
    for column in known.nodes.columns:
        np.testing.assert_array_equal(told.nodes[column].to_numpy(), known.nodes[column].to_numpy())
    assert told.total_edges == len(known.edges)
    for kind in ("value", "routing"):
        largest = known.edges[known.edges["kind"] == kind]["weight"].abs().nlargest(5)
        shown = told.edges[told.edges["kind"] == kind]["weight"].abs()
        assert shown.tolist() == largest.tolist()


def test_an_edit_and_everything_kept(client: Client) -> None:
    whole = client.circuit(TEXT, target="a", nodes=16, node_threshold=1, edge_threshold=1)
    assert (whole.kept_nodes, whole.kept_edges) == (1, 1)
    experts = whole.nodes[whole.nodes["kind"] == "expert"]
    strongest = experts.loc[experts["value"].abs().idxmax()]
    edit = f"{strongest['group']}:{strongest['expert']}=0"
    assert client.circuit(TEXT, target="a", nodes=16, edit=edit).logit != pytest.approx(whole.logit, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"nodes": 257}, "nodes"),
        ({"nodes": 0}, "nodes"),
        ({"node_threshold": 1.5}, "node_threshold"),
        ({"edges": 1001}, "edges"),
        ({"position": 99}, "no position 99"),
        ({"minus": "a"}, "name the target too"),
        ({"target": "#99999"}, "99999"),
    ],
)
def test_what_cannot_be_traced_is_said(client: Client, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ApiError, match=said) as error:
        client.circuit("a", **settings)
    assert error.value.status == 400
