"""Supernodes: nodes of a circuit taken together, by hand or by what their experts share, as a smaller graph.

Sums are exact as the circuit is: the edges into a supernode and those inside it sum to its value, unless pruned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from ...errors import BadInputError, NotFoundError
from .circuit_result import Circuit
from .kinds import ROUTING, VALUE
from .node_names import node_name

By = Literal["row", "column", "label", "explanation"]


@dataclass(frozen=True)
class Supernodes:
    """A circuit with some of its nodes taken together.

    Attributes:
        circuit: the circuit.
        groups: name -> numbers of the nodes.
        nodes: one row per group, then one per node in no group, under a name of its own.

            - name: name of the group or node.
            - members: number of nodes.
            - value: sum of their values.
            - influence: sum of their influence; what flows through several in turn counts once for each.
            - internal: sum of the value edges between them.
        edges: one row per pair of these and kind of edge.

            - source, target: names.
            - kind: ``value`` or ``routing``.
            - weight: sum of the weights.
    """

    circuit: Circuit
    groups: dict[str, list[int]]
    nodes: pd.DataFrame
    edges: pd.DataFrame

    def rename(self, names: Mapping[str, str]) -> Supernodes:
        """The same groups under other names.

        Args:
            names: old name -> new name; two groups that get the same name become one.

        Raises:
            NotFoundError: there is no group of an old name.
            BadInputError: a new name is empty, or the name of a node.
        """
        if missing := [name for name in names if name not in self.groups]:
            raise NotFoundError(f"there is no supernode {missing[0]!r}; there are {', '.join(self.groups) or 'none'}.")
        renamed: dict[str, list[int]] = {}
        for name, members in self.groups.items():
            renamed.setdefault(names.get(name, name), []).extend(members)
        return supernodes(self.circuit, renamed)


def supernodes(circuit: Circuit, groups: Mapping[str, Sequence[int]]) -> Supernodes:
    """Take nodes of a circuit together.

    Args:
        circuit: the circuit, pruned or whole.
        groups: name -> numbers of nodes; a node is in one group at most.

    Raises:
        NotFoundError: the circuit has no node of a number.
        BadInputError: a group has no nodes or no name, a node is in two groups, or a group has the name of a node.

    Examples:
        >>> import torch
        >>> from monet_model import MonetForCausalLM
        >>> from workbench.analysis.circuits.trace import trace_circuit
        >>> from workbench.analysis.circuits.supernodes import group_by, supernodes
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> circuit = trace_circuit(model, torch.tensor([[1, 40, 50]]), nodes=32).prune()
        >>> rows = supernodes(circuit, group_by(circuit, "row"))
        >>> bool(abs(rows.nodes["value"].sum() - circuit.nodes["value"].sum()) < 1e-6)
        True
    """
    owner = np.full(len(circuit.nodes), -1)
    for number, (name, members) in enumerate(groups.items()):
        if not name.strip() or not len(members):
            raise BadInputError(f"a supernode has a name and at least one node, got {name!r} with {len(members)}.")
        for node in members:
            if not 0 <= node < len(owner):
                raise NotFoundError(f"the circuit has no node {node}; it has {len(owner):,}, counted from 0.")
            if owner[node] >= 0:
                raise BadInputError(f"node {node} is in two supernodes, or twice in one; the second is {name!r}.")
            owner[node] = number
    alone = np.flatnonzero(owner < 0)
    owner[alone] = len(groups) + np.arange(len(alone))
    names = [*groups, *(node_name(circuit, int(node)) for node in alone)]
    if taken := set(groups) & set(names[len(groups) :]):
        raise BadInputError(f"{min(taken)!r} is the name of a node; call the supernode something else.")
    source, target = owner[circuit.edges["source"]], owner[circuit.edges["target"]]
    edges = pd.DataFrame(
        {
            "source": source,
            "target": target,
            "kind": circuit.edges["kind"].astype(str),
            "weight": circuit.edges["weight"],
        }
    )
    inside = (source == target) & (edges["kind"] == VALUE).to_numpy()
    nodes = pd.DataFrame({"name": names, "members": np.bincount(owner, minlength=len(names))})
    for column in ("value", "influence"):
        nodes[column] = np.bincount(owner, circuit.nodes[column], len(names))
    nodes["internal"] = np.bincount(source[inside], edges.loc[inside, "weight"], len(names))
    between = edges[source != target].groupby(["kind", "source", "target"], as_index=False)["weight"].sum()
    between["kind"] = pd.Categorical(between["kind"], [VALUE, ROUTING])
    between = between.sort_values(["kind", "source", "target"], ignore_index=True)
    for end in ("source", "target"):
        between[end] = [names[number] for number in between[end]]
    held = {name: [int(node) for node in members] for name, members in groups.items()}
    return Supernodes(circuit, held, nodes, between[["source", "target", "kind", "weight"]])


def group_by(
    circuit: Circuit,
    by: By,
    *,
    layer_groups: Sequence[int] | None = None,
    texts: Mapping[tuple[int, int], str] | None = None,
) -> dict[str, list[int]]:
    """Groups of a circuit's experts by what they share, for ``supernodes``; other nodes stay alone.

    Args:
        circuit: the circuit, pruned or whole.
        by: ``row``: the same key of set 1; ``column``: the same key of set 2, each in one layer group; ``label`` or
            ``explanation``: the same text.
        layer_groups: the layer group of each layer, ``model.config.layer_groups``. Default: each layer is one.
        texts: for labels and explanations, (group, flat expert id) -> text; an expert without a text stays alone.

    Returns:
        name -> numbers of nodes, the group of most influence first; a group may have a single node.

    Raises:
        BadInputError: an unknown ``by``, texts missing, or ``layer_groups`` for another number of layers.
    """
    if by not in get_args(By):
        raise BadInputError(f"there are no groups by {by!r}; choose one of {', '.join(get_args(By))}.")
    known = range(circuit.layers) if layer_groups is None else layer_groups
    if len(known) != circuit.layers:
        raise BadInputError(f"layer_groups names {len(known)} layers, and the circuit's model has {circuit.layers}.")
    if by in ("label", "explanation") and texts is None:
        raise BadInputError(f"groups by {by} need the texts: (group, expert) -> text.")
    experts = circuit.nodes[circuit.nodes["kind"] == "expert"].sort_values("influence", ascending=False, kind="stable")
    found: dict[str, list[int]] = {}
    for row in experts.itertuples(index=False):
        group = known[row.layer]
        if by in ("row", "column"):
            key = row.expert // circuit.keys if by == "row" else row.expert % circuit.keys
            name = f"{by} {key} of group {group}"
        else:
            name = (texts or {}).get((group, row.expert), "")
        if name.strip():
            found.setdefault(name, []).append(int(row.node))
    weight = {name: circuit.nodes["influence"].to_numpy()[members].sum() for name, members in found.items()}
    return dict(sorted(found.items(), key=lambda item: -weight[item[0]]))
