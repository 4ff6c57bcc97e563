"""The product-key router: which keys of each set are active at a token, and with what probability."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from statistics import NormalDist
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from cuda_ext import route
from cuda_ext.routing import Routing

from .config import MonetConfig
from .projection import is_dense, project


def routing_threshold(num_keys: int, topk: int) -> float:
    """Return ``Phi^-1(1 - k/E)``, which a standard normal exceeds k times in E (arXiv 2412.04139, section 3)."""
    return NormalDist().inv_cdf(1.0 - topk / num_keys)


def head_thresholds(normalised: Tensor, sigma: float) -> Tensor:
    """Return the threshold per head, ``min(max_e normalised, sigma)``, (..., heads, 1): at least one key reaches it."""
    return normalised.detach().amax(-1, keepdim=True).clamp(max=sigma)


def select_keys(logits: Tensor, normalised: Tensor, thresholds: Tensor) -> Tensor:
    """Return the softmax of the raw logits over keys whose normalised logit reaches the threshold, 0 elsewhere."""
    return logits.masked_fill(normalised < thresholds, float("-inf")).softmax(-1)


def _in_backward() -> bool:
    """Return whether a backward pass is running, in which gradient checkpointing recomputes layers."""
    # PyTorch has no public way to ask; its checkpointing asks like this. Without the function, checkpointing would only
    # count each batch twice in the running statistics.
    graph_task = getattr(torch._C, "_current_graph_task_id", None)
    return graph_task is not None and graph_task() != -1


class Float32Buffers(nn.Module):
    """A module whose buffers keep their dtype when the model is cast to another one."""

    # nn.Module's one private hook through which `to`, `half`, `cuda` and the like change tensors.
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)


class HeadNorm(Float32Buffers, nn.BatchNorm1d):
    """Batch normalisation of (tokens, heads, keys) logits, per head over tokens and keys."""

    def __init__(self, heads: int) -> None:
        super().__init__(heads, affine=False, dtype=torch.float32)

    def statistics(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance, (heads,) each: the running ones, or in training the batch's.

        In training the batch also moves the running ones.
        """
        running_mean, running_var = self.get_buffer("running_mean"), self.get_buffer("running_var")
        if not self.training:
            return running_mean, running_var
        z = z.detach()
        # torch.var_mean over dimensions that are not the last ones takes six times as long on the CPU.
        mean = z.mean(-1).mean(0)
        var = (z - mean[:, None]).square_().mean(-1).mean(0)
        # A layer that gradient checkpointing recomputes has already counted this batch.
        if torch.compiler.is_compiling() or not _in_backward():
            count = z.shape[0] * z.shape[2]
            share = cast(float, self.momentum)
            running_mean.lerp_(mean, share)
            running_var.lerp_(var * (count / (count - 1)), share)
            self.get_buffer("num_batches_tracked").add_(1)
        return mean, var

    def forward(self, z: Tensor) -> Tensor:
        """Return the normalised logits in the shape of ``z``; updates the running statistics in training."""
        mean, var = self.statistics(z)
        return (z - mean[:, None]).mul_(torch.rsqrt(var + self.eps)[:, None])


def _logits(projection: nn.Linear, x: Tensor) -> Tensor:
    """Project float32 input: in float32, whatever the dtype of the weight, unless the projection is quantised."""
    weight: object = projection.weight  # a method, in the modules of torch.ao.quantization
    if not isinstance(weight, Tensor) or weight.dtype == torch.float32:
        return project(projection, x).float()
    if type(projection) is nn.Linear and is_dense(weight):
        return nn.functional.linear(x, weight.float())
    return projection(x.to(weight.dtype)).float()


class MonetRouter(nn.Module):
    """The router of a layer group: active keys of both sets per token and head (arXiv 2412.04139, section 3).

    Logits are batch-normalised per head, over batch, tokens and keys: by batch statistics in training, by running ones
    in evaluation. Everything is computed in float32, whatever the dtype of the model.
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
        """Set whether training leaves the router's weights and running statistics unchanged."""
        self.frozen = frozen
        self.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training mode as in every module, except that a frozen router stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the raw logits of both key sets for ``x`` (..., hidden): two (..., heads, keys) float32 tensors."""
        shape = (*x.shape[:-1], self.heads, self.keys)
        # Meta tensors have no autocast to turn off.
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            x = x.float()
            return _logits(self.w1, x).view(shape), _logits(self.w2, x).view(shape)

    def normalise(self, z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
        """Return batch-normalised logits of both key sets in the same shape; updates running statistics in training."""
        shape = z1.shape
        rows = (-1, self.heads, self.keys)
        return self.norm1(z1.reshape(rows)).view(shape), self.norm2(z2.reshape(rows)).view(shape)

    def forward(self, x: Tensor) -> Routing:
        """Return the routing of ``x`` (..., hidden); see ``route``."""
        return self.route(*self.logits(x))

    def route(self, z1: Tensor, z2: Tensor) -> Routing:
        """Return the routing for raw logits (..., heads, keys), whose leading dimensions are flattened to tokens.

        Updates the running statistics in training.

        Raises:
            ValueError: a logit is NaN or infinite.
        """

        def side(z: Tensor, norm: HeadNorm) -> tuple[Tensor, Tensor, Tensor]:
            z = z.flatten(0, -3)
            return route(z, *norm.statistics(z), self.sigma)

        return Routing(*side(z1, self.norm1), *side(z2, self.norm2), num_keys=self.keys)
