"""Circuits as attribution graphs in JSON, which Neuronpedia and circuit-tracer's frontend show, and as networkx graphs.

A file of the schema says of a node its layer, number, position and type, and of a link its weight. What it has no field
for stands under ``monet``, in the metadata and in each node, where other readers leave it alone: routing edges, targets
and token ids, values and margins. So a file that was written here is read back whole.

Source: the JSON schema of https://github.com/hijohnnylin/neuronpedia (apps/webapp/app/api/graph), and the models of
https://github.com/safety-research/circuit-tracer (circuit_tracer/frontend).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import BadInputError, DamagedError, NotFoundError, UnsupportedError
from .kinds import KINDS, ROUTING, VALUE
from .node_names import NodeTexts, logit_text, node_text, target_text, token_text

if TYPE_CHECKING:
    from networkx import MultiDiGraph

    from .circuit_result import Circuit, CircuitTarget

FORMAT = 1  # of what stands under ``monet``
# ``feature`` is the expert's own id; from version 1 on, readers take it for a pairing of layer and id.
SCHEMA_VERSION = 0
TYPES = {
    "embed": "embedding",
    "bias": "bias",
    "expert": "expert",
    "rest": "other experts",
    "mlp": "MLP",
    "logit": "logit",
}
OF_TYPE = {name: kind for kind, name in TYPES.items()}
NO_EXPERT = {"rest": -1, "bias": -2, "mlp": -3}  # ``feature`` of nodes that are no experts
OWN = ["value", "influence", "score", "head", "margin"]  # columns that stand under a node's ``monet``


def circuit_json(
    circuit: Circuit,
    *,
    slug: str,
    model: str,
    texts: NodeTexts | None,
    pruning: tuple[float, float] | None,
    supernodes: Mapping[str, list[int]] | None,
    origin: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A circuit in the schema, as JSON types; see ``Circuit.to_json``."""
    ids = node_ids(circuit)
    share = _cumulative(circuit)
    texts = texts or NodeTexts()
    goals = iter(circuit.targets)
    nodes = []
    for row, name, held in zip(circuit.nodes.to_dict("records"), ids, share.tolist(), strict=True):
        nodes.append(_node(circuit, row, name, held, next(goals) if row["kind"] == "logit" else None, texts))
    value, routing = (_links(circuit, ids, kind) for kind in (VALUE, ROUTING))
    groups = {name: [ids[node] for node in members] for name, members in (supernodes or {}).items()}
    metadata: dict[str, Any] = {
        "slug": slug,
        "scan": model,
        "transcoder_list": [],
        "prompt_tokens": [token_text(circuit, position) for position in range(len(circuit.ids))],
        "prompt": "".join(circuit.pieces) or " ".join(map(str, circuit.ids)),
        "node_threshold": float(share.max()),
        "schema_version": SCHEMA_VERSION,
        "info": {
            "description": "Attribution graph over the experts of a Monet model: complete, without error nodes.",
            "generator": {"name": "monet-workbench", "version": version("monet-workbench")},
        },
        "monet": {
            "format": FORMAT,
            "ids": circuit.ids,
            "pieces": circuit.pieces,
            "layers": circuit.layers,
            "keys": circuit.keys,
            "targets": [_nulls(asdict(target)) for target in circuit.targets],
            "kept_nodes": circuit.kept_nodes,
            "kept_edges": circuit.kept_edges,
            "completeness": circuit.completeness,
            "target_texts": [target_text(target, texts) for target in circuit.targets],
            "origin": dict(origin or {}),
            "routing_links": routing,
        },
    }
    if pruning is not None:
        metadata["pruning_settings"] = dict(zip(("node_threshold", "edge_threshold"), pruning, strict=True))
    return {
        "metadata": metadata,
        "qParams": {
            "linkType": "both",
            "pinnedIds": [name for members in groups.values() for name in members],
            "clickedId": "",
            "supernodes": [[name, *members] for name, members in groups.items()],
            "sg_pos": "",
        },
        "nodes": nodes,
        "links": value,
    }


