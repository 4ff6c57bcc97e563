"""A layer with experts, held: routing and one factor of each squared rectifier stay at their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cuda_ext.routing import Routing
from monet_model.token_factors import Factors, factors_of

from ..attribution.contributions import expert_contributions
from .frozen_layer import FrozenLayer

if TYPE_CHECKING:
    from monet_model.experts import ExpertLayer
    from monet_model.experts.base import Pairs
    from monet_model.modeling import MonetDecoderLayer
    from monet_model.record import LayerRecord
    from monet_model.router import HeadNorm


@dataclass(frozen=True)
class Choice:
    """Why experts were chosen: what their two keys read, and what their logits had to reach.

    Attributes:
        head: (n,) the routing head that gives the expert most of its score.
        vectors: (n, hidden) what the two raw key logits together read of the residual stream, norm scale held.
        threshold: (n,) sum of both thresholds in force, in raw logits.
    """

    head: Tensor
    vectors: Tensor
    threshold: Tensor


class FrozenExperts(FrozenLayer):
    """A decoder layer with experts.

    Attributes:
        owner: number of the layer whose router chose this layer's experts.
        experts: the expert layer.
        router: the router; None in a layer that owns none.
        routing, factors: the routing in force, and the edit of the experts in force or None.
    """

    def __init__(
        self,
        module: MonetDecoderLayer,
        index: int,
        stream: Tensor,
        rotary: tuple[Tensor, Tensor],
        seen: LayerRecord,
        owner: int,
    ) -> None:
        super().__init__(module, index, stream, rotary)
        assert module.moe is not None
        self.experts: ExpertLayer = module.moe
        self.router, self.owner = module.router, owner
        self.routing, self.factors = seen.routing, seen.factors
        self.written = self.experts(self.x, self.routing, self.factors)

    def mlp_back(self, g: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = self.x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.experts(x, self.routing, self.factors), x, g)
        constants = self.experts.combine(self.experts.held(self.x, None), self.routing, self.factors)
        # relu(u)**2 has twice the derivative of relu(u) * u with one factor held.
        return gradient / 2 * self._into_mlp, (g * constants).sum(-1)

    def mlp_forward(self, moved: Tensor) -> Tensor:
        hidden = self.experts.held(self.x, moved * self._into_mlp)
        still = self.experts.held(self.x, torch.zeros_like(moved))
        return self._combine(hidden) - self._combine(still)

    def _combine(self, hidden: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        return self.experts.combine(hidden, self.routing, self.factors)

    def contributions(self, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Position, expert and ``g . output`` of every active expert, sorted by position, then expert."""
        return expert_contributions(self.experts, self.x, self.routing, g, self.factors)

    def scores(self, position: Tensor, pairs: Pairs) -> Tensor:
        """(n, heads) what each routing head gives experts at positions, the edit's factor included."""
        return routing_scores(self.routing, self.factors, position, pairs).to(self.x)

    def outputs(self, position: Tensor, pairs: Pairs, score: Tensor) -> Tensor:
        """What experts write at positions, (n, hidden), at a score (n,)."""
        return self.experts.single(self.x[position], pairs) * score[:, None]

    def moved_outputs(self, position: Tensor, pairs: Pairs, score: Tensor, moved: Tensor) -> Tensor:
        """What experts write at positions, (n, hidden), when the stream in front of them moves by ``moved``."""
        x = self.x[position]
        return self.experts.single(x + (moved * self._into_mlp)[position], pairs, held_at=x) * score[:, None]

    def reads(self, position: Tensor, pairs: Pairs, score: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """As ``mlp_back`` for single experts at positions: vectors (n, hidden) and constants (n,)."""
        vectors, constants = self.experts.pull_back(self.x[position], g[position] * score[:, None], pairs)
        return vectors * self._into_mlp[position], constants

    def choice(self, position: Tensor, pairs: Pairs, head: Tensor) -> Choice:
        """What made a routing head choose experts at positions. Only of a layer that owns a router."""
        router = self.router
        assert router is not None
        vectors, threshold = torch.zeros_like(self.x[position]), torch.zeros_like(self.x[position, 0])
        for key, projection, norm in zip(pairs, (router.w1, router.w2), (router.norm1, router.norm2), strict=True):
            weight = projection.weight.to(self.x)
            vectors += weight[head * router.keys + key]
            logits = (self.x[position] @ weight.T).unflatten(-1, (router.heads, router.keys))
            of_head = logits[torch.arange(len(head), device=head.device), head]
            threshold += _raw_threshold(of_head, norm, head, router.sigma)
        return Choice(head, vectors * self._into_mlp[position], threshold)


def routing_scores(routing: Routing, factors: Factors | None, position: Tensor, pairs: Pairs) -> Tensor:
    """(n, heads) what each routing head gives experts at positions, the factors of an edit included."""
    i, j = pairs
    first = _probability(routing.indices1, routing.probs1, routing.counts1, position, i)
    scores = first * _probability(routing.indices2, routing.probs2, routing.counts2, position, j)
    return scores * factors_of(factors, position, i * routing.num_keys + j).to(scores)[:, None]


def _probability(keys: Tensor, probs: Tensor, counts: Tensor, position: Tensor, key: Tensor) -> Tensor:
    """(n, heads) the probability of a key at each position, 0 where it is not active."""
    used = torch.arange(keys.shape[-1], device=keys.device) < counts[position][..., None]
    return (probs[position] * (used & (keys[position] == key[:, None, None]))).sum(-1)


def _raw_threshold(logits: Tensor, norm: HeadNorm, head: Tensor, sigma: float) -> Tensor:
    """(n,) the raw logit that a key had to reach, from all (n, keys) logits of its head."""
    mean, var = norm.get_buffer("running_mean").to(logits)[head], norm.get_buffer("running_var").to(logits)[head]
    return torch.minimum(logits.amax(-1), mean + sigma * (var + norm.eps).sqrt())
