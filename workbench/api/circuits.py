"""Circuits: the experts behind a token, at every position and layer, and the edges between them."""

from __future__ import annotations

from typing import Literal

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from ..analysis.circuits.kinds import ROUTING, VALUE
from ..analysis.defaults import EDGE_THRESHOLD, NODE_THRESHOLD
from ..analysis.edited import model_edit
from ..report.files import plain, records
from .models import MOST_ROWS, Answer, Limit, Number, TargetBody, reply
from .reading import experts_of, read_edit, read_unedited, tokenise
from .source import Source

MOST_NODES = 256  # experts of an answer's circuit before it is pruned
MEMORY = 1e9  # bytes that an answer's circuit may take


class CircuitBody(TargetBody):
    """A prompt, the next token that is explained, and how large its circuit is."""

    nodes: int = Field(128, ge=1, le=MOST_NODES, description="experts that become nodes of their own")
    node_threshold: float = Field(NODE_THRESHOLD, ge=0, le=1, description="influence that the kept nodes hold")
    edge_threshold: float = Field(EDGE_THRESHOLD, ge=0, le=1, description="influence that the kept edges hold")
    edges: Limit = Field(MOST_ROWS, description="edges of each kind to return, the strongest ones")


class CircuitNode(Answer):
    """A node; ``layer``, ``position`` and ``expert`` are -1 where it has none, ``score`` and ``margin`` null."""

    node: int
    kind: Literal["embed", "bias", "expert", "rest", "mlp", "logit"]
    layer: int
    group: int
    position: int
    expert: int
    value: float
    influence: float
    score: Number
    head: int
    margin: Number
    label: str


class CircuitEdge(Answer):
    """An edge: what its source adds to the value of its target, or to the margin by which that was routed to."""

    source: int
    target: int
    kind: Literal["value", "routing"]
    weight: float


class CircuitAnswer(Answer):
    """A pruned circuit; ``tokens`` has the start-of-text token where there is one, and positions count it."""

    tokens: list[str]
    position: int
    target: int
    target_text: str
    minus: int | None
    probability: Number
    logit: float
    completeness: Number = Field(description="largest relative error of a sum of edges before pruning")
    kept_nodes: float
    kept_edges: float
    total_edges: int
    nodes: list[CircuitNode]
    edges: list[CircuitEdge]


def register(api: APIBlueprint, source: Source) -> None:
    """``POST /circuit``."""

    @api.post("/circuit", responses={200: CircuitAnswer})
    def trace_token(body: CircuitBody) -> Response:
        """The circuit behind a text's next token, pruned: its experts at every layer and token, and their edges."""
        from ..analysis.circuits.node_names import target_text
        from ..analysis.circuits.text import read_target
        from ..analysis.circuits.trace import trace_circuit
        from ..report.circuit_texts import circuit_texts

        prompt = tokenise(source, body.text)
        wanted = read_target(prompt.tokenizer, body.target, body.minus)
        read, model = read_edit(source, body.edit), source.model()
        before = read_unedited(source, prompt) if read.reads_prompt else None
        with model.edit_experts(model_edit(read, experts_of(source, read, before), model, prompt) if read else {}):
            whole = trace_circuit(
                model,
                prompt.input_ids,
                wanted,
                nodes=body.nodes,
                position=-1 if body.position is None else body.position,
                tokenizer=prompt.tokenizer,
                max_memory=MEMORY,
            )
        circuit = whole.prune(body.node_threshold, body.edge_threshold)
        goal = circuit.targets[0]
        assert goal.token is not None
        named = [goal.token] if goal.minus is None else [goal.token, goal.minus]
        texts = circuit_texts(source.run, circuit, {token: prompt.token_text(token) for token in named})
        nodes = circuit.nodes.astype({"kind": str})
        groups = [*model.config.layer_groups, -1]  # of a node in no layer
        nodes["group"] = [groups[layer] for layer in nodes["layer"]]
        nodes["label"] = [texts.labels.get(place, "") for place in zip(nodes["layer"], nodes["expert"], strict=True)]
        edges = circuit.edges.astype({"kind": str})
        strongest = edges.sort_values("weight", key=abs, ascending=False, kind="stable")
        shown = [row for kind in (VALUE, ROUTING) for row in records(strongest.query("kind == @kind").head(body.edges))]
        return reply(
            CircuitAnswer(
                tokens=circuit.pieces,
                position=goal.position,
                target=goal.token,
                target_text=target_text(goal, texts),
                minus=goal.minus,
                probability=plain(goal.probability),
                logit=goal.logit,
                completeness=plain(whole.completeness),
                kept_nodes=circuit.kept_nodes,
                kept_edges=circuit.kept_edges,
                total_edges=len(edges),
                nodes=[CircuitNode(**row) for row in records(nodes)],
                edges=[CircuitEdge(**row) for row in shown],
            )
        )
