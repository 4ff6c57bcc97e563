"""Bringing keys that no token uses back into play while a router is trained on small batches.

A key that is never active gets no gradient: its probability is exactly 0 and stays so. On the paper's batches of
two million tokens every key is active somewhere; on a few thousand, some drift below the threshold for good. Like the
dead latents of a sparse autoencoder or the entries of a codebook, they are set beside keys in use and learn to differ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .modeling import MonetForCausalLM, MonetOutput

RARE = 0.01  # of the mean use of a head's keys
NOISE = 0.3  # of the root mean square of the copied weights


class KeyUse:
    """How many tokens each key of each router was active at: layer -> (2, heads, keys)."""

    def __init__(self, model: MonetForCausalLM) -> None:
        shape = 2, model.config.moe_heads, model.config.moe_experts
        self.counts = {group.start: torch.zeros(shape) for group in model.config.routing_groups}

    def add(self, out: MonetOutput) -> None:
        """Count a batch, from an output with ``router_probs``."""
        assert out.router_probs is not None
        for layer, count in self.counts.items():
            g = out.router_probs[layer]
            assert g is not None
            count += torch.stack([(side.detach() > 0).flatten(0, -3).sum(0) for side in g])

    def merge(self, other: KeyUse) -> None:
        """Add what another has counted."""
        for layer, count in self.counts.items():
            count += other.counts[layer]

    def reset(self) -> None:
        """Forget all counts."""
        for count in self.counts.values():
            count.zero_()


@torch.no_grad()
def revive(model: MonetForCausalLM, optimizer: torch.optim.Optimizer, use: KeyUse, seed: int) -> int:
    """Give each rarely used key the weights of one in use, drawn by use, with noise; returns how many there were.

    The optimizer's moments of these weights start again at 0.
    """
    generator = torch.Generator().manual_seed(seed)
    revived = 0
    for layer, counts in use.counts.items():
        router = model.model.layers[layer].router
        for weight, heads in zip((router.w1.weight, router.w2.weight), counts, strict=True):
            for head, count in enumerate(heads):
                rare = (count < RARE * count.mean()).nonzero()[:, 0]
                if len(rare):
                    drawn = torch.multinomial(count, len(rare), replacement=True, generator=generator)
                    _copy(weight, optimizer, head * router.keys + rare, head * router.keys + drawn, generator)
                    revived += len(rare)
    return revived


def _copy(
    weight: Tensor, optimizer: torch.optim.Optimizer, rows: Tensor, source: Tensor, generator: torch.Generator
) -> None:
    copied = weight[source]
    scale = NOISE * copied.square().mean(-1, keepdim=True).sqrt()
    weight[rows] = copied + scale * torch.randn(copied.shape, generator=generator)
    for moment in optimizer.state[weight].values():
        if moment.shape == weight.shape:
            moment[rows] = 0
