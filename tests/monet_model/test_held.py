"""Weights held in half precision: the numbers of a float32 copy, the file's own bytes, in every use of the model."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from monet_model import MonetConfig, MonetForCausalLM
from monet_model.held import hold_weights, is_held, rows_times, stored_weight
from monet_model.record import record_pass

HALVES = [torch.bfloat16, torch.float16]
SIZES = {"vocab_size": 96, "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 4, "moe_experts": 16}
SIZES |= {"num_key_value_heads": 2, "moe_heads": 2, "moe_groups": 2, "moe_topk": 4, "moe_dim": 4}


def _models(half: torch.dtype, **settings: object) -> tuple[MonetForCausalLM, MonetForCausalLM]:
    """A model that holds half precision, and the same in float32."""
    torch.manual_seed(0)
    small = MonetForCausalLM(MonetConfig(**SIZES, **settings)).to(half).eval()
    wide = copy.deepcopy(small).float()
    return hold_weights(small), wide


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, 96, (3, 60), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
@pytest.mark.parametrize("tied", [False, True])
@torch.no_grad()
def test_numbers_are_those_of_a_float32_copy(half, decompose, tied, ids) -> None:
    held, wide = _models(half, moe_decompose=decompose, tie_word_embeddings=tied)
    assert held.dtype == torch.float32
    assert stored_weight(held.lm_head).dtype == half
    assert (stored_weight(held.lm_head) is stored_weight(held.model.embed_tokens)) == tied
    for tokens in (ids, ids[:1, :20], ids[:1, :1]):  # above and below what experts read at a time
        assert torch.equal(held(tokens).logits, wide(tokens).logits)
    assert torch.equal(held(inputs_embeds=wide.model.embed_tokens(ids)).logits, wide(ids).logits)


def test_gradients_and_records_are_those_of_a_float32_copy(ids) -> None:
    held, wide = _models(torch.bfloat16)
    found = []
    for model in (held, wide):
        embeds = wide.model.embed_tokens(ids).detach().requires_grad_()
        model(inputs_embeds=embeds, labels=ids).loss.backward()
        with torch.no_grad():
            record, _ = record_pass(model, lambda model=model: model.model(ids, use_cache=False))
        found.append((embeds.grad, record.final))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_edits_and_generation_work(ids) -> None:
    held, wide = _models(torch.bfloat16)
    edit = {0: torch.rand(16, 16, generator=torch.Generator().manual_seed(2))}
    with torch.no_grad(), held.edit_experts(edit), wide.edit_experts(edit):
        assert torch.equal(held(ids).logits, wide(ids).logits)
    arguments = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(held.generate(ids[:1, :5], **arguments), wide.generate(ids[:1, :5], **arguments))


def test_what_is_saved_is_what_was_loaded(tmp_path: Path) -> None:
    held, _ = _models(torch.bfloat16)
    held.save_pretrained(tmp_path)
    again = MonetForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor.float(), held.state_dict()[name].float()), name
    assert stored_weight(again.lm_head).dtype == stored_weight(held.lm_head).dtype == torch.bfloat16


def test_experts_with_a_hook_are_called_and_see_float32(ids) -> None:
    held, wide = _models(torch.bfloat16)
    seen = []
    held.model.layers[1].moe.u1.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    with torch.no_grad():
        torch.testing.assert_close(held(ids).logits, wide(ids).logits, rtol=1e-5, atol=1e-6)
    assert seen == [torch.float32]


def test_a_model_in_float32_is_left_alone() -> None:
    _, wide = _models(torch.bfloat16)
    assert hold_weights(wide) is wide
    assert not any(map(is_held, wide.modules()))
    assert all(type(module) in (nn.Linear, nn.Embedding) for module in (wide.lm_head, wide.model.embed_tokens))


def test_held_weights_that_are_moved_to_float32_are_plain_again(ids) -> None:
    held, wide = _models(torch.float16)
    with torch.no_grad():
        assert torch.equal(held.float()(ids).logits, wide(ids).logits)
        assert held.double()(ids).logits.dtype == torch.float64
    assert not any(map(is_held, held.modules()))


@pytest.mark.parametrize("half", HALVES)
@torch.no_grad()
def test_rows_are_converted_a_few_at_a_time(half) -> None:
    held, wide = _models(half)
    x = torch.randn(3, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(3))  # more than ROWS outputs
    expected = x @ wide.lm_head.weight.double()
    for module in (held.lm_head, wide.lm_head):
        torch.testing.assert_close(rows_times(x, module), expected)
    assert torch.equal(rows_times(x.float(), wide.lm_head), x.float() @ wide.lm_head.weight)
