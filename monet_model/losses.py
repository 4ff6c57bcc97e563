"""Auxiliary training losses: even use of keys, and confident routing per token (arXiv 2412.04139, section 3).

They are computed from the active keys alone: an inactive key's probability is 0, and has no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from cuda_ext.routing import Routing


def uniformity_loss(routings: Iterable[Routing]) -> Tensor:
    """Return the mean over routers, key sets and keys of ``-log(mean over tokens and heads of g)``, in nats.

    Up to a constant this is the Kullback-Leibler divergence of the uniform distribution from the use of keys. A key
    that no token of the batch uses counts with the smallest float32 probability, to keep the loss finite.

    Args:
        routings: the routing that each router gave a batch, at least one.

    Examples:
        >>> import torch
        >>> from cuda_ext import Routing
        >>> from monet_model.losses import uniformity_loss
        >>> even = torch.full((3, 1, 4), 0.25)  # (tokens, heads, keys)
        >>> torch.isclose(uniformity_loss([Routing.from_dense(even, even)]), torch.tensor(4.0).log()).item()
        True
    """

    def side(indices: Tensor, probs: Tensor, keys: int) -> Tensor:
        use = probs.new_zeros(keys).index_add(0, indices.flatten().int(), probs.flatten())
        mean = use / probs[..., 0].numel()
        return -mean.clamp_min(torch.finfo(torch.float32).tiny).log().mean()

    return torch.stack(
        [
            side(indices, probs, routing.num_keys)
            for routing in routings
            for indices, probs in ((routing.indices1, routing.probs1), (routing.indices2, routing.probs2))
        ]
    ).mean()


def ambiguity_loss(routings: Iterable[Routing]) -> Tensor:
    """Return the mean over routers, key sets, heads and tokens of ``1 - max_e g``.

    Args:
        routings: as in ``uniformity_loss``.
    """
    sides = [probs for routing in routings for probs in (routing.probs1, routing.probs2)]
    return torch.stack([(1 - probs.amax(-1)).mean() for probs in sides]).mean()
