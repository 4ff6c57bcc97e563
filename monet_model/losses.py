"""Auxiliary training losses: even use of keys, and confident routing per token (arXiv 2412.04139, section 3)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

RouterProbs = tuple[Tensor, Tensor] | None


def _sides(router_probs: Iterable[RouterProbs]) -> list[Tensor]:
    """Return the probabilities of both key sets of every router, each (tokens, heads, keys)."""
    return [g.flatten(0, -3) for pair in router_probs if pair is not None for g in pair]


def uniformity_loss(router_probs: Iterable[RouterProbs]) -> Tensor:
    """Return the mean over routers, key sets and keys of ``-log(mean over tokens and heads of g)``, in nats.

    Up to a constant this is the Kullback-Leibler divergence of the uniform distribution from the use of keys. A key
    that no token of the batch uses counts with the smallest float32 probability, to keep the loss finite.

    Args:
        router_probs: per layer ``(g1, g2)``, each (..., heads, keys), or None for a layer without a router.
    """
    tiny = torch.finfo(torch.float32).tiny
    return torch.stack([-g.mean((0, 1)).clamp_min(tiny).log().mean() for g in _sides(router_probs)]).mean()


def ambiguity_loss(router_probs: Iterable[RouterProbs]) -> Tensor:
    """Return the mean over routers, key sets, heads and tokens of ``1 - max_e g``.

    Args:
        router_probs: as in ``uniformity_loss``.
    """
    return torch.stack([(1 - g.amax(-1)).mean() for g in _sides(router_probs)]).mean()
