"""A model's output behind many short sequences, with what sequences that begin alike share computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

if TYPE_CHECKING:
    from cuda_ext.routing import Routing
    from monet_model import MonetForCausalLM


def last_hidden(model: MonetForCausalLM, ids: Tensor, routed: list[Routing] | None = None) -> Tensor:
    """The residual stream after the final norm, at the last token of each sequence: (sequences, hidden).

    What ``model.model(ids).last_hidden_state[:, -1]`` is, for a model without edits in force: states that share their
    first species share their first tokens, whose keys, values and routing are computed once; in the last layer only
    the last tokens go through experts. Differentiable.

    Args:
        model: a model whose layers all have experts and routers of their own.
        ids: (sequences, tokens), without padding.
        routed: takes the routing of every layer, of the distinct beginnings that went through its experts.
    """
    inner = model.model
    tree = _Tree.of(ids, model.config.vocab_size)
    hidden = inner.embed_tokens(tree.tokens)
    cos, sin = inner.rotary_emb(hidden[None], position_ids=tree.positions[None])
    later = torch.arange(ids.shape[1], device=ids.device) > tree.positions[:, None]
    hides = hidden.new_zeros(later.shape).masked_fill_(later, float("-inf"))[..., None]
    routing = None
    for number, layer in enumerate(inner.layers):
        asked = tree.last if number == len(inner.layers) - 1 else slice(None)
        attention, x = layer.self_attn, layer.input_layernorm(hidden)
        projections = attention.q_proj, attention.k_proj, attention.v_proj
        query, key, value = (projection(x).view(len(x), -1, attention.head_dim) for projection in projections)
        query, key = (turned[0] for turned in apply_rotary_pos_emb(query[None], key[None], cos, sin, unsqueeze_dim=2))
        # Products summed by hand: batched products of so small matrices take several times as long.
        logits = (query[asked, None] * key[tree.paths[asked]]).sum(-1) * attention.scaling
        weights = (logits + hides[asked]).softmax(1)
        mixed = (weights[..., None] * value[tree.paths[asked]]).sum(1)
        hidden = hidden[asked] + attention.o_proj(mixed.flatten(1))
        x = layer.post_attention_layernorm(hidden)
        routing = layer.router(x)
        hidden = hidden + layer.moe(x, routing)
        if routed is not None:
            routed.append(routing)
    return inner.norm(hidden)[tree.sequences]


@dataclass(frozen=True)
class _Tree:
    """The distinct beginnings of sequences, shorter ones first.

    Attributes:
        tokens: (nodes,) the last token of each beginning.
        positions: (nodes,) its position.
        paths: (nodes, tokens) the nodes of its tokens, from the first on; 0 behind its position.
        last: the nodes that are whole sequences.
        sequences: (sequences,) which of those each sequence is.
    """

    tokens: Tensor
    positions: Tensor
    paths: Tensor
    last: slice
    sequences: Tensor

    @classmethod
    def of(cls, ids: Tensor, vocabulary: int) -> _Tree:
        length, first = ids.shape[1], 0
        node = torch.zeros(len(ids), dtype=torch.int64, device=ids.device)
        tokens: list[Tensor] = []
        positions: list[Tensor] = []
        paths: list[Tensor] = []
        for position in range(length):
            codes, node = torch.unique(node * vocabulary + ids[:, position], return_inverse=True)
            path = torch.zeros(len(codes), length, dtype=torch.int64, device=ids.device)
            if position:
                path[:, :position] = paths[-1][codes // vocabulary, :position]
            path[:, position] = first + torch.arange(len(codes), device=ids.device)
            tokens.append(codes % vocabulary)
            positions.append(torch.full_like(codes, position))
            paths.append(path)
            first += len(codes)
        last = slice(first - len(paths[-1]), first)
        return cls(torch.cat(tokens), torch.cat(positions), torch.cat(paths), last, node)
