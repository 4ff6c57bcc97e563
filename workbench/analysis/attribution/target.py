"""What an attribution explains: a prompt, and a number computed from the logits at its last position.

A target is a token's logit, the difference of two tokens' logits, or any differentiable function of the logits. Each is
expressed as a weighted sum of logits: the first two are one already, a function is linearised at the model's logits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import BadInputError
from ..checks import check_model

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from monet_model import MonetForCausalLM


Target = int | tuple[int, int] | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LinearTarget:
    """A target as a weighted sum of logits.

    Attributes:
        tokens: (n,) token ids.
        weights: (n,) float64 weights of their logits.
        target: the token id, or pair of token ids; None for a function.
    """

    tokens: Tensor
    weights: Tensor
    target: int | tuple[int, int] | None

    @classmethod
    def at(cls, target: Target, logits: Tensor) -> LinearTarget:
        """The target at the model's logits (vocabulary,).

        Raises:
            BadInputError: a target as ``workbench.analysis.attribute`` refuses it.
        """
        if callable(target):
            return cls(torch.arange(len(logits), device=logits.device), _gradient(target, logits), None)
        ids = _token_ids(target)
        for token in ids:
            if not 0 <= token < len(logits):
                raise BadInputError(f"target {token} lies outside the vocabulary, 0 .. {len(logits) - 1}.")
        weights = torch.tensor([1.0, -1.0][: len(ids)], dtype=torch.float64, device=logits.device)
        return cls(torch.tensor(ids, device=logits.device), weights, ids[0] if len(ids) == 1 else (ids[0], ids[1]))

    def value(self, logits: Tensor) -> Tensor:
        """The weighted sum of the logits (vocabulary,): a float64 scalar that keeps their graph."""
        return self.weights @ logits[self.tokens].double()

    def direction(self, model: MonetForCausalLM, final: Tensor) -> Tensor:
        """The direction in the residual stream that the target reads, with the final norm's scale held at its value.

        Args:
            model: the model.
            final: (places, hidden) residual stream in front of the final norm.

        Returns:
            (places, hidden) float64; at each place ``direction . final`` is the target.
        """
        return logit_direction(model, final, self.weights @ model.lm_head.weight[self.tokens].double())


def logit_direction(model: MonetForCausalLM | LlamaForCausalLM, final: Tensor, unembedding: Tensor) -> Tensor:
    """The direction in the residual stream that weighted logits read, with the final norm's scale held at its value.

    Args:
        model: the model.
        final: (places, hidden) residual stream in front of the final norm.
        unembedding: (hidden,) or (places, hidden) float64, rows of the unembedding, weighted and summed.

    Returns:
        (places, hidden) float64.
    """
    norm = model.model.norm
    scale = (final.double().square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
    direction: Tensor = unembedding * norm.weight.double() * scale
    return direction


def _token_ids(target: int | tuple[int, int]) -> list[int]:
    pair = target if isinstance(target, tuple | list) else (target,)
    try:
        ids = [operator.index(token) for token in pair]
    except TypeError:
        ids = []
    if len(ids) not in (1, 2):
        raise BadInputError(f"the target must be a token id, a pair of token ids or a function, got {target!r}.")
    return ids


def _gradient(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Gradient (vocabulary,) of a scalar function at the logits, float64."""
    with torch.enable_grad():
        point = logits.detach().double().requires_grad_()
        value = function(point)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise BadInputError("a target function must return one number, as a tensor computed from the logits.")
        (gradient,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
    if gradient is None or not torch.isfinite(gradient).all():
        raise BadInputError("the target function has no finite gradient at the model's logits.")
    return gradient


def check_length(tokens: int, context: int) -> None:
    """Raises BadInputError for a prompt of no tokens, or of more than the ``context`` that the model reads."""
    if tokens == 0:
        raise BadInputError("the prompt has no tokens; give at least one.")
    if tokens > context:
        raise BadInputError(f"the prompt has {tokens:,} tokens; the model reads at most {context:,}. Shorten it.")


def check_ids(model: MonetForCausalLM, input_ids: Tensor) -> Tensor:
    """Return the ids of one prompt, (1, tokens), on the model's device.

    Raises:
        BadInputError: another shape or type, no ids or too many, ids outside the vocabulary, or a model in training
            mode.
    """
    check_model(model)
    if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or input_ids.dtype not in (torch.int64, torch.int32):
        got = f"{tuple(input_ids.shape)} of {input_ids.dtype}" if isinstance(input_ids, Tensor) else type(input_ids)
        raise BadInputError(f"input_ids must be an integer tensor of shape (1, tokens), got {got}.")
    if input_ids.shape[0] != 1:
        raise BadInputError(f"attribution takes one prompt at a time, got a batch of {input_ids.shape[0]}.")
    check_length(input_ids.shape[1], model.config.max_position_embeddings)
    if not 0 <= int(input_ids.min()) <= int(input_ids.max()) < model.config.vocab_size:
        raise BadInputError(f"input_ids must lie in 0 .. {model.config.vocab_size - 1}, the model's vocabulary.")
    return input_ids.to(model.device)
