"""The report of a circuit: drawn and listed, every text escaped, and files of other tools refused."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis.circuits.circuit_result import Circuit
from workbench.analysis.circuits.node_names import NodeTexts
from workbench.analysis.circuits.trace import trace_circuit
from workbench.errors import DamagedError, UnsupportedError
from workbench.report import KINDS, circuit_report, read_csv
from workbench.report.circuit import circuit_document
from workbench.report.circuit_chart import EDGES, circuit_chart
from workbench.report.files import encode

MODEL = Path(__file__).parents[2] / "golden" / "tiny-hd"
EVIL = "<script>alert(1)</script>\u202e"


@pytest.fixture(scope="module")
def whole() -> Circuit:
    model = MonetForCausalLM.from_pretrained(MODEL).eval()
    return trace_circuit(model, torch.tensor([[1, 40, 7, 40, 90]]), 5, nodes=40)


@pytest.fixture(scope="module")
def content(whole: Circuit) -> dict[str, Any]:
    circuit = whole.prune()
    first = circuit.nodes[circuit.nodes["kind"] == "expert"].iloc[0]
    place = (int(first["layer"]), int(first["expert"]))
    texts = NodeTexts(labels={place: EVIL}, explanations={place: EVIL}, tokens={5: EVIL})
    told = circuit.to_json(texts=texts, pruning=(0.8, 0.98), model=EVIL)
    read: dict[str, Any] = json.loads(json.dumps(told))
    read["metadata"]["monet"]["pieces"] = [EVIL] * 5
    return read


def test_the_model_is_named_without_its_folders(content: dict[str, Any]) -> None:
    told: dict[str, Any] = json.loads(json.dumps(content))
    hashes = {"config.json": "ab"}
    told["metadata"]["monet"].setdefault("origin", {})["model"] = {"path": "/home/ada/m", "sha256": hashes}
    document = circuit_document(told)
    assert document.content["origin"]["model"] == {"name": "m", "sha256": hashes}
    assert "/home/ada" not in encode(document, "html").decode() + encode(document, "json").decode()


def test_the_page_holds_the_circuit_and_no_markup_of_others(content: dict[str, Any], whole: Circuit) -> None:
    page = encode(circuit_document(content), "html").decode()
    HTMLParser().feed(page)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page
    assert not re.search(r'(?:src="|href="[^#])', page)
    leads_to = set(re.findall(r'href="#([^"]*)"', page))
    assert leads_to
    assert leads_to <= set(re.findall(r'<tr id="([^"]*)"', page))
    drawn = next(svg for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL) if 'role="img"' in svg)
    svg = ElementTree.fromstring(drawn)
    circuit = whole.prune()
    assert len(svg.findall(".//*[title]")) == len(circuit.nodes)
    value = int((circuit.edges["kind"] == "value").sum())
    assert len([path for path in svg.iter("path") if "edge" in path.attrib["class"]]) == min(value, EDGES)
    assert f"{100 * circuit.kept_nodes:.1f} % of the influence" in page
    assert f"{circuit.targets[0].logit:.4f}" in page


def test_the_same_file_gives_the_same_bytes_in_every_format(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "circuit.json").write_text(json.dumps(content))
    for kind in KINDS:
        for out in ("one", "two"):
            circuit_report(tmp_path / "circuit.json", kind, tmp_path / out)
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        assert (tmp_path / "one").read_bytes() == encode(circuit_document(content), kind)


def test_tables_and_json_hold_every_node(content: dict[str, Any], whole: Circuit, tmp_path: Path) -> None:
    (tmp_path / "circuit.json").write_text(json.dumps(content))
    circuit_report(tmp_path / "circuit.json", "csv", tmp_path / "nodes.csv")
    circuit_report(tmp_path / "circuit.json", "parquet", tmp_path / "nodes.parquet")
    circuit = whole.prune()
    for table in (read_csv(tmp_path / "nodes.csv"), pd.read_parquet(tmp_path / "nodes.parquet")):
        told = table.sort_values("node")
        assert told["node"].tolist() == circuit.nodes["node"].tolist()
        assert told["value"].tolist() == pytest.approx(circuit.nodes["value"].tolist())
    known = circuit_document(content).content
    assert known["targets"][0]["total"] == pytest.approx(
        circuit.edges.query("kind == 'value' and target == @circuit.nodes.index[-1]")["weight"].sum()
    )
    assert known["counts"] == {
        "nodes": len(circuit.nodes),
        "value": int((circuit.edges["kind"] == "value").sum()),
        "routing": int((circuit.edges["kind"] == "routing").sum()),
    }
    shares = [row["share"] for row in known["edges"]["value"]]
    assert all(0 < share <= 1 for share in shares)


def test_nodes_stand_at_their_tokens_and_layers(whole: Circuit) -> None:
    chart = circuit_chart(whole, [f"token {position}" for position in range(5)])
    x = {name: middle for middle, name in chart.columns}
    y = {name: middle for middle, name in chart.rows}
    assert [y[name] for _, name in chart.rows] == sorted(y.values(), reverse=True)  # the embeddings are lowest
    for mark in chart.marks:
        row = whole.nodes.iloc[mark.node]
        column = "all" if row["position"] < 0 else f"token {row['position']}"
        floor = {"embed": "embeddings", "logit": "target"}.get(row["kind"], f"layer {row['layer']}")
        assert min(x, key=lambda name: abs(x[name] - mark.x)) == column
        assert min(y, key=lambda name: abs(y[name] - mark.y)) == floor
        assert 0 < mark.x < chart.width
        assert 0 < mark.y < chart.height
    assert len({(mark.x, mark.y) for mark in chart.marks}) == len(chart.marks)
    assert {mark.node for mark in chart.marks} >= set(whole.nodes.index[whole.nodes["kind"].isin(["embed", "logit"])])


def test_files_that_hold_no_circuit_are_refused(content: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="other tools"):
        circuit_document({"metadata": {}, "nodes": [], "links": []})
    for part, value in (("origin", {"model": 3}), ("target_texts", None)):
        damaged = json.loads(json.dumps(content))
        damaged["metadata"]["monet"][part] = value
        with pytest.raises(DamagedError, match="damaged"):
            circuit_document(damaged)
