"""The influence of a circuit's nodes and edges: how much of the targets' absolute input flows through each.

Source: Ameisen et al. 2025, "Circuit Tracing" (https://transformer-circuits.pub/2025/attribution-graphs/methods.html),
graph pruning, as circuit-tracer computes it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .kinds import VALUE


def largest(values: NDArray[np.float64], fraction: float) -> NDArray[np.bool_]:
    """The fewest of the largest values that hold a fraction of their sum."""
    order = np.argsort(-values, kind="stable")
    total = np.cumsum(values[order])
    kept = np.zeros(len(values), bool)
    if len(values) and total[-1] > 0:
        kept[order[: int(np.searchsorted(total, fraction * total[-1] * (1 - 1e-12))) + 1]] = True
    return kept & (values > 0)


def node_influence(nodes: pd.DataFrame, edges: pd.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The influence of every node: how much of the targets' absolute input flows through it.

    Every node hands what flows through it to its sources, in proportion to the absolute weights of its value edges.

    Args:
        nodes, edges: as of ``Circuit``; nodes in an order in which every edge leads to a later one.
        weights: (targets,) what flows into each target, in the order of the nodes.
    """
    matrix = _normalised(nodes, edges)
    influence = np.zeros(len(nodes))
    kinds, layers = nodes["kind"].to_numpy(), nodes["layer"].to_numpy()
    is_logit = kinds == "logit"
    influence[is_logit] = weights
    stages = [is_logit] + [(layers == layer) & (kinds != "bias") for layer in sorted(set(layers[layers >= 0]))[::-1]]
    for stage in stages:  # nodes of one stage have no edges among them
        rows = np.flatnonzero(stage)
        influence += matrix[rows].T @ influence[rows]
    return influence


def edge_influence(nodes: pd.DataFrame, edges: pd.DataFrame, kind: str) -> NDArray[np.float64]:
    """Influence of every edge of a kind: its part of what flows through its target; 0 for edges of the other.

    Args:
        nodes, edges: as of ``Circuit``, influences known.
        kind: ``value`` or ``routing``.
    """
    size = np.where(edges["kind"] == kind, edges["weight"].abs(), 0.0)
    into = np.bincount(edges["target"], size, len(nodes))
    through = nodes["influence"].to_numpy() / np.where(into > 0, into, 1)
    return np.asarray(size * through[edges["target"]])


def _normalised(nodes: pd.DataFrame, edges: pd.DataFrame) -> csr_array:
    """(nodes, nodes) absolute value weights into each row's node, summing to 1."""
    chosen = edges[edges["kind"] == VALUE]
    size = chosen["weight"].abs().to_numpy()
    into = np.bincount(chosen["target"], size, len(nodes))
    ends = (chosen["target"].to_numpy(), chosen["source"].to_numpy())
    return csr_array((size / np.where(into > 0, into, 1)[ends[0]], ends), shape=(len(nodes), len(nodes)))
