"""Which experts made a logit: exact direct logit attribution over every active expert of every layer."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ..errors import WorkbenchError
from .contributions import Record, expert_contributions, record_pass

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

Target = int | tuple[int, int] | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Attribution:
    """The parts of a logit at the last position of a prompt.

    Attributes:
        target: the token id, or pair of token ids; None where a function of the logits was given.
        logit: what the model computed: the logit, the difference of a pair, or the linearised function (see
            :func:`attribute`).
        experts: one row an active expert of a layer: layer, position (the last), expert (flat id), contribution.
            Sorted by layer, then expert.
        rest: what no expert wrote: component, contribution. Components are ``embed``, ``L{layer}H{head}`` for each
            attention head, and ``L{layer}bias`` where the attention's output projection has a bias.
    """

    target: int | tuple[int, int] | None
    logit: float
    experts: pd.DataFrame
    rest: pd.DataFrame

    @property
    def total(self) -> float:
        """Sum of all contributions."""
        return math.fsum(self.experts["contribution"]) + math.fsum(self.rest["contribution"])

    @property
    def completeness(self) -> float:
        """``|total - logit|``: what the attribution misses. Rounding of the model's own arithmetic, no more."""
        return abs(self.total - self.logit)

    def top(self, n: int) -> pd.DataFrame:
        """The ``n`` experts of largest absolute contribution, largest first; columns of ``experts``."""
        order = self.experts["contribution"].abs().sort_values(ascending=False, kind="stable").index
        return self.experts.loc[order[:n]].reset_index(drop=True)

    def to_json(self, n: int = 50) -> dict[str, Any]:
        """JSON-ready: the figures, the top ``n`` experts and all other components."""
        return {
            "target": self.target,
            "logit": self.logit,
            "total": self.total,
            "completeness": self.completeness,
            "active_experts": len(self.experts),
            "experts": self.top(n).to_dict("records"),
            "rest": self.rest.to_dict("records"),
        }


@torch.no_grad()
def attribute(model: MonetForCausalLM, input_ids: Tensor, target: Target | None = None) -> Attribution:
    """Direct logit attribution: what every active expert, attention head and the embedding add to a target logit.

    The logits at the last position are linear in the residual stream there once the final norm's scale is held at its
    value. So expert (i, j) of a layer contributes exactly ``G[i, j] (direction . E_ij(x))``, where ``direction`` is the
    target's row of the unembedding times the norm's weight and scale, and all contributions sum to the logit. What an
    expert does to later layers, or at earlier positions through attention, counts as part of those. Edits of experts in
    force count.

    Args:
        model: a Monet model in evaluation mode.
        input_ids: (1, tokens) token ids.
        target: a token id; a pair (a, b), for the difference of their logits, a - b; or a differentiable function of
            the last position's logits (vocabulary,) that returns a scalar. A function f is linearised at the model's
            logits z: what is attributed, and ``Attribution.logit``, is ``grad f(z) . z``, which is f(z) where f is
            linear. By default the token of highest logit.

    Raises:
        WorkbenchError: ids of another shape or type, no ids, too many of them, ids or a target outside the vocabulary,
            a function that is not differentiable or not scalar, or a model in training mode.
    """
    ids = check_ids(model, input_ids)
    record, out = record_pass(model, lambda: model(ids, logits_to_keep=1, use_cache=False))
    logits = out.logits[0, -1].detach()
    target = int(logits.argmax()) if target is None else target
    rows, weights, name = _read_target(target, logits)
    direction = _logit_direction(model, record.final[:, -1], rows, weights)
    return Attribution(
        target=name,
        logit=float(weights @ logits[rows].double()),
        experts=_expert_table(model, record, direction, position=ids.shape[1] - 1),
        rest=_rest_table(model, record, direction),
    )


