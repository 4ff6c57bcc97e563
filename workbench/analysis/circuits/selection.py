"""The nodes of a circuit, found in one pass backward: experts of largest value, the rest of their layers, and MLPs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .frozen_experts import FrozenExperts

if TYPE_CHECKING:
    from monet_model.experts.base import Pairs

    from .frozen import FrozenModel
    from .frozen_layer import FrozenLayer


@dataclass(frozen=True)
class Parts:
    """Parts of one layer's output, (n,) each but for the vectors: what they write, what they read, what that is worth.

    Attributes:
        position: token position.
        value: what they add to the targets along all paths.
        written: (n, hidden) what they write into the stream.
        read: (n, hidden) and ``constant``: ``read . middle + constant`` is the value, ``middle`` the stream in front of
            the experts or the MLP.
    """

    position: Tensor
    value: Tensor
    written: Tensor
    read: Tensor
    constant: Tensor


@dataclass(frozen=True)
class LayerNodes:
    """The nodes of one layer: chosen experts, sorted by position, then expert, and the rest at each position.

    Attributes:
        experts: what the experts write and read; none in a dense layer.
        rest: the same of the other active experts together, or of a dense layer's MLP.
        rest_kind: ``rest``, or ``mlp`` in a dense layer.
        pairs: keys of the experts.
        score: (n,) their routing score, the edit's factor included.
        head: (n,) the routing head that gives most of it.
    """

    experts: Parts
    rest: Parts
    rest_kind: str
    pairs: Pairs
    score: Tensor
    head: Tensor


@torch.no_grad()
def select_nodes(frozen: FrozenModel, direction: Tensor, nodes: int) -> tuple[list[LayerNodes], Tensor]:
    """Choose the experts of largest absolute value, over all layers and positions.

    Args:
        frozen: the model.
        direction: (tokens, hidden) what the targets read of the last residual stream.
        nodes: how many experts.

    Returns:
        The nodes of every layer, and what every embedding adds to the targets, (tokens,).
    """
    none = torch.zeros(0, dtype=torch.int64, device=direction.device)
    g, behind, chosen = direction, [], [(none, none, none, direction[:0, 0])]
    for layer in reversed(frozen.layers):
        behind.append(g)
        if isinstance(layer, FrozenExperts):
            position, expert, value = layer.contributions(g)
            best = value.abs().topk(min(nodes, len(value))).indices
            chosen.append((torch.full_like(position[best], layer.index), position[best], expert[best], value[best]))
        g = layer.back(g)
    of_layer, position, expert, value = map(torch.cat, zip(*chosen, strict=True))
    best = value.abs().topk(min(nodes, len(value))).indices
    found = []
    for layer, gradient in zip(frozen.layers, reversed(behind), strict=True):
        if not isinstance(layer, FrozenExperts):
            found.append(_mlp_of(layer, gradient))
            continue
        mine = best[of_layer[best] == layer.index]
        mine = mine[(position[mine] * layer.experts.keys**2 + expert[mine]).argsort()]
        found.append(_nodes_of(layer, gradient, position[mine], expert[mine]))
    return found, (g * frozen.embedded).sum(-1)


def _mlp_of(layer: FrozenLayer, g: Tensor) -> LayerNodes:
    """The nodes of a dense layer: its MLP at each position."""
    read, constant = layer.mlp_back(g)
    every = torch.arange(len(g), device=g.device)
    whole = Parts(every, (g * layer.written).sum(-1), layer.written, read, constant)
    none = Parts(every[:0], whole.value[:0], layer.written[:0], read[:0], constant[:0])
    return LayerNodes(none, whole, "mlp", (every[:0], every[:0]), whole.value[:0], every[:0])


def _nodes_of(layer: FrozenExperts, g: Tensor, position: Tensor, expert: Tensor) -> LayerNodes:
    keys = layer.experts.keys
    pairs = (expert // keys, expert % keys)
    by_head = layer.scores(position, pairs)
    score = by_head.sum(-1)
    written = layer.outputs(position, pairs, score)
    read, constant = layer.reads(position, pairs, score, g)
    all_read, all_constant = layer.mlp_back(g)
    rest_written = layer.written.index_add(0, position, written, alpha=-1)
    rest = Parts(
        position=torch.arange(len(g), device=g.device),
        value=(g * rest_written).sum(-1),
        written=rest_written,
        read=all_read.index_add(0, position, read, alpha=-1),
        constant=all_constant.index_add(0, position, constant, alpha=-1),
    )
    # Scores that `contributions` sums in float32 have chosen the experts; their values are summed as the edges are.
    experts = Parts(position, (g[position] * written).sum(-1), written, read, constant)
    return LayerNodes(experts, rest, "rest", pairs, score, by_head.abs().argmax(-1))
