"""What an attribution explains: a prompt, and a number computed from the logits at its last position."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import WorkbenchError
from ..checks import check_model

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM


Target = int | tuple[int, int] | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LinearTarget:
    """A target as a weighted sum of logits: itself, or a function's linearisation at the model's logits.

    Attributes:
        rows: (n,) token ids.
        weights: (n,) float64 weights of their logits.
        name: the token id, or pair of token ids; None where a function was given.
    """

    rows: Tensor
    weights: Tensor
    name: int | tuple[int, int] | None

    @classmethod
    def read(cls, target: Target, logits: Tensor) -> LinearTarget:
        """A target at the logits (vocabulary,). Raises WorkbenchError, as :func:`workbench.analysis.attribute` says."""
        if callable(target):
            return cls(torch.arange(len(logits), device=logits.device), _gradient(target, logits), None)
        ids = _token_ids(target)
        for token in ids:
            if not 0 <= token < len(logits):
                raise WorkbenchError(f"target {token} lies outside the vocabulary, 0 .. {len(logits) - 1}.")
        weights = torch.tensor([1.0, -1.0][: len(ids)], dtype=torch.float64, device=logits.device)
        return cls(torch.tensor(ids, device=logits.device), weights, ids[0] if len(ids) == 1 else (ids[0], ids[1]))

    def value(self, logits: Tensor) -> Tensor:
        """The weighted sum, a float64 scalar that keeps the logits' graph; ``logits`` (vocabulary,)."""
        return self.weights @ logits[self.rows].double()

    def direction(self, model: MonetForCausalLM, final: Tensor) -> Tensor:
        """What of the residual stream the target reads, the final norm's scale held: (tokens, hidden) float64.

        ``final`` (tokens, hidden) is the stream in front of the norm; at each token, ``direction . final`` is the
        target.
        """
        norm = model.model.norm
        unembedding = self.weights @ model.lm_head.weight[self.rows].double()
        scale = (final.double().square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
        return unembedding * norm.weight.double() * scale


def _token_ids(target: int | tuple[int, int]) -> list[int]:
    pair = target if isinstance(target, tuple | list) else (target,)
    try:
        ids = [operator.index(token) for token in pair]
    except TypeError:
        ids = []
    if len(ids) not in (1, 2):
        raise WorkbenchError(f"the target must be a token id, a pair of token ids or a function, got {target!r}.")
    return ids


def _gradient(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Gradient (vocabulary,) of a scalar function at the logits, float64."""
    with torch.enable_grad():
        point = logits.detach().double().requires_grad_()
        value = function(point)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise WorkbenchError("a target function must return one number, as a tensor computed from the logits.")
        (gradient,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
    if gradient is None or not torch.isfinite(gradient).all():
        raise WorkbenchError("the target function has no finite gradient at the model's logits.")
    return gradient


def check_ids(model: MonetForCausalLM, input_ids: Tensor) -> Tensor:
    """The ids of one prompt, (1, tokens), on the model's device.

    Raises:
        WorkbenchError: another shape or type, no ids, too many of them, ids outside the vocabulary, or a model in
            training mode.
    """
    check_model(model)
    config = model.config
    if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or input_ids.dtype not in (torch.int64, torch.int32):
        given = f"{tuple(input_ids.shape)} of {input_ids.dtype}" if isinstance(input_ids, Tensor) else type(input_ids)
        raise WorkbenchError(f"input_ids must be an integer tensor of shape (1, tokens), got {given}.")
    if input_ids.shape[0] != 1:
        raise WorkbenchError(f"attribution takes one prompt at a time, got a batch of {input_ids.shape[0]}.")
    length, limit = input_ids.shape[1], config.max_position_embeddings
    if length == 0:
        raise WorkbenchError("input_ids holds no token: attribution needs at least one.")
    if length > limit:
        raise WorkbenchError(f"the prompt has {length:,} tokens, the model takes {limit:,}: shorten it.")
    if not 0 <= int(input_ids.min()) <= int(input_ids.max()) < config.vocab_size:
        raise WorkbenchError(f"input_ids must lie in 0 .. {config.vocab_size - 1}, the model's vocabulary.")
    return input_ids.to(model.device)
