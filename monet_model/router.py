"""The product-key router: which keys of each set a token uses, and how much."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from cuda_ext import route
from cuda_ext.routing import Routing

from .config import MonetConfig
from .projection import project


def routing_threshold(num_keys: int, topk: int) -> float:
    """The normal quantile Phi^-1(1 - k/E): a standard normal exceeds it k times in E (paper, section 3)."""
    return NormalDist().inv_cdf(1.0 - topk / num_keys)


def head_thresholds(normalised: Tensor, sigma: float) -> Tensor:
    """``min(max_e normalised, sigma)``, (..., heads, 1): at least one key of each head is active (paper, section 3)."""
    return normalised.detach().amax(-1, keepdim=True).clamp(max=sigma)


def select_keys(logits: Tensor, normalised: Tensor, thresholds: Tensor) -> Tensor:
    """Softmax of the raw logits over the keys whose normalised logit reaches the threshold, exactly 0 elsewhere."""
    return logits.masked_fill(normalised < thresholds, float("-inf")).softmax(-1)


class Float32Buffers(nn.Module):
    """A module whose buffers keep their dtype whatever dtype the model is cast to."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)


class HeadNorm(Float32Buffers, nn.BatchNorm1d):
    """Batch normalisation of (tokens, heads, keys) per head, over tokens and keys."""

    def __init__(self, heads: int) -> None:
        super().__init__(heads, affine=False, dtype=torch.float32)

    def statistics(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each head: the running ones; in training the batch's, which the running ones gather."""
        running_mean, running_var = self.get_buffer("running_mean"), self.get_buffer("running_var")
        if not self.training:
            return running_mean, running_var
        var, mean = torch.var_mean(z.detach(), (0, 2), correction=0)
        # Gradient checkpointing recomputes the layer inside the backward pass: this batch has been counted already.
        if torch.compiler.is_compiling() or torch._C._current_graph_task_id() == -1:
            count = z.shape[0] * z.shape[2]
            share = cast(float, self.momentum)
            running_mean.lerp_(mean, share)
            running_var.lerp_(var * (count / (count - 1)), share)
            self.get_buffer("num_batches_tracked").add_(1)
        return mean, var

    def forward(self, z: Tensor) -> Tensor:
        """Normalised logits, shape as given; gathers running statistics in training."""
        mean, var = self.statistics(z)
        return (z - mean[:, None]).mul_(torch.rsqrt(var + self.eps)[:, None])


def _logits(projection: nn.Linear, x: Tensor) -> Tensor:
    """A projection of float32 input in float32, whatever dtype its weight has."""
    if projection.weight.dtype == torch.float32:
        return project(projection, x)
    return nn.functional.linear(x, projection.weight.float())


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
        self.norm1 = HeadNorm(self.heads)
        self.norm2 = HeadNorm(self.heads)
        self.frozen = False

    def freeze(self, frozen: bool) -> None:
        """Whether training leaves weights and running statistics alone."""
        self.frozen = frozen
        self.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As every module's, but a frozen router stays in evaluation."""
        return super().train(mode and not self.frozen)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Raw logits of both sides: two tensors (..., heads, keys) in float32 for ``x`` (..., hidden)."""
        shape = (*x.shape[:-1], self.heads, self.keys)
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            return _logits(self.w1, x).view(shape), _logits(self.w2, x).view(shape)

    def normalise(self, z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
        """Batch-normalised logits of both sides, shapes as given; gathers running statistics in training."""
        shape = z1.shape
        rows = (-1, self.heads, self.keys)
        return self.norm1(z1.reshape(rows)).view(shape), self.norm2(z2.reshape(rows)).view(shape)

    def forward(self, x: Tensor) -> Routing:
        """Routing of ``x`` (..., hidden); the rest as in :meth:`route`."""
        return self.route(*self.logits(x))

    def route(self, z1: Tensor, z2: Tensor) -> Routing:
        """Routing by raw logits (..., heads, keys), whose leading dimensions are flattened to tokens.

        Gathers running statistics in training.

        Raises:
            ValueError: a logit is NaN or infinite.
        """

        def side(z: Tensor, norm: HeadNorm) -> tuple[Tensor, Tensor, Tensor]:
            z = z.flatten(0, -3)
            return route(z, *norm.statistics(z), self.sigma)

        return Routing(*side(z1, self.norm1), *side(z2, self.norm2), num_keys=self.keys)
