"""Parity with the golden checkpoints: differences are shares of the expected tensor's largest magnitude."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monet_model import Routing

TOLERANCE = 1e-5


@torch.no_grad()
def test_golden_forward(golden: Any, error: Any) -> None:
    expected = golden.expected
    ids = expected["input_ids"]
    out = golden.model(ids, labels=ids, output_router_probs=True, output_hidden_states=True)
    assert error(out.logits, expected["logits"]) < TOLERANCE
    assert error(out.loss.view(1), expected["loss"]) < TOLERANCE
    assert len(out.hidden_states) == golden.model.config.num_hidden_layers + 1
    for layer, hidden in enumerate(out.hidden_states):
        assert error(hidden, expected[f"hidden_states.{layer}"]) < TOLERANCE, f"hidden state {layer}"
    for layer, pair in enumerate(out.router_probs):
        assert (pair is None) == (f"router.{layer}.g1" not in expected)
        for side, g in zip(("g1", "g2"), pair or (), strict=False):
            name = f"router.{layer}.{side}"
            assert error(g, expected[name]) < TOLERANCE, name
            assert ((g > 0) == (expected[name] > 0)).all(), f"{name}: active keys"


def test_golden_values_equal_the_dense_oracle(golden: Any, error: Any, oracle: Any) -> None:
    """The oracle that other tests compare with is itself held to the golden outputs."""
    assert error(oracle(golden.model)(golden.expected["input_ids"]), golden.expected["logits"]) < TOLERANCE


def keep_edits(golden: Any) -> dict[int, torch.Tensor]:
    """The golden masks as factor matrices."""
    return {
        group.start: golden.expected[f"masked.keep.{group.start}"].float()
        for group in golden.model.config.routing_groups
    }


@torch.no_grad()
def test_golden_masked_logits(golden: Any, error: Any) -> None:
    with golden.model.edit_experts(keep_edits(golden)):
        logits = golden.model(golden.expected["input_ids"]).logits
    assert error(logits, golden.expected["masked.logits"]) < TOLERANCE
    assert error(logits, golden.expected["logits"]) > 100 * TOLERANCE, "the masks change the output"


@torch.no_grad()
def test_golden_masked_layer_outputs(golden: Any, error: Any) -> None:
    """Each expert layer's masked output, at the input and the routing that the masked model gives it."""
    inputs: dict[int, torch.Tensor] = {}
    model, edits = golden.model, keep_edits(golden)
    handles = [
        layer.post_attention_layernorm.register_forward_hook(
            lambda _module, _args, out, index=index: inputs.__setitem__(index, out)
        )
        for index, layer in enumerate(model.model.layers)
    ]
    try:
        with model.edit_experts(edits):
            probs = model(golden.expected["input_ids"], output_router_probs=True).router_probs
    finally:
        for handle in handles:
            handle.remove()
    for group in model.config.routing_groups:
        for layer in group:
            out = model.model.layers[layer].moe(
                inputs[layer], Routing.from_dense(*probs[group.start]), edits[group.start]
            )
            assert error(out, golden.expected[f"masked.moe_out.{layer}"]) < TOLERANCE, f"layer {layer}"


@pytest.mark.parametrize("use_cache", [True, False])
def test_golden_greedy_generation(golden: Any, use_cache: bool) -> None:
    prompt, expected = golden.expected["input_ids"][:, :4], golden.expected["greedy_generate"]
    made = golden.model.generate(
        prompt, max_length=expected.shape[1], do_sample=False, use_cache=use_cache, pad_token_id=0
    )
    assert torch.equal(made, expected)
