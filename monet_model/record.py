"""One forward pass of a model, with what every layer's experts read and wrote."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cuda_ext.routing import Routing

from .token_factors import Factors, TokenFactors

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
        factors: (keys, keys) edit of the experts in force, or that of each token of the batch; None without one.
        output: (batch, tokens, hidden) output of the expert layer.
    """

    heads: Tensor
    x: Tensor
    routing: Routing
    factors: Factors | None
    output: Tensor

    def routing_at(self, where: tuple[Tensor, Tensor] | Tensor) -> Routing:
        """The routing of some tokens: an index of (batch, tokens), as ``x[where]`` takes it."""
        return self.routing[self._rows[where]]

    def factors_at(self, where: tuple[Tensor, Tensor] | Tensor) -> Factors | None:
        """The factors of some tokens, chosen as in ``routing_at``."""
        return self._factors(self._rows[where])

    def _factors(self, tokens: slice | Tensor) -> Factors | None:
        """The factors of some tokens, by their numbers in the batch."""
        return self.factors[tokens] if isinstance(self.factors, TokenFactors) else self.factors

    @property
    def _rows(self) -> Tensor:
        """(batch, tokens) number of each token in the batch."""
        return torch.arange(self.x.shape[0] * self.x.shape[1], device=self.x.device).view(self.x.shape[:2])

    def until(self, length: int) -> LayerRecord:
        """What the layer read and wrote at the first ``length`` tokens of a batch of one."""
        first = slice(length)
        heads, x, output = (values[:, first] for values in (self.heads, self.x, self.output))
        return LayerRecord(heads, x, self.routing[first], self._factors(first), output)

    def row(self, number: int) -> LayerRecord:
        """What the layer read and wrote in one row of the batch."""
        length = self.x.shape[1]
        tokens = slice(number * length, (number + 1) * length)
        heads, x, output = (values[number : number + 1] for values in (self.heads, self.x, self.output))
        return LayerRecord(heads, x, self.routing[tokens], self._factors(tokens), output)


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

    def until(self, length: int) -> Record:
        """The record of the first ``length`` tokens of a batch of one, which read none of the later ones."""
        prefix = Record([layer.until(length) for layer in self.layers])
        prefix.embedded, prefix.final = self.embedded[:, :length], self.final[:, :length]
        return prefix

    def row(self, number: int) -> Record:
        """The record of one row of the batch."""
        row = Record([layer.row(number) for layer in self.layers])
        row.embedded, row.final = self.embedded[number : number + 1], self.final[number : number + 1]
        return row


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
