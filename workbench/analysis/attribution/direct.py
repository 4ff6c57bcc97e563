"""Which experts made a logit: exact direct logit attribution over every active expert of every layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from monet_model.record import Record, record_pass

from .contributions import expert_contributions
from .target import LinearTarget, Target, check_ids

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

Where = tuple[Tensor, Tensor]


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
    logits = out.logits[0, -1]
    linear = LinearTarget.read(int(logits.argmax()) if target is None else target, logits)
    last = torch.tensor([0]), torch.tensor([ids.shape[1] - 1])
    direction = linear.direction(model, record.final[last])
    layers = [
        {"layer": layer, "position": ids.shape[1] - 1, "expert": expert, "contribution": contribution}
        for layer, (_, expert, contribution) in enumerate(expert_parts(model, record, last, direction))
    ]
    names, values = rest_parts(model, record, last, direction)
    return Attribution(
        target=linear.name,
        logit=float(linear.value(logits)),
        experts=pd.concat(map(pd.DataFrame, layers), ignore_index=True),
        rest=pd.DataFrame({"component": names, "contribution": values[0].numpy(force=True)}),
    )


def expert_parts(
    model: MonetForCausalLM, record: Record, where: Where, direction: Tensor
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]:
    """What every active expert of each layer adds along a direction, at some places of a forward pass.

    Args:
        model, record: the model, and what it read and wrote.
        where: n places, as (windows of the batch (n,), positions (n,)).
        direction: (n, hidden) at each of them.

    Yields:
        For each layer: place, flat expert id and contribution, sorted by place, then expert.
    """
    for layer, seen in zip(model.model.layers, record.layers, strict=True):
        parts = expert_contributions(layer.moe, seen.x[where], seen.routing_at(where), direction, seen.factors)
        place, expert, contribution = (values.numpy(force=True) for values in parts)
        yield place, expert, contribution


def rest_parts(model: MonetForCausalLM, record: Record, where: Where, direction: Tensor) -> tuple[list[str], Tensor]:
    """What all else adds along a direction: names of the components, and (n, components) contributions.

    Arguments as of :func:`expert_parts`; components as ``Attribution.rest`` names them.
    """
    names, values = ["embed"], [(record.embedded[where].double() * direction).sum(-1, keepdim=True)]
    for number, (layer, seen) in enumerate(zip(model.model.layers, record.layers, strict=True)):
        projection = layer.self_attn.o_proj
        through = direction @ projection.weight.double()  # (n, heads * head width)
        heads = (seen.heads[where].double() * through).unflatten(-1, (-1, layer.self_attn.head_dim)).sum(-1)
        names += [f"L{number}H{head}" for head in range(heads.shape[1])]
        values.append(heads)
        if projection.bias is not None:
            names.append(f"L{number}bias")
            values.append((direction @ projection.bias.double())[:, None])
    return names, torch.cat(values, -1)
