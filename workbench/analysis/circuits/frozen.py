"""A model as an affine function of its embeddings: attention patterns, norm scales and routing held at their values.

Held fixed are what attribution graphs always hold (attention patterns, the scales of the norms), the routing, and one
of the two factors of each squared rectifier, ``relu(u)**2 = relu(u) * u``. What is left is affine: attention moves
vectors between positions, an expert layer is a matrix and a constant per position. Nothing is approximated at the
prompt itself: every stream there has the model's own value.

Sources: Ameisen et al. 2025, "Circuit Tracing" (https://transformer-circuits.pub/2025/attribution-graphs/methods.html)
for what is held fixed; Park et al. 2024, arXiv 2412.04139, section 3, for the experts.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, repeat_kv

from cuda_ext.routing import Routing
from monet_model.token_factors import Factors, factors_of

from ..attribution.contributions import expert_contributions

if TYPE_CHECKING:
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRMSNorm

    from monet_model import MonetForCausalLM
    from monet_model.experts import ExpertLayer
    from monet_model.experts.base import Pairs
    from monet_model.modeling import MonetDecoderLayer
    from monet_model.record import Record
    from monet_model.router import HeadNorm


@dataclass(frozen=True)
class Choice:
    """Why experts were chosen: what their two keys read, and what their logits had to reach.

    Attributes:
        head: (n,) the routing head that gives the expert most of its score.
        vectors: (n, hidden) what the two raw key logits together read of the residual stream, norm scale held.
        threshold: (n,) sum of both thresholds in force, in raw logits.
    """

    head: Tensor
    vectors: Tensor
    threshold: Tensor


class FrozenLayer:
    """One decoder layer, affine: see the module. Streams are (tokens, hidden); all tensors have one dtype.

    Attributes:
        index: the layer's number.
        owner: number of the layer whose router chose this layer's experts.
        pattern: (attention heads, tokens, tokens) attention from position (first) to position (second).
        before: (tokens, hidden) residual stream in front of the layer.
        middle: the same between attention and experts.
        x: (tokens, hidden) what the experts read: ``middle``, normalised.
        written: (tokens, hidden) what the expert layer writes.
        routing, factors: the routing in force, and the edit of the experts in force or None.
    """

    def __init__(
        self,
        module: MonetDecoderLayer,
        index: int,
        stream: Tensor,
        rotary: tuple[Tensor, Tensor],
        routing: Routing,
        factors: Factors | None,
    ) -> None:
        attention = module.self_attn
        self.index, self.owner = index, index
        self.experts: ExpertLayer = module.moe
        self.router = module.router
        self.routing, self.factors = routing, factors
        self.before = stream
        self._attention = attention
        self._width = attention.head_dim
        self._groups = attention.num_key_value_groups
        # What a norm multiplies a stream with, its scale held: (tokens, hidden).
        self._into_attention = _norm_factor(module.input_layernorm, stream)
        read = stream * self._into_attention
        self.pattern = attention_pattern(attention, read, rotary)
        values = repeat_kv(self._by_head(attention.v_proj(read)), self._groups)[0]
        attended = attention.o_proj((self.pattern @ values).transpose(0, 1).flatten(1))
        self.middle = stream + attended
        self._into_experts = _norm_factor(module.post_attention_layernorm, self.middle)
        self.x = self.middle * self._into_experts
        self.written: Tensor = self.experts(self.x, routing, factors)
        self.after = self.middle + self.written

    def _by_head(self, values: Tensor) -> Tensor:
        return _by_head(values, self._width)

    def attention_bias(self) -> Tensor | None:
        """What the attention writes at every position whatever it reads, (hidden,); None where it has no such bias."""
        v, o = self._attention.v_proj.bias, self._attention.o_proj.bias
        if v is None and o is None:
            return None
        bias = torch.zeros_like(self.before[0])
        if o is not None:
            bias = bias + o
        if v is not None:
            values = repeat_kv(v.view(1, -1, 1, self._width), self._groups).flatten()
            bias = bias + self._attention.o_proj.weight @ values
        return bias

    def through_heads(self, g: Tensor) -> Tensor:
        """What each head's values count along ``g``, the gradient behind the attention.

        Args:
            g: (tokens, n, hidden), possibly of the first tokens only.

        Returns:
            (attention heads, tokens, n, width): the gradient by the value vectors of every position.
        """
        tokens, count = g.shape[:2]
        u = (g @ self._attention.o_proj.weight).unflatten(-1, (-1, self._width)).permute(2, 0, 1, 3)
        back = self.pattern[:, :tokens, :tokens].transpose(1, 2)
        return (back @ u.flatten(2)).unflatten(-1, (count, self._width))

    def attention_back(self, g: Tensor) -> Tensor:
        """The gradient (tokens, n, hidden) in front of the attention, from the one behind it; the stream passes by."""
        z = self.through_heads(g).unflatten(0, (-1, self._groups)).sum(1)  # heads that share their values
        read = z.permute(1, 2, 0, 3).flatten(2) @ self._attention.v_proj.weight
        return g + read * self._into_attention[: len(g), None]

    def values_of(self, vectors: Tensor, position: Tensor) -> Tensor:
        """What vectors (n, hidden) of the stream at positions add to the values: (n, attention heads, width)."""
        read = (vectors * self._into_attention[position]) @ self._attention.v_proj.weight.T
        return read.unflatten(-1, (-1, self._width)).repeat_interleave(self._groups, 1)

    def experts_back(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """How the whole expert layer reads the stream, along a direction at each position.

        Args:
            g: (tokens, hidden) gradient behind the experts.

        Returns:
            Vectors (tokens, hidden) and constants (tokens,): ``vector . middle + constant`` is ``g . written``.
        """
        with torch.enable_grad():
            x = self.x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.experts(x, self.routing, self.factors), x, g)
        constants = self.experts.combine(self.experts.held(self.x, None), self.routing, self.factors)
        # relu(u)**2 has twice the derivative of relu(u) * u with one factor held.
        return gradient / 2 * self._into_experts, (g * constants).sum(-1)

    def experts_forward(self, moved: Tensor) -> Tensor:
        """What the expert layer writes more, (tokens, hidden), when the stream in front of it moves by ``moved``."""
        hidden = self.experts.held(self.x, moved * self._into_experts)
        still = self.experts.held(self.x, torch.zeros_like(moved))
        return self._combine(hidden) - self._combine(still)

    def _combine(self, hidden: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        return self.experts.combine(hidden, self.routing, self.factors)

    def attention_forward(self, moved: Tensor) -> Tensor:
        """What the attention writes more, (tokens, hidden), when the stream in front of it moves by ``moved``."""
        values = (moved * self._into_attention) @ self._attention.v_proj.weight.T
        values = repeat_kv(self._by_head(values), self._groups)[0]
        return (self.pattern @ values).transpose(0, 1).flatten(1) @ self._attention.o_proj.weight.T

    def contributions(self, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Position, expert and ``g . output`` of every active expert, sorted by position, then expert."""
        return expert_contributions(self.experts, self.x, self.routing, g, self.factors)

    def scores(self, position: Tensor, pairs: Pairs) -> Tensor:
        """(n, heads) what each routing head gives experts at positions, the edit's factor included."""
        return routing_scores(self.routing, self.factors, position, pairs).to(self.x)

    def outputs(self, position: Tensor, pairs: Pairs, score: Tensor) -> Tensor:
        """What experts write at positions, (n, hidden), at a score (n,)."""
        return self.experts.single(self.x[position], pairs) * score[:, None]

    def moved_outputs(self, position: Tensor, pairs: Pairs, score: Tensor, moved: Tensor) -> Tensor:
        """What experts write at positions, (n, hidden), when the stream in front of them moves by ``moved``."""
        x = self.x[position]
        return self.experts.single(x + (moved * self._into_experts)[position], pairs, held_at=x) * score[:, None]

    def reads(self, position: Tensor, pairs: Pairs, score: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """As ``experts_back`` for single experts at positions: vectors (n, hidden) and constants (n,)."""
        vectors, constants = self.experts.pull_back(self.x[position], g[position] * score[:, None], pairs)
        return vectors * self._into_experts[position], constants

    @torch.no_grad()
    def back(self, g: Tensor) -> Tensor:
        """The gradient (tokens, hidden) in front of the layer, from the one behind it."""
        return self.attention_back((g + self.experts_back(g)[0])[:, None])[:, 0]

    def choice(self, position: Tensor, pairs: Pairs, head: Tensor) -> Choice:
        """What made a routing head choose experts at positions. Only of a layer that owns a router."""
        router = self.router
        assert router is not None
        vectors, threshold = torch.zeros_like(self.x[position]), torch.zeros_like(self.x[position, 0])
        for key, projection, norm in zip(pairs, (router.w1, router.w2), (router.norm1, router.norm2), strict=True):
            weight = projection.weight.to(self.x)
            vectors += weight[head * router.keys + key]
            logits = (self.x[position] @ weight.T).unflatten(-1, (router.heads, router.keys))
            of_head = logits[torch.arange(len(head), device=head.device), head]
            threshold += _raw_threshold(of_head, norm, head, router.sigma)
        return Choice(head, vectors * self._into_experts[position], threshold)


def attention_pattern(attention: LlamaAttention, read: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Attention from every position to every earlier one, (attention heads, tokens, tokens), without dropout.

    Args:
        attention: the attention of a layer.
        read: (tokens, hidden) its input.
        rotary: cosines and sines of the rotary embedding, (1, tokens, width) each.
    """
    q, k = (_by_head(projection(read), attention.head_dim) for projection in (attention.q_proj, attention.k_proj))
    q, k = apply_rotary_pos_emb(q, k, *rotary)
    scores = (q @ repeat_kv(k, attention.num_key_value_groups).transpose(-1, -2))[0] * attention.scaling
    later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(later, float("-inf")).softmax(-1)


def routing_scores(routing: Routing, factors: Factors | None, position: Tensor, pairs: Pairs) -> Tensor:
    """(n, heads) what each routing head gives experts at positions, the factors of an edit included."""
    i, j = pairs
    first = _probability(routing.indices1, routing.probs1, routing.counts1, position, i)
    scores = first * _probability(routing.indices2, routing.probs2, routing.counts2, position, j)
    return scores * factors_of(factors, position, i * routing.num_keys + j).to(scores)[:, None]


def _by_head(values: Tensor, width: int) -> Tensor:
    """(1, heads, tokens, width) from (tokens, heads * width)."""
    return values.unflatten(-1, (-1, width)).transpose(0, 1)[None]


def _norm_factor(norm: LlamaRMSNorm, stream: Tensor) -> Tensor:
    scale = (stream.square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
    return norm.weight * scale


def _probability(keys: Tensor, probs: Tensor, counts: Tensor, position: Tensor, key: Tensor) -> Tensor:
    """(n, heads) the probability of a key at each position, 0 where it is not active."""
    used = torch.arange(keys.shape[-1], device=keys.device) < counts[position][..., None]
    return (probs[position] * (used & (keys[position] == key[:, None, None]))).sum(-1)


def _raw_threshold(logits: Tensor, norm: HeadNorm, head: Tensor, sigma: float) -> Tensor:
    """(n,) the raw logit that a key had to reach, from all (n, keys) logits of its head."""
    mean, var = norm.get_buffer("running_mean").to(logits)[head], norm.get_buffer("running_var").to(logits)[head]
    return torch.minimum(logits.amax(-1), mean + sigma * (var + norm.eps).sqrt())


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
        final: (tokens, hidden) residual stream in front of the final norm.
    """

    @torch.no_grad()
    def __init__(self, model: MonetForCausalLM, record: Record, dtype: torch.dtype) -> None:
        self.embedded = record.embedded[0].to(dtype)
        stream, rotary = self.embedded, rotary_of(model, record.embedded, dtype)
        self.layers: list[FrozenLayer] = []
        for index, (module, seen) in enumerate(zip(model.model.layers, record.layers, strict=True)):
            converted = module if model.dtype == dtype else copy.deepcopy(module).to(dtype)
            layer = FrozenLayer(converted, index, stream, rotary, seen.routing, seen.factors)
            if layer.router is None:
                layer.owner = self.layers[-1].owner
            self.layers.append(layer)
            stream = layer.after
        self.final = stream