def circuit_fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the ``Circuit`` that a file holds, its targets as dictionaries; see ``Circuit.from_json``."""
    own = _own(content)
    try:
        number = {node["node_id"]: at for at, node in enumerate(content["nodes"])}
        rows = [_row(node) for node in content["nodes"]]
        nodes = pd.DataFrame(rows)
        nodes["kind"] = pd.Categorical(nodes["kind"], KINDS)
        nodes[["value", "influence", "score", "margin"]] = nodes[["value", "influence", "score", "margin"]].astype(
            float
        )
        nodes.insert(0, "node", np.arange(len(nodes)))
        tables = [
            _edges(links, kind, number)
            for links, kind in zip((content["links"], own["routing_links"]), (VALUE, ROUTING), strict=True)
        ]
        edges = pd.concat(tables, ignore_index=True)
        edges["kind"] = pd.Categorical(edges["kind"], [VALUE, ROUTING])
        told = {name: own[name] for name in ("ids", "layers", "keys", "kept_nodes", "kept_edges", "pieces")}
        targets = [goal | {"probability": _number(goal["probability"])} for goal in own["targets"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"the circuit is damaged ({type(error).__name__}: {error}); trace it again.") from error
    return told | {"targets": targets, "nodes": nodes, "edges": edges}


def supernode_groups(content: Mapping[str, Any]) -> dict[str, list[int]]:
    """The groups of nodes that a file holds, by name: those of ours, and those that people made in a frontend.

    Args:
        content: of the file.

    Returns:
        name -> numbers of its nodes. Of groups with one name the later ones are numbered; nodes that the file does
        not have are left out.

    Raises:
        UnsupportedError, DamagedError: as ``Circuit.from_json``.
    """
    _own(content)
    try:
        number = {node["node_id"]: at for at, node in enumerate(content["nodes"])}
        found: dict[str, list[int]] = {}
        for name, *members in content["qParams"].get("supernodes", []):
            again = 1
            while (free := name if again == 1 else f"{name} ({again})") in found:
                again += 1
            found[free] = [number[member] for member in members if member in number]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"the circuit's supernodes are damaged ({error}).") from error
    return {name: members for name, members in found.items() if members}


def read_graph(path: str | Path) -> dict[str, Any]:
    """The content of a circuit's file.

    Raises:
        NotFoundError: there is no such file.
        DamagedError: it is not JSON.
        UnsupportedError: another tool wrote it, or a later version.
    """
    file = Path(path)
    if not file.is_file():
        raise NotFoundError(f"there is no circuit at {path}; `monet trace --out` writes one.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedError(f"{path} is not JSON ({error}); trace the circuit again.") from error
    _own(content)
    return dict(content)


def circuit_graph(circuit: Circuit) -> MultiDiGraph:
    """A circuit as a networkx graph; see ``Circuit.to_networkx``."""
    from networkx import MultiDiGraph

    graph = MultiDiGraph(tokens=list(circuit.pieces), ids=list(circuit.ids), layers=circuit.layers, keys=circuit.keys)
    for row in circuit.nodes.astype({"kind": str}).to_dict("records"):
        graph.add_node(row.pop("node"), **row)
    edges = circuit.edges.astype({"kind": str}).itertuples(index=False, name=None)
    graph.add_edges_from(
        (source, target, kind, {"kind": kind, "weight": weight}) for source, target, kind, weight in edges
    )
    return graph


def node_ids(circuit: Circuit) -> list[str]:
    """What the schema calls each node: ``layer_feature_position``."""
    rows = circuit.nodes[["kind", "layer", "position", "expert"]].astype({"kind": str})
    goals = iter(_goal_features(circuit))
    names = []
    for kind, layer, position, expert in rows.itertuples(index=False, name=None):
        if kind == "embed":
            names.append(f"E_{circuit.ids[position]}_{position}")
        elif kind == "logit":
            names.append(f"{circuit.layers}_{next(goals)}_{position}")
        else:
            names.append(f"{layer}_{_feature(kind, expert)}_{max(position, 0)}")
    return names


def _goal_features(circuit: Circuit) -> list[int]:
    """A number for each target: its token where it is a logit's, and a negative one for differences and functions."""
    features: list[int] = []
    for at, goal in enumerate(circuit.targets):
        single = goal.token is not None and goal.minus is None and goal.token not in features
        features.append(goal.token if single and goal.token is not None else -1 - at)
    return features


