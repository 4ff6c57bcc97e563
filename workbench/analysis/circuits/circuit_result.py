"""A circuit: nodes, edges and what they mean. It knows no model and imports no torch, so that it opens quickly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import BadInputError, NotFoundError
from ..defaults import EDGE_THRESHOLD, NODE_THRESHOLD
from .graph_json import circuit_fields, circuit_graph, circuit_json
from .influence import edge_influence, largest
from .kinds import ROUTING, VALUE

if TYPE_CHECKING:
    from networkx import MultiDiGraph

    from .node_names import NodeTexts

CANCELLED = 1e-6  # of the absolute weights into a node: a sum smaller than that is 0 to rounding


@dataclass(frozen=True)
class CircuitTarget:
    """What a circuit explains: a token's logit, or the difference of two, behind a position of the prompt.

    Attributes:
        position: the position whose next token it is.
        token, minus: token ids; ``minus`` is None for a single logit, both are None for a function of the logits.
        probability: that the model gives ``token``, NaN for a function.
        logit: what the model computed: the logit, the difference, or the linearised function.
    """

    position: int
    token: int | None
    minus: int | None
    probability: float
    logit: float


@dataclass(frozen=True)
class Circuit:
    """An attribution graph over experts. Values and weights are in logits of the target; see ``trace_circuit``.

    Attributes:
        ids: token ids of the prompt up to the last position that a target reads.
        targets: what it explains.
        layers, keys: number of layers of the model, and E, its keys per set: an expert's id is ``i * E + j``.
        nodes: one row per node, ordered so that every edge leads to a later row.

            - node: number of the node, equal to the row.
            - kind: ``embed`` (a token's embedding), ``bias`` (all biases of a layer), ``expert``, ``rest`` (the other
              active experts of a layer at a position, together), ``mlp`` (the MLP of a dense layer at a position) or
              ``logit`` (a target).
            - layer: the layer; -1 for embeddings and targets.
            - position: token position in the prompt; -1 for biases, which act at every position.
            - expert: flat expert id; -1 for other kinds.
            - value: what the node adds to the targets along all paths, held parts held; of a logit the logit itself.
            - influence: the fraction of the targets' absolute input that flows through the node, 0 to 1.
            - score: routing score of an expert, the edit's factor included; NaN for other kinds.
            - head: routing head that gives most of that score; -1 for other kinds.
            - margin: by how much the expert's two raw key logits in that head exceed their thresholds, NaN likewise.
        edges: one row per pair of nodes with a weight other than 0.

            - source, target: numbers of the nodes.
            - kind: ``value``: what the source adds to the target's value, through the residual stream and attention
              alone; ``routing``: what it adds to the target's margin.
            - weight: how much, in logits of the circuit's target or of the router.
        kept_nodes, kept_edges: fraction of the influence that pruning has left, of all nodes and of all value edges.
        pieces: text of each token, where a tokenizer was given.
    """

    ids: list[int]
    targets: list[CircuitTarget]
    layers: int
    keys: int
    nodes: pd.DataFrame
    edges: pd.DataFrame
    kept_nodes: float = 1.0
    kept_edges: float = 1.0
    pieces: list[str] = field(default_factory=list)

    @property
    def pruned(self) -> bool:
        """Whether nodes or edges have been left out."""
        return self.kept_nodes < 1 or self.kept_edges < 1

    def check(self) -> pd.DataFrame:
        """How far the edges into every node are from what they should sum to.

        Returns:
            One row per node with edges, and kind of edge:

            - node, kind: the node; ``value`` or ``routing``.
            - wanted: its value, or its margin.
            - total: sum of the weights of its incoming edges of the kind.
            - error: their difference, relative to ``wanted``, or to a millionth of the sum of the absolute weights
              where that is more: a margin of 0, of a key that is its own threshold, has no relative error.
        """
        tables = []
        for kind, column in ((VALUE, "value"), (ROUTING, "margin")):
            inner = self.nodes["kind"].isin(["expert"] if kind == ROUTING else ["expert", "rest", "mlp", "logit"])
            wanted = self.nodes.loc[inner, column].to_numpy()
            edges = self.edges[self.edges["kind"] == kind]
            total, absolute = (
                np.bincount(edges["target"], weight, len(self.nodes))[inner.to_numpy()]
                for weight in (edges["weight"], edges["weight"].abs())
            )
            size = np.maximum(np.maximum(np.abs(wanted), CANCELLED * absolute), np.finfo(np.float64).tiny)
            columns = {"node": np.flatnonzero(inner), "kind": kind, "wanted": wanted, "total": total}
            tables.append(pd.DataFrame(columns | {"error": np.abs(total - wanted) / size}))
        return pd.concat(tables, ignore_index=True)

    @property
    def completeness(self) -> float:
        """The largest relative error in ``check``, over experts, MLPs and targets: rounding alone unless pruned."""
        table = self.check()
        kinds = self.nodes["kind"].to_numpy()[table["node"]]
        return float(table.loc[kinds != "rest", "error"].max())

    def node(self, layer: int, position: int, expert: int) -> int:
        """The number of an expert's node.

        Raises:
            NotFoundError: the circuit does not hold it.
        """
        rows = self.nodes
        found = rows.index[(rows["layer"] == layer) & (rows["position"] == position) & (rows["expert"] == expert)]
        if not len(found):
            raise NotFoundError(f"the circuit has no expert {expert} in layer {layer} at position {position}.")
        return int(found[0])

    def to_json(
        self,
        *,
        slug: str = "circuit",
        model: str = "monet",
        texts: NodeTexts | None = None,
        pruning: tuple[float, float] | None = None,
        supernodes: Mapping[str, list[int]] | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The circuit as an attribution graph in JSON types, in the schema that Neuronpedia and circuit-tracer read.

        Value edges are its links. Routing edges, and what else the schema has no field for, are under ``monet``.

        Args:
            slug: name of the graph.
            model: name of the model, ``scan`` in the schema.
            texts: labels and explanations of experts, and texts of target tokens.
            pruning: thresholds that ``prune`` was called with.
            supernodes: name of a group -> numbers of its nodes.
            origin: what identifies the model.
        """
        return circuit_json(
            self, slug=slug, model=model, texts=texts, pruning=pruning, supernodes=supernodes, origin=origin
        )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Circuit:
        """The circuit that ``to_json`` wrote, equal to what it was.

        Raises:
            UnsupportedError: another tool wrote the graph.
            DamagedError: parts of it are missing.
        """
        fields = circuit_fields(content)
        return cls(**fields | {"targets": [CircuitTarget(**target) for target in fields["targets"]]})

    def to_networkx(self) -> MultiDiGraph:
        """The circuit as a networkx graph: columns of the tables are attributes, and edges have their kind as key."""
        return circuit_graph(self)

    def prune(self, node_threshold: float = NODE_THRESHOLD, edge_threshold: float = EDGE_THRESHOLD) -> Circuit:
        """Keep the nodes and edges through which most of the influence flows, as circuit-tracer does.

        Nodes are taken in falling order of influence until they hold ``node_threshold`` of all of it; embeddings and
        targets stay. Then edges between them are taken in falling order of theirs, until they hold ``edge_threshold``;
        value and routing edges apart. A node that leads to no target any more goes as well.

        Args:
            node_threshold, edge_threshold: fractions, 0 to 1; 1 keeps all through which anything flows.

        Returns:
            The smaller circuit; ``kept_nodes`` and ``kept_edges`` say what fraction of the influence it holds. Values
            stay what they were, so ``completeness`` then measures what was left out.

        Raises:
            BadInputError: a threshold lies outside 0 .. 1.
        """
        for name, value in (("node_threshold", node_threshold), ("edge_threshold", edge_threshold)):
            if not 0 <= value <= 1:
                raise BadInputError(f"{name} must lie in 0 .. 1, got {value}.")
        kinds = self.nodes["kind"].to_numpy()
        influence = self.nodes["influence"].to_numpy()
        inner = ~np.isin(kinds, ["embed", "logit"])
        keep = ~inner | largest(np.where(kinds == "logit", 0, influence), node_threshold)
        shares = {kind: edge_influence(self.nodes, self.edges, kind) for kind in (VALUE, ROUTING)}
        is_value = (self.edges["kind"] == VALUE).to_numpy()
        source, target = self.edges["source"].to_numpy(), self.edges["target"].to_numpy()
        both = keep[source] & keep[target]
        used = np.zeros(len(both), bool)
        for share in shares.values():
            used |= largest(np.where(both, share, 0), edge_threshold)
        while True:  # a node without a way to a target leads nowhere
            leads = np.isin(kinds, ["embed", "logit"])
            leads[source[used & is_value]] = True
            if not (keep & ~leads).any():
                break
            keep &= leads
            used &= keep[source] & keep[target]
        total, every = influence[kinds != "logit"].sum(), shares[VALUE].sum()
        return replace(
            self._subset(keep, used),
            kept_nodes=float(influence[keep & (kinds != "logit")].sum() / total * self.kept_nodes) if total else 1.0,
            kept_edges=float(shares[VALUE][used].sum() / every * self.kept_edges) if every else 1.0,
        )

    def _subset(self, keep: NDArray[np.bool_], used: NDArray[np.bool_]) -> Circuit:
        """The circuit of some nodes and edges, numbered anew."""
        number = np.cumsum(keep) - 1
        edges = self.edges[used].reset_index(drop=True)
        for end in ("source", "target"):
            edges[end] = number[edges[end]].astype(np.int32)
        nodes = self.nodes[keep].reset_index(drop=True)
        nodes["node"] = np.arange(len(nodes))
        return replace(self, nodes=nodes, edges=edges)
