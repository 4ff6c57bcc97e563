"""The model over torch's fake tensors of a GPU: shapes and devices by torch's own rules, without values.

No operation of a pass makes a tensor anywhere else. Fake tensors have no values, so an operation that asks for one
fails. What does not run over them: an edit at some positions, as which of its factors hold follows from positions, and
the analyses, whose tables list what is active. The stand-in, which has values, runs these (``test_stand_in.py``).
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.utils._pytree import tree_leaves

from monet_model import MonetConfig, MonetForCausalLM
from monet_model.record import record_pass

from ..stand_in.fake import GPU, all_there
from .conftest import TINY


def _model(**fields: Any) -> MonetForCausalLM:
    with torch.device(GPU):
        return MonetForCausalLM(MonetConfig(**TINY | fields)).eval()


@pytest.fixture(params=["vertical", "horizontal"])
def model(request: pytest.FixtureRequest, fake_gpu: FakeTensorMode) -> MonetForCausalLM:
    """A fake model of each decomposition."""
    return _model(moe_decompose=request.param)


def _ids(tokens: int = 7) -> Tensor:
    return torch.zeros(2, tokens, dtype=torch.int64, device=GPU)


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("options", [{}, {"output_router_probs": True}, {"logits_to_keep": 1}])
@torch.no_grad()
def test_a_pass(
    model: MonetForCausalLM, edited: bool, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monet_model.edits.check_edits", lambda *_: None)  # asks for values, when an edit begins
    factors = torch.ones(8, 8)
    with model.edit_experts({2: factors}) if edited else nullcontext(), all_there():
        out = model(inputs_embeds=model.model.embed_tokens(_ids()), use_cache=False, **options)
    assert isinstance(out.logits, FakeTensor)
    assert out.logits.shape == (2, options.get("logits_to_keep", 7), 61)
    made = [one for one in tree_leaves([out.logits, out.router_probs]) if one is not None]
    assert {one.device for one in made} == {GPU}


@torch.no_grad()
def test_a_pass_in_half_precision(fake_gpu: FakeTensorMode) -> None:
    with torch.device(GPU):
        model = MonetForCausalLM._from_config(MonetConfig(**TINY), dtype=torch.bfloat16).eval()
    assert model.model.layers[0].router.norm1.running_mean.dtype == torch.float32
    with all_there():
        assert model(_ids(), use_cache=False).logits.dtype == torch.bfloat16


@torch.no_grad()
def test_a_cache(model: MonetForCausalLM) -> None:
    first = model(_ids(), use_cache=True)
    with all_there():
        second = model(_ids(2), past_key_values=first.past_key_values, use_cache=True)
    assert second.logits.shape == (2, 2, 61)
    assert {layer.keys.device for layer in second.past_key_values.layers} == {GPU}


@torch.no_grad()
def test_a_record(model: MonetForCausalLM) -> None:
    with all_there():
        record, _ = record_pass(model, lambda: model(_ids(), use_cache=False))
        part = record.row(1).until(3)
    for layer in part.layers:
        tensors = [layer.heads, layer.x, layer.output, layer.routing.probs1, layer.routing.counts2]
        assert {one.device for one in tensors} == {GPU}
        assert layer.x.shape == (1, 3, 24)


@torch.no_grad()
def test_a_text_that_is_padded_on_the_left(model: MonetForCausalLM) -> None:
    mask = torch.ones(2, 7, dtype=torch.int64, device=GPU)
    with all_there():
        assert model(_ids(), attention_mask=mask, use_cache=False).logits.device == GPU


@torch.no_grad()
def test_positions_of_an_edit_are_asked_for(model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monet_model.edits.check_edits", lambda *_: None)
    with pytest.raises(DataDependentOutputException), model.edit_experts({2: torch.ones(8, 8)}, [1]):
        model(_ids(), use_cache=False)


@torch.no_grad()
def test_lists_of_active_keys_have_a_length_of_their_own(fake_gpu: FakeTensorMode) -> None:
    """Where shapes may be symbols, the widths that values decide are such; elsewhere they are as wide as can be."""
    with FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=False):
        model = _model()
        routing = model.model.layers[0].router(torch.zeros(5, 24, device=GPU))
        assert isinstance(routing.probs1.shape[-1], torch.SymInt)
        assert routing.probs1.device == GPU
        assert routing.counts1.shape == (5, 2)
    assert _model().model.layers[0].router(torch.zeros(5, 24, device=GPU)).probs1.shape == (5, 2, 8)
    with pytest.raises(DynamicOutputShapeException):
        torch.zeros(3, device=GPU).nonzero()
