"""Mixed models made around dense ones: exact where nothing was replaced, refused where that could not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from monet_model import MonetForCausalLM, Routing, mixed_from_llama

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])
SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "eos_token_id": None,
}
EXPERTS: dict[str, Any] = {"moe_dim": 4, "moe_heads": 2, "moe_experts": 8, "moe_topk": 3}
DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 1e5}
ROPE = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
TEACHERS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SHAPE),
    "llama3": LlamaConfig(**SHAPE, head_dim=10, rope_parameters=ROPE | {"original_max_position_embeddings": 16}),
    "smollm2": LlamaConfig(
        **SHAPE, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e5}
    ),
    "llama-with-biases": LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "mistral": MistralConfig(**SHAPE, head_dim=10, sliding_window=None),
    "mistral-whose-window-holds-its-context": MistralConfig(**SHAPE, sliding_window=64),
    "qwen2": Qwen2Config(**SHAPE, tie_word_embeddings=True),
}


class TeachersMLP(nn.Module):
    """A dense model's MLP in the place of experts, which it takes the routing of and leaves."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp

    def forward(self, x: Tensor, routing: Routing, factors: object = None) -> Tensor:
        assert isinstance(routing, Routing)
        output: Tensor = self.mlp(x)
        return output


def _teacher(config: PreTrainedConfig, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    teacher = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            parameter.normal_(float("norm" in name), 0.3)
    return teacher


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", TEACHERS)
def test_mixed_model_with_the_teachers_mlps_back_is_the_teacher(kind: str, dtype: torch.dtype) -> None:
    teacher = _teacher(TEACHERS[kind], dtype)
    mixed = mixed_from_llama(teacher, [1, 2], **EXPERTS)
    assert mixed.dtype == dtype
    assert not mixed.training
    assert mixed.config.routing_groups == [range(1, 3)]
    assert not torch.equal(mixed(IDS).logits, teacher(IDS).logits)
    for layer in (1, 2):
        mixed.model.layers[layer].moe = TeachersMLP(teacher.model.layers[layer].mlp)
    assert torch.equal(mixed(IDS).logits, teacher(IDS).logits)
    how: dict[str, Any] = {"attention_mask": torch.ones_like(IDS), "max_new_tokens": 12, "do_sample": False}
    assert torch.equal(mixed.generate(IDS, **how, pad_token_id=0), teacher.generate(IDS, **how, pad_token_id=0))


@pytest.mark.parametrize("kind", ["llama3", "smollm2"])
@torch.no_grad()
def test_mixed_model_shares_nothing_with_its_teacher(kind: str, tmp_path: Path) -> None:
    teacher = _teacher(TEACHERS[kind])
    mixed = mixed_from_llama(teacher, [2], **EXPERTS)
    before = teacher(IDS).logits
    mine = mixed(IDS).logits
    for parameter in mixed.parameters():
        parameter.zero_()
    assert torch.equal(teacher(IDS).logits, before)
    again = mixed_from_llama(teacher, [2], **EXPERTS)
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == teacher.config.tie_word_embeddings
    again.save_pretrained(tmp_path)
    loaded = MonetForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(IDS).logits, again(IDS).logits)
    assert mine.isfinite().all()


def test_mixed_model_takes_groups_and_training_mode() -> None:
    mixed = mixed_from_llama(_teacher(TEACHERS["llama"]).train(), (3, 0, 1), moe_groups=1, **EXPERTS)
    assert mixed.config.routing_groups == [range(1), range(1, 2), range(3, 4)]
    assert mixed.config.dense_layers == [2]
    assert mixed.training
    assert mixed_from_llama(_teacher(TEACHERS["llama"]), []).config.routing_groups == []


@torch.no_grad()
def test_every_layer_can_get_experts(tmp_path: Path) -> None:
    mixed = mixed_from_llama(_teacher(TEACHERS["llama"]), range(4), moe_groups=2, **EXPERTS)
    assert mixed.config.routing_groups == [range(2), range(2, 4)]
    assert mixed.config.dense_layers == []
    mixed.save_pretrained(tmp_path)
    assert torch.equal(MonetForCausalLM.from_pretrained(tmp_path).eval()(IDS).logits, mixed(IDS).logits)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (Qwen3Config(**SHAPE, head_dim=6), "qwen3.*norms of queries and keys"),
        (Gemma2Config(**SHAPE, head_dim=6), "gemma2.*softcaps"),
        (CohereConfig(**SHAPE), "cohere.*parallel residual"),
        (MistralConfig(**SHAPE, sliding_window=8), "sliding window of 8 tokens"),
        (Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=8, max_window_layers=2), "sliding window of 8"),
    ],
)
def test_mixed_model_is_refused_by_the_name_of_what_is_not_exact(config: PreTrainedConfig, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        mixed_from_llama(AutoModelForCausalLM.from_config(config), [1], **EXPERTS)


def test_mixed_model_is_refused_for_weights_that_llama_has_not() -> None:
    teacher = LlamaForCausalLM(LlamaConfig(**SHAPE))
    teacher.model.layers[0].self_attn.q_norm = nn.LayerNorm(6)
    with pytest.raises(ValueError, match=r"has model\.layers\.0\.self_attn\.q_norm\.weight"):
        mixed_from_llama(teacher, [1], **EXPERTS)


def test_mixed_model_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="no language-model head"):
        mixed_from_llama(LlamaModel(LlamaConfig(**SHAPE)), [1])
    teacher = LlamaForCausalLM(LlamaConfig(**SHAPE))
    packed = LlamaForCausalLM(LlamaConfig(**SHAPE)).requires_grad_(False)
    packed.model.layers[0].mlp.up_proj.weight.data = torch.zeros(20, 24, dtype=torch.int8)
    with pytest.raises(ValueError, match=r"quantised \(model\.layers\.0\.mlp\.up_proj\.weight\)"):
        mixed_from_llama(packed, [1])
    with pytest.raises(ValueError, match="no layer 4; .*0 to 3"):
        mixed_from_llama(teacher, [1, 4])
    with pytest.raises(ValueError, match="'hidden_size' shapes no experts"):
        mixed_from_llama(teacher, [1], hidden_size=8)