def check_ids(model: MonetForCausalLM, input_ids: Tensor) -> Tensor:
    """The ids on the model's device, once they and the model are fit for attribution; errors as :func:`attribute`."""
    config = model.config
    if model.training:
        raise WorkbenchError(
            "the model is in training mode, where routing rests on the batch: call model.eval() first."
        )
    if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or input_ids.dtype not in (torch.int64, torch.int32):
        given = f"{tuple(input_ids.shape)} of {input_ids.dtype}" if isinstance(input_ids, Tensor) else type(input_ids)
        raise WorkbenchError(f"input_ids must be an integer tensor of shape (1, tokens), got {given}.")
    if input_ids.shape[0] != 1:
        raise WorkbenchError(f"attribution takes one prompt at a time, got a batch of {input_ids.shape[0]}.")
    if input_ids.shape[1] == 0:
        raise WorkbenchError("input_ids holds no token: attribution needs at least one.")
    if input_ids.shape[1] > config.max_position_embeddings:
        raise WorkbenchError(
            f"the prompt has {input_ids.shape[1]:,} tokens, the model takes {config.max_position_embeddings:,}: shorten it."
        )
    if not 0 <= int(input_ids.min()) <= int(input_ids.max()) < config.vocab_size:
        raise WorkbenchError(f"input_ids must lie in 0 .. {config.vocab_size - 1}, the model's vocabulary.")
    return input_ids.to(model.device)


def _read_target(target: Target, logits: Tensor) -> tuple[Tensor, Tensor, int | tuple[int, int] | None]:
    """A target as vocabulary rows and their float64 weights, and its name in the result."""
    if callable(target):
        weights = _gradient(target, logits)
        return torch.arange(len(logits), device=logits.device), weights, None
    pair = target if isinstance(target, tuple | list) else (target,)
    try:
        ids = [operator.index(token) for token in pair]
    except TypeError:
        ids = []
    if len(ids) not in (1, 2):
        raise WorkbenchError(f"the target must be a token id, a pair of token ids or a function, got {target!r}.")
    for token in ids:
        if not 0 <= token < len(logits):
            raise WorkbenchError(f"target {token} lies outside the vocabulary, 0 .. {len(logits) - 1}.")
    weights = torch.tensor([1.0, -1.0][: len(ids)], dtype=torch.float64, device=logits.device)
    return torch.tensor(ids, device=logits.device), weights, ids[0] if len(ids) == 1 else (ids[0], ids[1])


def _gradient(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """Gradient (vocabulary,) of a scalar function at the logits, float64."""
    with torch.enable_grad():
        point = logits.double().requires_grad_()
        value = function(point)
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise WorkbenchError("a target function must return one number, as a tensor computed from the logits.")
        (gradient,) = torch.autograd.grad(value.sum(), point, allow_unused=True)
    if gradient is None or not torch.isfinite(gradient).all():
        raise WorkbenchError("the target function has no finite gradient at the model's logits.")
    return gradient


def _logit_direction(model: MonetForCausalLM, final: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """(tokens, hidden) float64 directions in the residual stream ``final`` (tokens, hidden) that the target reads."""
    norm = model.model.norm
    unembedding = weights @ model.lm_head.weight[rows].double()
    scale = (final.double().square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
    return unembedding * norm.weight.double() * scale


def _expert_table(model: MonetForCausalLM, record: Record, direction: Tensor, position: int) -> pd.DataFrame:
    parts = []
    for number, (layer, seen) in enumerate(zip(model.model.layers, record.layers, strict=True)):
        last = seen.x[:, -1], seen.g1[:, -1], seen.g2[:, -1]
        _, expert, contribution = expert_contributions(layer.moe, *last, direction, seen.factors)
        parts.append(
            pd.DataFrame(
                {
                    "layer": number,
                    "position": position,
                    "expert": expert.numpy(force=True),
                    "contribution": contribution.numpy(force=True),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _rest_table(model: MonetForCausalLM, record: Record, direction: Tensor) -> pd.DataFrame:
    names, values = ["embed"], [record.embedded[:, -1].double() @ direction[0]]
    for number, (layer, seen) in enumerate(zip(model.model.layers, record.layers, strict=True)):
        projection = layer.self_attn.o_proj
        through = direction[0] @ projection.weight.double()  # (heads * head width)
        heads = (seen.heads[0, -1].double() * through).unflatten(-1, (-1, layer.self_attn.head_dim)).sum(-1)
        names += [f"L{number}H{head}" for head in range(len(heads))]
        values.append(heads)
        if projection.bias is not None:
            names.append(f"L{number}bias")
            values.append(projection.bias.double() @ direction.T)
    return pd.DataFrame({"component": names, "contribution": torch.cat(values).numpy(force=True)})
