"""The experts that become nodes of a circuit: those of largest value, found in one pass backward through the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from monet_model.experts.base import Pairs

    from .frozen import FrozenLayer, FrozenModel


@dataclass(frozen=True)
class Parts:
    """Parts of one layer's output, (n,) each but for the vectors: what they write, what they read, what that is worth.

    Attributes:
        position: token position.
        value: what they add to the targets along all paths.
        written: (n, hidden) what they write into the stream.
        read: (n, hidden) and ``constant``: ``read . middle + constant`` is the value, ``middle`` the stream in front of
            the experts.
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
        experts, rest: what they write and read.
        pairs: keys of the experts.
        score: (n,) their routing score, the edit's factor included.
        head: (n,) the routing head that gives most of it.
    """

    experts: Parts
    rest: Parts
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
    g, behind, chosen = direction, [], []
    for layer in reversed(frozen.layers):
        behind.append(g)
        position, expert, value = layer.contributions(g)
        best = value.abs().topk(min(nodes, len(value))).indices
        chosen.append((torch.full_like(position[best], layer.index), position[best], expert[best], value[best]))
        g = layer.back(g)
    of_layer, position, expert, value = map(torch.cat, zip(*chosen, strict=True))
    best = value.abs().topk(min(nodes, len(value))).indices
    found = []
    for layer, gradient in zip(frozen.layers, reversed(behind), strict=True):
        mine = best[of_layer[best] == layer.index]
        mine = mine[(position[mine] * layer.experts.keys**2 + expert[mine]).argsort()]
        found.append(_nodes_of(layer, gradient, position[mine], expert[mine]))
    return found, (g * frozen.embedded).sum(-1)


def _nodes_of(layer: FrozenLayer, g: Tensor, position: Tensor, expert: Tensor) -> LayerNodes:
    keys = layer.experts.keys
    pairs = (expert // keys, expert % keys)
    by_head = layer.scores(position, pairs)
    score = by_head.sum(-1)
    written = layer.outputs(position, pairs, score)
    read, constant = layer.reads(position, pairs, score, g)
    all_read, all_constant = layer.experts_back(g)
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
    return LayerNodes(experts, rest, pairs, score, by_head.abs().argmax(-1))
