"""One forward pass of a model, with what every layer's experts read and wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cuda_ext.routing import Routing

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

    def routing_at(self, where: tuple[Tensor, Tensor] | Tensor) -> Routing:
        """The routing of some tokens: an index of (batch, tokens), as ``x[where]`` takes it."""
        rows = torch.arange(self.x.shape[0] * self.x.shape[1], device=self.x.device).view(self.x.shape[:2])
        return self.routing[rows[where]]


@dataclass
class Record:
    """What a forward pass read and wrote.

    Attributes:
        embedded: (batch, tokens, hidden) output of the embedding.
        layers: a ``LayerRecord`` for each layer.
        final: (batch, tokens, hidden) residual stream in front of the final norm.
    """

    embedded: Tensor = field(init=False)
    final: Tensor = field(init=False)
    layers: list[LayerRecord] = field(default_factory=list)


def record_pass(model: MonetForCausalLM, run: Callable[[], Any]) -> tuple[Record, Any]:
    """Record one forward pass: what the model read and wrote during ``run()``, and what ``run()`` returned.

    Forward passes of other threads on the same model are not recorded.
    """
    record, thread = Record(), threading.get_ident()
    heads: list[Tensor] = []

    def of_this_thread(keep: Callable[..., None]) -> Callable[..., None]:
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
        inner.embed_tokens.register_forward_hook(of_this_thread(keep_embedded)),
        inner.norm.register_forward_pre_hook(of_this_thread(keep_final)),
    ]
    for layer in inner.layers:
        hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(of_this_thread(keep_heads)))
        hooks.append(layer.moe.register_forward_hook(of_this_thread(keep_experts)))
    try:
        return record, run()
    finally:
        for handle in hooks:
            handle.remove()
