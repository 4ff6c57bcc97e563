"""What the server answers about a circuit: the pruned graph, edges of a node, panels, the reaction to a change."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from workbench import open_run
from workbench.dashboard.application import create_app, draw
from workbench.dashboard.circuit.asked import Asked, read_asked
from workbench.dashboard.circuit.graph import edges_answer, graph_answer
from workbench.dashboard.circuit.listing import nodes_table
from workbench.dashboard.circuit.pinned import heads_part, pinned_part
from workbench.dashboard.circuit.reacting import changes, reaction_part
from workbench.dashboard.circuit.traced import Traced, find, heads, reaction, start
from workbench.dashboard.context import Context
from workbench.dashboard.pages import read_address
from workbench.errors import BadInputError, BusyError, NotFoundError

QUERY = {"text": "for i <b>", "nodes": "64"}


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


@pytest.fixture(scope="module")
def asked(ctx: Context) -> Asked:
    return read_asked(ctx, QUERY)


@pytest.fixture(scope="module")
def traced(ctx: Context, asked: Asked) -> Traced:
    while start(ctx, asked).running:
        time.sleep(0.05)
    return find(ctx, asked)


def _expert(traced: Traced, rank: int = 0) -> str:
    table = traced.circuit.nodes.query("kind == 'expert'").sort_values("influence", ascending=False)
    return traced.names[table["node"].iloc[rank]]


def test_a_circuit_is_traced_once(ctx: Context, asked: Asked, traced: Traced) -> None:
    assert find(ctx, read_asked(ctx, QUERY)) is traced
    assert len(traced.circuit.nodes.query("kind == 'expert'")) == 64
    assert asked.name != read_asked(ctx, QUERY | {"minus": "5"}).name


def test_names_tell_nodes_apart(traced: Traced) -> None:
    assert len(traced.numbers) == len(traced.names)
    with pytest.raises(NotFoundError, match="no node 'nowhere'"):
        traced.number("nowhere")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"at": "99"}, "no token 99"),
        ({"nodes": "0"}, "1 to 1,024"),
        ({"target": "x"}, "write a number"),
        ({"text": ""}, "empty"),
    ],
)
def test_addresses_that_name_no_circuit_are_refused(ctx: Context, wrong: dict[str, str], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read_asked(ctx, QUERY | wrong)


def test_the_graph_is_what_thresholds_keep(ctx: Context, traced: Traced) -> None:
    small, whole = graph_answer(ctx, traced, 0.5, 0.9), graph_answer(ctx, traced, 1, 1)
    assert len(small["nodes"]) < len(whole["nodes"])
    assert small["kept"]["nodes"] >= 0.5
    assert whole["kept"]["completeness"] < 1e-6
    names = [node["name"] for node in small["nodes"]]
    assert names[-1] == "logit"
    pruned = traced.circuit.prune(0.5, 0.9)
    for node, row in zip(small["nodes"], pruned.nodes.itertuples(), strict=True):
        assert (node["kind"], node["layer"], node["position"]) == (row.kind, row.layer, row.position)
    source, target, routing, weight = small["edges"][0]
    edges = traced.circuit.edges
    ends = traced.number(names[source]), traced.number(names[target])
    found = edges[(edges["source"] == ends[0]) & (edges["target"] == ends[1])]
    found = found[found["kind"] == ("routing" if routing else "value")]
    assert found["weight"].iloc[0] == pytest.approx(weight, rel=1e-3)


def test_a_node_has_all_its_edges(ctx: Context, traced: Traced) -> None:
    name = _expert(traced)
    answer = edges_answer(ctx, traced, name)
    assert answer["node"]["name"] == name
    number, edges = traced.number(name), traced.circuit.edges
    assert len(answer["edges"]) == ((edges["source"] == number) | (edges["target"] == number)).sum()
    into = sum(weight for _, away, routing, weight in answer["edges"] if not away and not routing)
    assert into == pytest.approx(traced.nodes[number].value, rel=1e-2)


def test_panels_name_sources_readers_and_heads(ctx: Context, asked: Asked, traced: Traced) -> None:
    one, other = _expert(traced), _expert(traced, 1)
    alone = str(pinned_part(ctx, traced, [one], ""))
    assert "What adds to its value" in alone
    assert "margin" in alone
    together = str(pinned_part(ctx, traced, [one, other], "both", "fold:both"))
    assert "Its nodes" in together
    assert "Unfold" in together
    found = heads(ctx, asked, "embed.0", "logit", "value")
    assert "Heads of the value edge" in str(heads_part(traced, "embed.0", "logit", "value", found))
    assert one in str(nodes_table(ctx, traced, 1, 1).to_plotly_json())


def test_ablating_an_expert_changes_the_target(ctx: Context, asked: Asked, traced: Traced) -> None:
    name = _expert(traced)
    found = reaction(ctx, asked, {name: 0.0})
    assert found.before == pytest.approx(traced.circuit.targets[0].logit, rel=1e-4)
    assert found.predicted - found.before == pytest.approx(-traced.nodes[traced.number(name)].value, rel=1e-3)
    assert changes(traced, found)[name] == pytest.approx(-traced.nodes[traced.number(name)].value, rel=1e-3)
    assert "ablated" in str(reaction_part(traced, asked, {name: 0.0}, found))
    with pytest.raises(BadInputError, match="no expert"):
        reaction(ctx, asked, {"embed.0": 0.0})


def test_an_edit_is_part_of_the_circuit(ctx: Context, traced: Traced) -> None:
    row = next(row for row in traced.nodes if row.kind == "expert")
    expert = traced.expert(row.node)
    edited = read_asked(ctx, QUERY | {"edit": f"{expert}=0", "target": str(traced.circuit.targets[0].token)})
    while start(ctx, edited).running:
        time.sleep(0.05)
    found = find(ctx, edited)
    at = found.circuit.nodes.query("kind == 'expert' and layer == @row.layer")
    assert (at.loc[at["expert"] == row.expert, "value"] == 0).all()
    assert reaction(ctx, edited, {}).before == pytest.approx(found.circuit.targets[0].logit, rel=1e-4)


def test_the_addresses_answer(run_path: Path) -> None:
    client = create_app(open_run(run_path)).server.test_client()

    def ask(path: str, **query: str) -> Any:
        return client.get(path, query_string=QUERY | query)

    while "percent" in (answer := ask("/circuit/graph")).json:
        time.sleep(0.05)
    assert answer.json["nodes"][-1]["name"] == "logit"
    assert ask("/circuit/edges/logit").json["node"]["kind"] == "logit"
    assert ask("/circuit/edges/nowhere").status_code == 404
    assert ask("/circuit/graph", keep="2").status_code == 400
    assert ask("/circuit/graph", target="99999999").json.keys() <= {"percent", "failed"}
    assert client.get("/circuit", query_string=QUERY).status_code == 200


def test_a_circuit_for_which_too_many_wait_leaves_the_form(ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BusyError("8 others wait")

    monkeypatch.setattr(ctx.computations, "start", refuse)
    drawn = draw(ctx, read_address("/circuit", "?text=never+asked+before"))
    assert drawn.status == 200
    assert "8 others wait" in str(drawn.content)
    assert "never asked before" in str(drawn.content)
