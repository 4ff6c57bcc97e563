"""What every decoder layer of a held model does: its attention, and what its norms multiply the stream with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, repeat_kv

if TYPE_CHECKING:
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaRMSNorm

    from monet_model.modeling import MonetDecoderLayer


class FrozenLayer:
    """One decoder layer, affine: see ``frozen``. Streams are (tokens, hidden); all tensors have one dtype.

    Subclasses run what stands behind the attention, experts or an MLP: they set ``written``, and implement ``mlp_back``
    and ``mlp_forward``.

    Attributes:
        index: the layer's number.
        pattern: (attention heads, tokens, tokens) attention from position (first) to position (second).
        before: (tokens, hidden) residual stream in front of the layer.
        middle: the same between attention and experts.
        x: (tokens, hidden) what the experts or the MLP read: ``middle``, normalised.
        written: (tokens, hidden) what they write.
    """

    written: Tensor

    def __init__(self, module: MonetDecoderLayer, index: int, stream: Tensor, rotary: tuple[Tensor, Tensor]) -> None:
        attention = module.self_attn
        self.index = index
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
        self._into_mlp = _norm_factor(module.post_attention_layernorm, self.middle)
        self.x = self.middle * self._into_mlp

    @property
    def after(self) -> Tensor:
        """(tokens, hidden) residual stream behind the layer."""
        return self.middle + self.written

    def mlp_back(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """How the experts or the MLP as a whole read the stream, along a direction at each position.

        Args:
            g: (tokens, hidden) gradient behind them.

        Returns:
            Vectors (tokens, hidden) and constants (tokens,): ``vector . middle + constant`` is ``g . written``.
        """
        raise NotImplementedError

    def mlp_forward(self, moved: Tensor) -> Tensor:
        """What the experts or the MLP write more, (tokens, hidden), when the stream before them moves by ``moved``."""
        raise NotImplementedError

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

    def attention_forward(self, moved: Tensor) -> Tensor:
        """What the attention writes more, (tokens, hidden), when the stream in front of it moves by ``moved``."""
        values = (moved * self._into_attention) @ self._attention.v_proj.weight.T
        values = repeat_kv(self._by_head(values), self._groups)[0]
        return (self.pattern @ values).transpose(0, 1).flatten(1) @ self._attention.o_proj.weight.T

    @torch.no_grad()
    def back(self, g: Tensor) -> Tensor:
        """The gradient (tokens, hidden) in front of the layer, from the one behind it."""
        return self.attention_back((g + self.mlp_back(g)[0])[:, None])[:, 0]


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


def _by_head(values: Tensor, width: int) -> Tensor:
    """(1, heads, tokens, width) from (tokens, heads * width)."""
    return values.unflatten(-1, (-1, width)).transpose(0, 1)[None]


def _norm_factor(norm: LlamaRMSNorm, stream: Tensor) -> Tensor:
    scale = (stream.square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
    return norm.weight * scale
