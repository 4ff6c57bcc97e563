"""The report of a circuit: drawn, its nodes and strongest edges in tables, what pruning kept, and what it is of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..analysis.circuits.circuit_result import Circuit
from ..analysis.circuits.graph_json import read_graph
from ..analysis.circuits.kinds import ROUTING, VALUE
from ..analysis.circuits.node_names import node_name, token_text
from ..errors import DamagedError
from ..store.token_text import visible
from ..store.transcoded import TRANSCODED, Transcoded
from .circuit_chart import Chart, circuit_chart, shape
from .files import Document, encode, plain, records, save
from .kinds import check_kind
from .origin import public_name

NODES, EDGES = 100, 50  # rows of the tables on the page


def circuit_document(content: Mapping[str, Any]) -> Document:
    """The report of a circuit's file, before it is written in a format.

    Raises:
        UnsupportedError, DamagedError: as ``Circuit.from_json``.
    """
    circuit = Circuit.from_json(content)
    nodes = _nodes(circuit, content)
    try:
        origin = _origin(content, nodes)
        targets = _targets(circuit, content)
        pruning = {name: float(at) for name, at in content["metadata"].get("pruning_settings", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"the circuit's metadata is damaged ({error}); trace it again.") from error
    before = origin.pop("completeness")
    tokens = [token_text(circuit, position) for position in range(len(circuit.ids))]
    report: dict[str, Any] = {
        "report": "circuit",
        "origin": origin,
        "tokens": tokens,
        "targets": targets,
        "counts": {"nodes": len(nodes), "value": int((circuit.edges["kind"] == VALUE).sum())},
        "kept": {"nodes": circuit.kept_nodes, "edges": circuit.kept_edges},
        "thresholds": pruning,
        "completeness": {"before": before, "now": plain(circuit.completeness)},
        "nodes": records(nodes),
        "edges": {kind: records(_edges(circuit, nodes, kind)) for kind in (VALUE, ROUTING)},
        "chart": _chart(circuit_chart(circuit, [visible(token) for token in tokens]), nodes),
        "rows": {"nodes": NODES, "edges": EDGES},
    }
    report["counts"]["routing"] = len(circuit.edges) - report["counts"]["value"]
    table = nodes.drop(columns="node")
    table.insert(0, "node", nodes["node"])
    table.insert(0, "model", origin["run"])
    return Document("circuit.html.j2", report, table)


def circuit_report(circuit: str | Path, kind: str, out: str | Path) -> None:
    """Write the report of a circuit.

    Args:
        circuit: file that `monet trace --out` or ``Circuit.to_json`` wrote.
        kind: ``html`` (one page), ``json`` (the same as data), ``csv`` or ``parquet`` (one row per node; Parquet's
            metadata holds the rest under ``monet.report``).
        out: the file; an existing one is replaced.

    Raises:
        NotFoundError: there is no such file, or no folder for ``out``.
        UnsupportedError: another tool wrote the graph.
        DamagedError: it cannot be read.
        BadInputError: the format is unknown, or ``out`` cannot be written.
    """
    check_kind(kind)
    save(encode(circuit_document(read_graph(circuit)), kind), out)


def _nodes(circuit: Circuit, content: Mapping[str, Any]) -> pd.DataFrame:
    """The nodes with a name, a token, a label and an explanation, the most influential first."""
    nodes = circuit.nodes.astype({"kind": str})
    nodes["name"] = [node_name(circuit, node) for node in nodes["node"]]
    nodes["token"] = [token_text(circuit, at) if at >= 0 else "" for at in nodes["position"]]
    nodes["label"] = [str(node["monet"].get("label", "")) for node in content["nodes"]]
    nodes["explanation"] = [
        str(node["clerp"]).removeprefix(label).removeprefix(": ") if kind == "expert" and node["clerp"] != name else ""
        for node, kind, name, label in zip(content["nodes"], nodes["kind"], nodes["name"], nodes["label"], strict=True)
    ]
    return nodes.sort_values("influence", ascending=False, kind="stable", ignore_index=True)


def _edges(circuit: Circuit, nodes: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The strongest edges of a kind: names of their ends, weight, and its part of all that enters the target."""
    names = nodes.set_index("node")["name"]
    edges = circuit.edges[circuit.edges["kind"] == kind]
    size = edges["weight"].abs()
    into = np.bincount(edges["target"], size, len(nodes))
    edges = edges.assign(share=size / into[edges["target"]]).loc[size.nlargest(EDGES).index]
    ends = {end: names[edges[end]].to_numpy() for end in ("source", "target")}
    return pd.DataFrame({**ends, "weight": edges["weight"].to_numpy(), "share": edges["share"].to_numpy()})


def _targets(circuit: Circuit, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the circuit explains, and what the edges into each target sum to."""
    texts = content["metadata"]["monet"]["target_texts"]
    check = circuit.check()
    into = check[(circuit.nodes["kind"].to_numpy()[check["node"]] == "logit") & (check["kind"] == VALUE)]
    return [
        {
            "text": str(text),
            "position": target.position,
            "difference": target.minus is not None,
            "logit": plain(target.logit),
            "probability": plain(target.probability),
            "total": total,
        }
        for target, text, total in zip(circuit.targets, texts, into["total"].tolist(), strict=True)
    ]


def _origin(content: Mapping[str, Any], nodes: pd.DataFrame) -> dict[str, Any]:
    metadata = content["metadata"]
    known = metadata["monet"]["origin"]
    model = known.get("model") or {"path": metadata["scan"], "sha256": {}}
    written = metadata["info"]["generator"]
    counts = nodes.loc[nodes["label"] != "", "label"].value_counts(sort=False)
    edit, transcoded = known.get("edit"), Transcoded.of_entry(model)
    return {
        "run": str(metadata["scan"]),
        "prompt": str(metadata["prompt"]),
        "model": {
            "name": public_name(str(model["path"])),
            "sha256": {str(name): str(digest) for name, digest in model["sha256"].items()},
            **({} if transcoded is None else {TRANSCODED: transcoded.to_entry()}),
        },
        "edit": None if edit is None else {"identity": str(edit["identity"]), "experts": int(edit["experts"])},
        "versions": {
            str(name): str(at) for name, at in known.get("versions", {written["name"]: written["version"]}).items()
        },
        "labels": {str(label): int(count) for label, count in sorted(counts.items())},
        "completeness": plain(known.get("completeness")),
    }


def _chart(chart: Chart, nodes: pd.DataFrame) -> dict[str, Any]:
    """The chart as JSON types, with what each node is."""
    told = nodes.set_index("node")
    marks = []
    for mark in chart.marks:
        row = told.loc[mark.node]
        marks.append({"node": mark.node, "kind": row["kind"], "label": row["label"], "shape": shape(row["kind"], mark)})
    return {
        "width": chart.width,
        "height": chart.height,
        "columns": [{"x": x, "name": name} for x, name in chart.columns],
        "rows": [{"y": y, "name": name} for y, name in chart.rows],
        "marks": marks,
        "lines": [vars(line) for line in chart.lines],
    }
