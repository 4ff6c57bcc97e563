"""One forward pass of a model, with what every layer's experts, or its MLP, read and wrote."""

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
    from transformers import LlamaForCausalLM

    from monet_model import MonetForCausalLM


@dataclass
class LayerRecord:
    """What one layer read and wrote in a forward pass.

    Attributes:
        heads: (batch, tokens, attention heads * head width) outputs of the attention heads, before their projection.
        x: (batch, tokens, hidden) input of the expert layer, or of a dense layer's MLP.
        output: (batch, tokens, hidden) its output.
    """

    heads: Tensor
    x: Tensor
    output: Tensor
    _routing: Routing | None = None
    _factors: Factors | None = None

    @property
    def dense(self) -> bool:
        """Whether the layer has no experts."""
        return self._routing is None

    @property
    def routing(self) -> Routing:
        """The routing in force, of all tokens of the batch.

        Raises:
            ValueError: a dense layer has none.
        """
        if self._routing is None:
            raise ValueError("a dense layer has no experts and no routing.")
        return self._routing

    @property
    def factors(self) -> Factors | None:
        """(keys, keys) edit of the experts in force, or that of each token of the batch; None without one."""
        return self._factors

    def routing_at(self, where: tuple[Tensor, Tensor] | Tensor) -> Routing:
        """The routing of some tokens: an index of (batch, tokens), as ``x[where]`` takes it."""
        return self.routing[self._rows[where]]

    def factors_at(self, where: tuple[Tensor, Tensor] | Tensor) -> Factors | None:
        """The factors of some tokens, chosen as in ``routing_at``."""
        return self._factors_of(self._rows[where])

    def _factors_of(self, tokens: slice | Tensor) -> Factors | None:
        """The factors of some tokens, by their numbers in the batch."""
        return self._factors[tokens] if isinstance(self._factors, TokenFactors) else self._factors

    @property
    def _rows(self) -> Tensor:
        """(batch, tokens) number of each token in the batch."""
        return torch.arange(self.x.shape[0] * self.x.shape[1], device=self.x.device).view(self.x.shape[:2])

    def until(self, length: int) -> LayerRecord:
        """What the layer read and wrote at the first ``length`` tokens of a batch of one."""
        return self._part((slice(None), slice(length)), slice(length))

    def row(self, number: int) -> LayerRecord:
        """What the layer read and wrote in one row of the batch."""
        length = self.x.shape[1]
        return self._part((slice(number, number + 1),), slice(number * length, (number + 1) * length))

    def _part(self, where: tuple[slice, ...], tokens: slice) -> LayerRecord:
        """A part of the batch, and the numbers of its tokens."""
        heads, x, output = (values[where] for values in (self.heads, self.x, self.output))
        routing = None if self._routing is None else self._routing[tokens]
        return LayerRecord(heads, x, output, routing, self._factors_of(tokens))


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


def record_pass(model: MonetForCausalLM | LlamaForCausalLM, run: Callable[[], Any]) -> tuple[Record, Any]:
    """Record one forward pass: what the model read and wrote during ``run()``, and what ``run()`` returned.

    Forward passes of other threads on the same model are not recorded. Every layer of a LLaMA model is a dense one.
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

    def keep_layer(args: tuple[Any, ...], output: Tensor) -> None:
        x, *chosen = args  # routing and factors, of experts
        record.layers.append(LayerRecord(heads.pop(), x, output, *chosen))

    def keep_final(args: tuple[Tensor]) -> None:
        record.final = args[0]

    inner = model.model
    hooks: list[RemovableHandle] = [
        inner.embed_tokens.register_forward_hook(of_this_thread(keep_embedded)),
        inner.norm.register_forward_pre_hook(of_this_thread(keep_final)),
    ]
    for layer in inner.layers:
        hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(of_this_thread(keep_heads)))
        hooks.append((getattr(layer, "moe", None) or layer.mlp).register_forward_hook(of_this_thread(keep_layer)))
    try:
        return record, run()
    finally:
        for handle in hooks:
            handle.remove()
