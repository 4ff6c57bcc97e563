"""The product-key router: which keys of each set a token uses, and how much."""

from __future__ import annotations

from statistics import NormalDist

import torch
from torch import Tensor, nn

from .config import MonetConfig


def routing_threshold(num_keys: int, topk: int) -> float:
    """The normal quantile Phi^-1(1 - k/E): a standard normal exceeds it k times in E (paper, section 3)."""
    return NormalDist().inv_cdf(1.0 - topk / num_keys)


def dense_routing(logits: Tensor, normalised: Tensor, sigma: float) -> Tensor:
    """Softmax of the raw logits over the keys at or above the threshold, exactly 0 elsewhere.

    The threshold is ``min(max_e normalised, sigma)``, so at least one key of each head is active (paper, section 3).

    Args:
        logits: (..., heads, keys) raw router logits, float32.
        normalised: (..., heads, keys) the same logits after batch normalisation.
        sigma: ``routing_threshold(keys, topk)``.

    Returns:
        (..., heads, keys) probabilities.
    """
    threshold = normalised.detach().amax(-1, keepdim=True).clamp(max=sigma)
    return logits.masked_fill(normalised < threshold, float("-inf")).softmax(-1)


class MonetRouter(nn.Module):
    """Routing probabilities of both key sets.

    Statistics of the normalisation are per head over batch, tokens and keys: batch statistics in training, running ones
    in evaluation. Everything is computed in float32 whatever the dtype of the model.
    """

    def __init__(self, config: MonetConfig) -> None:
        super().__init__()
        self.heads = config.moe_heads
        self.keys = config.moe_experts
        self.sigma = routing_threshold(config.moe_experts, config.moe_topk)
        self.w1 = nn.Linear(config.hidden_size, self.heads * self.keys, bias=False)
        self.w2 = nn.Linear(config.hidden_size, self.heads * self.keys, bias=False)
        self.norm1 = nn.BatchNorm1d(self.heads, affine=False)
        self.norm2 = nn.BatchNorm1d(self.heads, affine=False)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Raw logits of both sides: two tensors (..., heads, keys) in float32 for ``x`` (..., hidden)."""
        shape = (*x.shape[:-1], self.heads, self.keys)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            return (
                nn.functional.linear(x, self.w1.weight.float()).view(shape),
                nn.functional.linear(x, self.w2.weight.float()).view(shape),
            )

    def normalise(self, z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
        """Batch-normalised logits of both sides, shapes as given; gathers running statistics in training."""
        shape = z1.shape
        rows = (-1, self.heads, self.keys)
        return self.norm1(z1.reshape(rows)).view(shape), self.norm2(z2.reshape(rows)).view(shape)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Dense routing probabilities (g1, g2), each (..., heads, keys) float32, for ``x`` (..., hidden)."""
        z1, z2 = self.logits(x)
        n1, n2 = self.normalise(z1, z2)
        return dense_routing(z1, n1, self.sigma), dense_routing(z2, n2, self.sigma)
