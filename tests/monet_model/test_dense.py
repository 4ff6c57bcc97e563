"""Dense layers: LLaMA's, to the last bit, alone and beside layers with experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaMLP

from monet_model import MonetConfig, MonetForCausalLM
from monet_model.dense import DenseMLP
from monet_model.held import hold_weights, stored_weight

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "eos_token_id": None,
}
LLAMAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped-kv": {"num_key_value_heads": 2},
    "one-kv-head-of-its-own-width": {"num_key_value_heads": 1, "head_dim": 10},
    "tied": {"tie_word_embeddings": True},
    "llama3-rope": {"rope_parameters": LLAMA3},
    "linear-rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e5, "factor": 2.0}},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "gelu": {"hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-3},
    "everything": {"num_key_value_heads": 2, "head_dim": 6, "tie_word_embeddings": True, "rope_parameters": LLAMA3},
}


def _randomise(model: torch.nn.Module, seed: int = 0) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float("norm" in name), 0.3)


def _pair(fields: dict[str, Any], dtype: torch.dtype) -> tuple[LlamaForCausalLM, MonetForCausalLM]:
    """A random LLaMA model, and the mixed model of dense layers alone that has its weights."""
    llama = LlamaForCausalLM._from_config(LlamaConfig(**SHAPE | fields), dtype=dtype).eval()
    _randomise(llama)
    config = MonetConfig(**{"hidden_act": "silu"} | SHAPE | fields, dense_layers=[0, 1, 2])
    dense = MonetForCausalLM._from_config(config, dtype=dtype).eval()
    dense.load_state_dict(llama.state_dict())
    return llama, dense


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("llama", LLAMAS)
def test_dense_layers_are_llamas(llama: str, dtype: torch.dtype) -> None:
    theirs, ours = _pair(LLAMAS[llama], dtype)
    assert torch.equal(ours(IDS).logits, theirs(IDS).logits)
    with torch.no_grad():  # the two may multiply with other libraries here
        long = torch.arange(60)[None] * 7 % 61
        torch.testing.assert_close(ours(long).logits, theirs(long).logits, rtol=0, atol=1e-5)
    masked = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])
    assert torch.equal(ours(IDS, attention_mask=masked).logits[:, 2:], theirs(IDS, attention_mask=masked).logits[:, 2:])


@pytest.mark.parametrize("llama", ["everything", "biases"])
def test_dense_layers_generate_as_llama_does(llama: str) -> None:
    theirs, ours = _pair(LLAMAS[llama], torch.float32)
    how: dict[str, Any] = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0}
    mask = torch.ones_like(IDS)
    expected = theirs.generate(IDS, attention_mask=mask, **how)
    assert torch.equal(ours.generate(IDS, attention_mask=mask, **how), expected)
    assert torch.equal(ours.generate(IDS, attention_mask=mask, use_cache=False, **how), expected)


def test_gradients_of_dense_layers_are_llamas() -> None:
    theirs, ours = _pair(LLAMAS["everything"], torch.float32)
    theirs.train()(IDS, labels=IDS).loss.backward()
    ours.train()(IDS, labels=IDS).loss.backward()  # without routers there are no auxiliary losses
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter.grad, expected[name].grad), name


@torch.no_grad()
def test_mixed_model_equals_the_dense_oracle(mixed_model: MonetForCausalLM, oracle: Any, error: Any) -> None:
    edits = {group[0]: torch.rand(8, 8) * 2 for group in mixed_model.config.routing_groups}
    assert error(mixed_model(IDS).logits, oracle(mixed_model)(IDS)) < 1e-5
    with mixed_model.edit_experts(edits):
        assert error(mixed_model(IDS).logits, oracle(mixed_model)(IDS, edits)) < 1e-5


def test_mixed_model_has_the_names_of_llama_in_dense_layers(mixed_model: MonetForCausalLM) -> None:
    names, config = mixed_model.state_dict(), mixed_model.config
    for layer, group in enumerate(config.layer_groups):
        inside = {name.split(".")[3] for name in names if name.startswith(f"model.layers.{layer}.")}
        owns = any(layers[0] == layer for layers in config.routing_groups)
        assert inside & {"mlp", "moe", "router"} == ({"mlp"} if group < 0 else {"moe", "router"} if owns else {"moe"})


@torch.no_grad()
def test_mixed_model_survives_saving_and_loading(mixed_model: MonetForCausalLM, tmp_path: Path) -> None:
    mixed_model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(again) is MonetForCausalLM
    assert again.config.dense_layers == mixed_model.config.dense_layers
    assert torch.equal(again(IDS).logits, mixed_model(IDS).logits)


@torch.no_grad()
def test_mixed_model_generates_the_same_with_and_without_a_cache(mixed_model: MonetForCausalLM) -> None:
    how: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    mask = torch.ones_like(IDS)
    cached = mixed_model.generate(IDS, attention_mask=mask, **how)
    assert torch.equal(cached, mixed_model.generate(IDS, attention_mask=mask, use_cache=False, **how))


@torch.no_grad()
def test_dense_layers_hold_half_precision(mixed_model: MonetForCausalLM, tmp_path: Path) -> None:
    mixed_model.save_pretrained(tmp_path)
    half = MonetForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    wide = MonetForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).eval().float()
    held = hold_weights(half)
    mlp = next(layer.mlp for layer in held.model.layers if layer.mlp is not None)
    assert stored_weight(mlp.gate_proj).dtype == torch.bfloat16
    assert torch.equal(held(IDS).logits, wide(IDS).logits)


def test_mixed_model_trains_with_gradient_checkpointing(make_model: Any) -> None:
    fields: dict[str, Any] = {"dense_layers": [0, 2], "intermediate_size": 20, "hidden_act": "silu"}
    losses = []
    for checkpointed in (False, True):
        model = make_model(**fields).train()
        if checkpointed:
            model.gradient_checkpointing_enable()
        loss = model(IDS, labels=IDS).loss
        loss.backward()
        losses.append((loss.detach(), [parameter.grad for parameter in model.parameters()]))
    torch.testing.assert_close(*losses)
    assert all(gradient is not None for gradient in losses[0][1])


def _mlp(bias: bool) -> DenseMLP:
    config = MonetConfig(**SHAPE, hidden_act="silu", dense_layers=[0], mlp_bias=bias)
    mlp = DenseMLP(config).double()
    _randomise(mlp)
    return mlp


@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_dense_mlp_comes_apart_into_neurons(bias: bool) -> None:
    mlp, x, direction = _mlp(bias), *torch.randn(2, 5, 24, dtype=torch.float64)
    assert torch.equal(mlp(x), LlamaMLP.forward(mlp, x))
    each = mlp.contributions(x, direction)
    assert each.shape == (5, 20)
    rest: Tensor | float = 0.0 if mlp.down_proj.bias is None else direction @ mlp.down_proj.bias
    torch.testing.assert_close(each.sum(-1) + rest, (mlp(x) * direction).sum(-1))
    alone = mlp.neurons(x)[2, 7] * mlp.down_proj.weight[:, 7] @ direction[2]
    torch.testing.assert_close(each[2, 7], alone)


@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_dense_mlp_is_affine_where_gates_are_held(bias: bool) -> None:
    """It has its own value at the input, and moves with it as the formula with fixed gates does."""
    mlp, x, direction, move = _mlp(bias), *torch.randn(3, 5, 24, dtype=torch.float64)
    vectors, constants = mlp.pull_back(x, direction)
    torch.testing.assert_close((vectors * x).sum(-1) + constants, (mlp(x) * direction).sum(-1))
    gates = torch.nn.functional.silu(mlp.gate_proj(x))
    after = mlp.down_proj(gates * mlp.up_proj(x + move))
    torch.testing.assert_close((vectors * (x + move)).sum(-1) + constants, (after * direction).sum(-1))
    torch.testing.assert_close(mlp.moved(x, move), after - mlp(x))
