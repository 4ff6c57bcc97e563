"""The auxiliary losses that keep the keys used evenly and each token's choice sharp (paper, section 3)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

RouterProbs = tuple[Tensor, Tensor] | None


def _sides(router_probs: Iterable[RouterProbs]) -> list[Tensor]:
    """Every side of every router as (tokens, heads, keys)."""
    return [g.flatten(0, -3) for pair in router_probs if pair is not None for g in pair]


def uniformity_loss(router_probs: Iterable[RouterProbs]) -> Tensor:
    """Mean over routers, sides and keys of ``-log(mean over tokens and heads of g)``.

    The Kullback-Leibler divergence of key usage from uniform, up to a constant. A key that no token of the batch uses
    counts as used with the smallest float32 probability, since its true logarithm has no finite value.

    Args:
        router_probs: per layer ``(g1, g2)``, each (..., heads, keys), or None where no router stands.
    """
    tiny = torch.finfo(torch.float32).tiny
    return torch.stack([-g.mean((0, 1)).clamp_min(tiny).log().mean() for g in _sides(router_probs)]).mean()


def ambiguity_loss(router_probs: Iterable[RouterProbs]) -> Tensor:
    """Mean over routers, sides, heads and tokens of ``1 - max_e g``; arguments as in :func:`uniformity_loss`."""
    return torch.stack([(1 - g.amax(-1)).mean() for g in _sides(router_probs)]).mean()