def _feature(kind: str, expert: int) -> int:
    return NO_EXPERT.get(kind, expert)


def _node(
    circuit: Circuit, row: dict[str, Any], name: str, share: float, target: CircuitTarget | None, texts: NodeTexts
) -> dict[str, Any]:
    kind = row["kind"]
    layer, feature, position = name.split("_")
    probability = 0.0 if target is None or np.isnan(target.probability) else target.probability
    shown = node_text(circuit, row["node"], texts) if target is None else logit_text(target, texts)
    own = _nulls({column: row[column] for column in OWN})
    if label := texts.labels.get((row["layer"], row["expert"]), ""):
        own["label"] = label
    return {
        "node_id": name,
        "feature": int(position) if kind == "embed" else int(feature),
        "layer": layer,
        "ctx_idx": int(position),
        "feature_type": TYPES[kind],
        "token_prob": probability,
        "is_target_logit": target is not None,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": f"{layer}_{feature}-{0 if kind == 'expert' else position}",
        "clerp": shown,
        "influence": share if target is None else None,
        "activation": own["score"],
        "monet": own,
    }


def _row(node: Mapping[str, Any]) -> dict[str, Any]:
    kind = OF_TYPE[node["feature_type"]]
    own = node["monet"]
    return {
        "kind": kind,
        "layer": -1 if kind in ("embed", "logit") else int(node["layer"]),
        "position": -1 if kind == "bias" else int(node["ctx_idx"]),
        "expert": int(node["feature"]) if kind == "expert" else -1,
        **{column: own[column] for column in OWN},
    }


def _links(circuit: Circuit, ids: list[str], kind: str) -> list[dict[str, Any]]:
    edges = circuit.edges[circuit.edges["kind"] == kind]
    return [
        {"source": ids[source], "target": ids[target], "weight": weight}
        for source, target, weight in edges[["source", "target", "weight"]].itertuples(index=False, name=None)
    ]


def _edges(links: list[Mapping[str, Any]], kind: str, number: Mapping[str, int]) -> pd.DataFrame:
    ends = {end: np.array([number[link[end]] for link in links], np.int32) for end in ("source", "target")}
    weight = np.array([link["weight"] for link in links], np.float64)
    return pd.DataFrame({**ends, "kind": kind, "weight": weight})


def _cumulative(circuit: Circuit) -> np.ndarray:
    """What part of all influence the nodes down to each hold, the most influential first: what frontends prune by."""
    influence = np.where(circuit.nodes["kind"] == "logit", 0.0, circuit.nodes["influence"])
    order = np.argsort(-influence, kind="stable")
    share = np.empty(len(influence))
    total = influence.sum()
    share[order] = circuit.kept_nodes * np.minimum(influence[order].cumsum() / (total or 1), 1)
    return share


def _nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as JSON types; None for what is not a number."""
    return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in fields.items()}


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _own(content: Any) -> Mapping[str, Any]:
    """What stands under ``monet`` in the metadata."""
    own = content.get("metadata", {}).get("monet") if isinstance(content, Mapping) else None
    if not isinstance(own, Mapping):
        raise UnsupportedError("this is no circuit of `monet trace`: graphs of other tools lack what a circuit holds.")
    if own.get("format") != FORMAT:
        raise UnsupportedError(f"the circuit has format {own.get('format')}; this version reads {FORMAT}.")
    return own


def slug_of(name: str) -> str:
    """A name as frontends take it for a file: lower-case letters, digits and hyphens.

    Raises:
        BadInputError: nothing of it is left.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not slug:
        raise BadInputError(f"{name!r} has no letters a to z and no digits to name a graph by.")
    return slug
