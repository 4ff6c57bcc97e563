"""A model as an affine function of its embeddings: attention patterns, norm scales and routing held at their values.

Held fixed are what attribution graphs always hold (attention patterns, the scales of the norms), the routing, one of
the two factors of each squared rectifier, ``relu(u)**2 = relu(u) * u``, and in dense layers the activated gate of each
neuron, ``act(W_gate x)`` in ``act(W_gate x) * W_up x``. What is left is affine: attention moves vectors between
positions, an expert layer or an MLP is a matrix and a constant per position. Nothing is approximated at the prompt
itself: every stream there has the model's own value.

Sources: Ameisen et al. 2025, "Circuit Tracing" (https://transformer-circuits.pub/2025/attribution-graphs/methods.html)
for what is held fixed; Park et al. 2024, arXiv 2412.04139, section 3, for the experts.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .frozen_dense import FrozenDense
from .frozen_experts import FrozenExperts

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM
    from monet_model.record import Record

    from .frozen_layer import FrozenLayer


def rotary_of(model: MonetForCausalLM, embedded: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, (1, tokens, width) each, for embeddings (batch, tokens, hidden)."""
    places = torch.arange(embedded.shape[1], device=embedded.device)[None]
    cos, sin = model.model.rotary_emb(embedded.float(), position_ids=places)
    return cos.to(dtype), sin.to(dtype)


class FrozenModel:
    """A model's forward pass over one prompt, held: its layers, and the streams between them.

    The streams are computed again in ``dtype``, with the routing of the model's own pass, so that what is measured on
    them is exact to that precision.

    Attributes:
        embedded: (tokens, hidden) the embeddings.
        layers: the layers.
        experts: number of each layer that has experts -> the layer.
        final: (tokens, hidden) residual stream in front of the final norm.
    """

    @torch.no_grad()
    def __init__(self, model: MonetForCausalLM, record: Record, dtype: torch.dtype) -> None:
        self.embedded = record.embedded[0].to(dtype)
        stream, rotary = self.embedded, rotary_of(model, record.embedded, dtype)
        owners = {layer: group[0] for group in model.config.routing_groups for layer in group}
        self.layers: list[FrozenLayer] = []
        self.experts: dict[int, FrozenExperts] = {}
        for index, (module, seen) in enumerate(zip(model.model.layers, record.layers, strict=True)):
            converted = module if model.dtype == dtype else copy.deepcopy(module).to(dtype)
            layer: FrozenLayer
            if seen.dense:
                layer = FrozenDense(converted, index, stream, rotary)
            else:
                layer = FrozenExperts(converted, index, stream, rotary, seen, owners[index])
                self.experts[index] = layer
            self.layers.append(layer)
            stream = layer.after
        self.final = stream
