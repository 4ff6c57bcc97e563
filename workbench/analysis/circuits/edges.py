"""Edges of a circuit: what nodes read, sent backward through attention alone, times what earlier nodes write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from .frozen import FrozenModel

TEMPORARIES = 6  # arrays of a batch of readers that are in memory at once

Edges = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]  # source, target, weight


@dataclass(frozen=True)
class Sources:
    """What nodes write at one place of the stream: number of each node, its position and its vector (n, hidden)."""

    node: Tensor
    position: Tensor
    vectors: Tensor

    @cached_property
    def places(self) -> dict[int, Tensor]:
        """The places (n,) in these arrays of the nodes at each position that has some."""
        position = self.position.numpy(force=True)
        there = ((at, np.flatnonzero(position == at)) for at in np.unique(position).tolist())
        return {at: torch.from_numpy(found).to(self.node.device, non_blocking=True) for at, found in there}


@dataclass(frozen=True)
class Readers:
    """What nodes read of the stream: number of each node, its position and its vector (n, hidden).

    Attributes:
        layer: the layer in front of whose experts they read; the number of layers for the targets, which read last.
    """

    layer: int
    node: Tensor
    position: Tensor
    vectors: Tensor

    def batches(self, budget: float) -> Iterator[Readers]:
        """Parts whose gradients over all positions fit into a budget in bytes, readers of near positions together."""
        order = self.position.argsort(stable=True)
        tokens = int(self.position.max()) + 1 if len(order) else 0
        one = max(tokens, 1) * self.vectors.shape[1] * self.vectors.element_size() * TEMPORARIES
        for part in order.split(max(int(budget / one), 1)):
            if len(part):
                yield Readers(self.layer, self.node[part], self.position[part], self.vectors[part])


@torch.no_grad()
def edges_into(
    frozen: FrozenModel, readers: Readers, written: list[Sources], embedded: Sources, biases: Tensor
) -> Iterator[Edges]:
    """The edges into some readers, one array triple per place of the stream; weights of 0 are left out.

    Args:
        frozen: the model.
        readers: who reads.
        written: what the nodes of every layer write behind its experts.
        embedded: the embeddings.
        biases: (layers,) number of the node of each layer's biases, which its attention's bias belongs to.
    """
    count = len(readers.node)
    tokens = int(readers.position.max()) + 1
    g = readers.vectors.new_zeros(tokens, count, readers.vectors.shape[1])
    g[readers.position, torch.arange(count, device=g.device)] = readers.vectors
    for layer in reversed(range(min(readers.layer + 1, len(frozen.layers)))):
        if layer < readers.layer:
            yield _products(g, readers, written[layer])
        if (bias := frozen.layers[layer].attention_bias()) is not None:
            yield _listed((g.sum(0) @ bias)[:, None], readers.node, biases[layer : layer + 1])
        g = frozen.layers[layer].attention_back(g)
    yield _products(g, readers, embedded)


def _products(g: Tensor, readers: Readers, sources: Sources) -> Edges:
    """Edges from sources to readers whose gradient (tokens, readers, hidden) stands behind the sources."""
    weights = g.new_zeros(g.shape[1], len(sources.node))
    for position, at in sources.places.items():
        if position < len(g):
            weights[:, at] = g[position] @ sources.vectors[at].T
    return _listed(weights, readers.node, sources.node)


def _listed(weights: Tensor, target: Tensor, source: Tensor) -> Edges:
    row, column = weights.nonzero(as_tuple=True)
    found = source[column], target[row], weights[row, column].double()
    return found[0].numpy(force=True), found[1].numpy(force=True), found[2].numpy(force=True)
