"""Revival of dead keys while a router is trained on small batches.

A key that is never active has probability exactly 0, gets no gradient, and so stays dead. With the paper's batches of
two million tokens every key is active somewhere; with a few thousand tokens, some drift below the threshold for good.
As one resamples dead latents of a sparse autoencoder or dead codebook entries, such keys are re-initialised as noisy
copies of keys in use, from which they then diverge.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .modeling import MonetForCausalLM, MonetOutput
from .router import MonetRouter

RARE_USE = 0.01  # a key used less than this share of the mean use of its head's keys is dead
NOISE_SCALE = 0.3  # of the noise, as a share of the root mean square of the copied weights


class KeyUse:
    """Number of tokens at which each key of each router was active: layer -> (2, heads, keys)."""

    def __init__(self, model: MonetForCausalLM) -> None:
        shape = 2, model.config.moe_heads, model.config.moe_experts
        self.counts = {group[0]: torch.zeros(shape) for group in model.config.routing_groups}

    def add(self, out: MonetOutput) -> None:
        """Count the tokens of a batch, from an output that has ``router_probs``."""
        assert out.router_probs is not None
        for layer, count in self.counts.items():
            g = out.router_probs[layer]
            assert g is not None
            count += torch.stack([(side.detach() > 0).flatten(0, -3).sum(0) for side in g])

    def merge(self, other: KeyUse) -> None:
        """Add the counts of another."""
        for layer, count in self.counts.items():
            count += other.counts[layer]

    def reset(self) -> None:
        """Set all counts to 0."""
        for count in self.counts.values():
            count.zero_()


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
