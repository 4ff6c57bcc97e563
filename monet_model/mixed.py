"""A mixed model around a dense one: layers of experts in place of some MLPs, everything else as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .modeling import MonetConfig, MonetForCausalLM

LLAMA_SHAPED = ("llama", "mistral", "qwen2")  # transformers' model types whose layers LLaMA's decoder layer computes
# What other architectures compute that it does not.
FEATURES = {
    "cohere": "a parallel residual",
    "cohere2": "a parallel residual and sliding windows",
    "falcon": "a parallel residual and LayerNorm",
    "gemma": "scaled embeddings and norm weights that are offset by 1",
    "gemma2": "softcaps and norms behind attention and MLP",
    "gemma3": "norms of queries and keys and sliding windows",
    "gemma3_text": "norms of queries and keys and sliding windows",
    "glm4": "rotary embedding of a part of each head and norms behind attention and MLP",
    "gpt2": "LayerNorm and learned positions",
    "gpt_neox": "a parallel residual and LayerNorm",
    "granite": "multipliers of embeddings, attention, residuals and logits",
    "mixtral": "a mixture of experts",
    "olmo2": "norms behind attention and MLP and norms of queries and keys",
    "phi": "a parallel residual and LayerNorm",
    "phi3": "projections in one matrix and sliding windows",
    "qwen3": "norms of queries and keys",
    "smollm3": "layers without rotary embedding",
    "stablelm": "LayerNorm and rotary embedding of a part of each head",
}
_SAME = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act"),
    *("num_key_value_heads", "max_position_embeddings", "initializer_range", "rms_norm_eps", "tie_word_embeddings"),
    *("rope_parameters", "attention_dropout", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id"),
)
OF_EXPERTS = ("moe_dim", "moe_heads", "moe_experts", "moe_topk", "moe_groups", "moe_decompose", "router_aux_loss_coef")


def mixed_from_llama(teacher: PreTrainedModel, layers: Iterable[int], **experts: Any) -> MonetForCausalLM:
    """Build a mixed model: a dense model's weights, with new layers of experts in place of the MLPs of some layers.

    Experts and routers are initialised at random, and read what the MLP read: the stream behind the norm after
    attention. All other weights are copies of the dense model's, and these layers compute exactly what it computes.

    Args:
        teacher: the dense model with its head: of transformers' type llama (SmolLM2 among others), mistral or qwen2,
            without a sliding window that its context exceeds.
        layers: the layers that get experts.
        experts: fields of ``MonetConfig`` that shape the experts: ``moe_dim``, ``moe_heads``, ``moe_experts``,
            ``moe_topk``, ``moe_decompose``, ``router_aux_loss_coef``, and ``moe_groups``, the layers that share a
            router, by default all of them.

    Returns:
        The model, in the dtype, on the device and in the mode of ``teacher``.

    Raises:
        ValueError: the dense model computes something that LLaMA's layers do not, which the message names; there is no
            such layer; or a field of ``experts`` is unknown or out of range.

    Examples:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from monet_model import mixed_from_llama
        >>> shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
        >>> teacher = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=100))
        >>> mixed = mixed_from_llama(teacher, [1, 2], moe_dim=4, moe_heads=2, moe_experts=16, moe_topk=4)
        >>> mixed.config.dense_layers, mixed.config.routing_groups
        ([0, 3], [range(1, 3)])
    """
    check_llama_shaped(teacher)
    if unknown := sorted(set(experts) - set(OF_EXPERTS)):
        raise ValueError(f"{unknown[0]!r} shapes no experts; choose from {', '.join(OF_EXPERTS)}.")
    count, chosen = teacher.config.num_hidden_layers, sorted(set(layers))
    if strays := [layer for layer in chosen if layer not in range(count)]:
        raise ValueError(f"there is no layer {strays[0]}; the dense model has the layers 0 to {count - 1}.")
    same = copy.deepcopy({name: getattr(teacher.config, name) for name in _SAME})
    if len(chosen) == count:  # no gate is left that the activation could be of
        same |= {"hidden_act": "relu2", "intermediate_size": None}
    config = MonetConfig(
        **same,
        head_dim=teacher.model.layers[0].self_attn.head_dim,
        attention_bias=teacher.model.layers[0].self_attn.q_proj.bias is not None,
        mlp_bias=teacher.model.layers[0].mlp.up_proj.bias is not None,
        dense_layers=[layer for layer in range(count) if layer not in chosen],
        **{"moe_groups": max(len(chosen), 1)} | experts,
    )
    attention = teacher.config._attn_implementation
    mixed: MonetForCausalLM = MonetForCausalLM._from_config(config, dtype=teacher.dtype, attn_implementation=attention)
    _copy_weights(teacher, mixed)
    if teacher.generation_config is not None:
        mixed.generation_config = copy.deepcopy(teacher.generation_config)
    nn.Module.to(mixed, teacher.device)
    return mixed.train(teacher.training)


def check_llama_shaped(teacher: PreTrainedModel) -> None:
    """Raise ValueError, naming what differs, unless LLaMA's decoder layers compute exactly what a model computes."""
    config, kind = teacher.config, teacher.config.model_type
    if kind not in LLAMA_SHAPED:
        what = FEATURES.get(kind, f"an architecture that is none of {', '.join(LLAMA_SHAPED)}")
        raise ValueError(f"a {kind} model has {what}, which LLaMA's decoder layers do not compute exactly.")
    if teacher.get_output_embeddings() is None:
        raise ValueError(f"{type(teacher).__name__} has no language-model head; load it with AutoModelForCausalLM.")
    if stored := [name for name, weight in teacher.state_dict().items() if not weight.is_floating_point()]:
        raise ValueError(f"the dense model is quantised ({stored[0]}); load it without quantisation.")
    window, context = getattr(config, "sliding_window", None), config.max_position_embeddings
    if window is not None and window < context:
        raise ValueError(
            f"the dense model attends to a sliding window of {window:,} tokens in a context of {context:,}, and "
            f"LLaMA's layers to all of it. Within max_position_embeddings={window} the two are the same."
        )


@torch.no_grad()
def _copy_weights(teacher: PreTrainedModel, mixed: MonetForCausalLM) -> None:
    """Give a mixed model all weights of the dense one but those of the MLPs that experts replace.

    Raises:
        ValueError: the dense model has weights that LLaMA's layers do not have, or lacks some.
    """
    known, new = teacher.state_dict(), mixed.state_dict()
    replaced = [f"model.layers.{layer}.mlp." for layers in mixed.config.routing_groups for layer in layers]
    beyond = [name for name in known if name not in new and not name.startswith(tuple(replaced))]
    lacking = [name for name in new if name not in known and ".moe." not in name and ".router." not in name]
    unbiased = [name for name in lacking if not name.endswith("self_attn.o_proj.bias")]  # qwen2 has biases but this one
    if beyond or unbiased:
        problem = f"has {beyond[0]}" if beyond else f"lacks {unbiased[0]}"
        raise ValueError(f"the dense model {problem}, unlike a LLaMA model of its configuration.")
    for name, tensor in new.items():
        if name in known:
            tensor.copy_(known[name])
        elif name in lacking:
            tensor.zero_()
