"""What single experts write into the residual stream: one forward pass recorded, and its expert layers taken apart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from cuda_ext import contributions
from monet_model.experts import HorizontalExperts
from monet_model.routing import Routing

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from monet_model import MonetForCausalLM


@dataclass
class LayerRecord:
    """What one layer read and wrote in a forward pass.

    Attributes:
        heads: (batch, tokens, attention heads * head width) outputs of the attention heads, before their projection.
        x: (batch, tokens, hidden) input of the expert layer.
        routing: the routing in force, of all tokens of the batch.
        factors: (keys, keys) edit of the experts in force, or None.
        output: (batch, tokens, hidden) output of the expert layer.
    """

    heads: Tensor
    x: Tensor
    routing: Routing
    factors: Tensor | None
    output: Tensor

    @property
    def g1(self) -> Tensor:
        """Dense routing of key set 1, (batch, tokens, routing heads, keys), made anew each time."""
        return self.routing.dense()[0].unflatten(0, self.x.shape[:-1])

    @property
    def g2(self) -> Tensor:
        """Likewise of key set 2."""
        return self.routing.dense()[1].unflatten(0, self.x.shape[:-1])


@dataclass
class Record:
    """What a forward pass read and wrote.

    Attributes:
        embedded: (batch, tokens, hidden) output of the embedding.
        layers: a :class:`LayerRecord` for each layer.
        final: (batch, tokens, hidden) residual stream in front of the final norm.
    """

    embedded: Tensor = field(init=False)
    final: Tensor = field(init=False)
    layers: list[LayerRecord] = field(default_factory=list)


def record_pass(model: MonetForCausalLM, run: Callable[[], Any]) -> tuple[Record, Any]:
    """What the model read and wrote during ``run()``, one forward pass of it, and what ``run()`` returned.

    Forward passes of other threads on the same model go unrecorded.
    """
    record, thread = Record(), threading.get_ident()
    heads: list[Tensor] = []

    def mine(keep: Callable[..., None]) -> Callable[..., None]:
        def hook(_module: Any, *values: Any) -> None:
            if threading.get_ident() == thread:
                keep(*values)

        return hook

    def keep_embedded(_args: Any, output: Tensor) -> None:
        record.embedded = output

    def keep_heads(args: tuple[Tensor]) -> None:
        heads.append(args[0])

    def keep_experts(args: tuple[Any, ...], output: Tensor) -> None:
        x, routing, factors = args
        record.layers.append(LayerRecord(heads.pop(), x, routing, factors, output))

    def keep_final(args: tuple[Tensor]) -> None:
        record.final = args[0]

    inner = model.model
    hooks: list[RemovableHandle] = [
        inner.embed_tokens.register_forward_hook(mine(keep_embedded)),
        inner.norm.register_forward_pre_hook(mine(keep_final)),
    ]
    for layer in inner.layers:
        hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(mine(keep_heads)))
        hooks.append(layer.moe.register_forward_hook(mine(keep_experts)))
    try:
        return record, run()
    finally:
        for handle in hooks:
            handle.remove()


def _along(experts: Any, direction: Tensor) -> tuple[Tensor, ...]:
    """``direction . V`` of every hidden unit, (tokens, keys, units), then ``direction . b``, (tokens, keys).

    In the order that :func:`cuda_ext.contributions` takes them.
    """
    dtype = direction.dtype

    def units(side: Tensor, projection: Any) -> Tensor:
        return (side @ projection.weight.to(dtype)).unflatten(-1, (experts.keys, -1))

    if isinstance(experts, HorizontalExperts):
        return units(direction, experts.v), direction @ experts.b.to(dtype).T
    left, right = direction.chunk(2, -1)
    first = units(left, experts.v11), units(left, experts.v12), units(right, experts.v21), units(right, experts.v22)
    return *first, left @ experts.b1.to(dtype).T, right @ experts.b2.to(dtype).T


def expert_contributions(
    experts: Any, x: Tensor, g1: Tensor, g2: Tensor, direction: Tensor, factors: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """``S[i, j] G[i, j] (direction . E_ij(x))`` of every active expert, exact, in the dtype of ``direction``.

    ``direction`` goes through the output weights once a sub-expert (an i or a j); the product of keys is formed for the
    active pairs only, by :func:`cuda_ext.contributions`.

    Args:
        experts: an expert layer of either decomposition.
        x: (tokens, hidden) its input.
        g1, g2: (tokens, routing heads, keys) dense routing.
        direction: (tokens, hidden) what the output is multiplied with at each token.
        factors: S, (keys, keys); None for all ones.

    Returns:
        token (n,), flat expert id (n,) and contribution (n,), sorted by token, then expert.
    """
    hidden = experts.hidden(x)
    every = _along(experts, direction)
    scale = None if factors is None else factors.to(direction)
    routing = Routing.from_dense(g1.to(direction.dtype), g2.to(direction.dtype))
    if isinstance(hidden, Tensor):
        units: Tensor | tuple[Tensor, Tensor] = hidden.to(direction.dtype)
    else:
        units = hidden[0].to(direction.dtype), hidden[1].to(direction.dtype)
    ids, values, _ = contributions(units, routing, every, experts.keys**2, scale)
    there = ids >= 0
    if scale is not None:
        there &= scale.flatten()[ids] != 0
    token = there.nonzero()[:, 0]
    expert, contribution = ids[there], values[there]
    order = (token * experts.keys**2 + expert).argsort()
    return token, expert[order], contribution[order]
