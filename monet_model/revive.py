"""Revival of dead keys while a router is trained on small batches.

A key that is never active has probability exactly 0, gets no gradient, and so stays dead. With the paper's batches of
two million tokens every key is active somewhere; with a few thousand tokens, some drift below the threshold for good.
As one resamples dead latents of a sparse autoencoder or dead codebook entries, such keys are re-initialised as noisy
copies of keys in use, from which they then diverge.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cuda_ext.routing import Routing

from .modeling import MonetForCausalLM
from .router import MonetRouter

RARE_USE = 0.01  # a key used less than this share of the mean use of its head's keys is dead
NOISE_SCALE = 0.3  # of the noise, as a share of the root mean square of the copied weights


class KeyUse:
    """Number of tokens at which each key of each router was active: layer -> (2, heads, keys)."""

    def __init__(self, model: MonetForCausalLM) -> None:
        shape = 2, model.config.moe_heads, model.config.moe_experts
        self.counts = {group[0]: torch.zeros(shape) for group in model.config.routing_groups}

    @contextmanager
    def counting(self, model: MonetForCausalLM) -> Iterator[None]:
        """Inside this context, every forward pass of a model of the same shape is counted."""

        def count(layer: int, _router: Any, _inputs: Any, routing: Routing) -> None:
            self.counts[layer] += active_tokens(routing)

        routers = {layer: model.model.layers[layer].router for layer in self.counts}
        handles = [router.register_forward_hook(partial(count, layer)) for layer, router in routers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def merge(self, other: KeyUse) -> None:
        """Add the counts of another."""
        for layer, count in self.counts.items():
            count += other.counts[layer]

    def reset(self) -> None:
        """Set all counts to 0."""
        for count in self.counts.values():
            count.zero_()


@torch.no_grad()
def active_tokens(routing: Routing) -> Tensor:
    """Return the number of tokens at which each key is active, (2, heads, keys)."""

    def side(indices: Tensor, probs: Tensor) -> Tensor:
        keys = indices.long() + routing.num_keys * torch.arange(routing.heads, device=probs.device)[:, None]
        active = (probs > 0).flatten().float()
        counts = active.new_zeros(routing.heads * routing.num_keys).index_add_(0, keys.flatten(), active)
        return counts.view(routing.heads, routing.num_keys)

    return torch.stack([side(routing.indices1, routing.probs1), side(routing.indices2, routing.probs2)])


@torch.no_grad()
def revive(model: MonetForCausalLM, optimizer: torch.optim.Optimizer, use: KeyUse, seed: int) -> int:
    """Replace each dead key by a noisy copy of a key in use, drawn in proportion to its use.

    The optimizer's moments of the replaced weights restart at 0.

    Returns:
        How many keys were replaced.
    """
    generator = torch.Generator().manual_seed(seed)
    return sum(
        revive_router(model.model.layers[layer].router, optimizer, counts, generator)
        for layer, counts in use.counts.items()
    )


@torch.no_grad()
def revive_router(
    router: MonetRouter, optimizer: torch.optim.Optimizer, use: Tensor, generator: torch.Generator
) -> int:
    """Replace the dead keys of one router, as ``revive`` does.

    Args:
        router: the router.
        optimizer: that of its weights.
        use: (2, heads, keys) number of tokens at which each key was active.
        generator: what keys to copy and the noise are drawn from, on the processor.

    Returns:
        How many keys were replaced.
    """
    revived = 0
    for weight, heads in zip((router.w1.weight, router.w2.weight), use, strict=True):
        for head, count in enumerate(heads):
            rare = (count < RARE_USE * count.mean()).nonzero()[:, 0]
            if len(rare):
                drawn = torch.multinomial(count, len(rare), replacement=True, generator=generator)
                _copy(weight, optimizer, head * router.keys + rare, head * router.keys + drawn, generator)
                revived += len(rare)
    return revived


def _copy(
    weight: Tensor, optimizer: torch.optim.Optimizer, rows: Tensor, source: Tensor, generator: torch.Generator
) -> None:
    copied = weight[source]
    scale = NOISE_SCALE * copied.square().mean(-1, keepdim=True).sqrt()
    weight[rows] = copied + scale * torch.randn(copied.shape, generator=generator).to(copied.device)
    for moment in optimizer.state[weight].values():
        if moment.shape == weight.shape:
            moment[rows] = 0
