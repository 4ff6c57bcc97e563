"""The model differentiated in every way that PyTorch knows, exported for any length, and run without values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from monet_model import MonetForCausalLM
from monet_model.projection import MIN_TOKENS, project

DECOMPOSITIONS = pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
# To either side of where oneDNN takes over, and beyond what inference reads in one go.
LENGTHS = pytest.mark.parametrize("tokens", [6, MIN_TOKENS + 4])


@pytest.fixture
def logit(make_model: Any, decompose: str, tokens: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """One logit as a function of the embeddings (1, tokens, hidden), and embeddings."""
    model = make_model(moe_decompose=decompose, moe_experts=12, attn_implementation="eager").requires_grad_(False)
    embeddings = model.get_input_embeddings()(torch.arange(3, 3 + tokens)[None])
    return lambda x: model(inputs_embeds=x, use_cache=False).logits[0, -1, 6], embeddings


def slope(f: Callable[[Tensor], Tensor], x: Tensor, direction: Tensor) -> Tensor:
    """The derivative along a direction, by the ordinary backward pass."""
    x = x.clone().requires_grad_()
    return (torch.autograd.grad(f(x), x)[0] * direction).sum()


@DECOMPOSITIONS
@LENGTHS
@pytest.mark.parametrize("grad", [False, True])
def test_tangents_equal_gradients(logit: Any, error: Any, grad: bool) -> None:
    f, x = logit
    direction = torch.randn_like(x)
    wanted = slope(f, x, direction)
    with torch.set_grad_enabled(grad):
        value, tangent = torch.func.jvp(f, (x,), (direction,))
        assert error(tangent, wanted) < 1e-4
        assert error(value, f(x)) < 1e-5
        with forward_ad.dual_level():
            assert error(forward_ad.unpack_dual(f(forward_ad.make_dual(x, direction))).tangent, wanted) < 1e-4


@torch.no_grad()
def test_projections_keep_tangents_without_gradients() -> None:
    projection, x = torch.nn.Linear(5, 3), torch.randn(MIN_TOKENS, 5)
    with forward_ad.dual_level():
        made = project(projection, forward_ad.make_dual(x, torch.ones_like(x)))
        assert forward_ad.unpack_dual(made).tangent is not None


@DECOMPOSITIONS
@LENGTHS
def test_reverse_mode_transforms_equal_gradients(logit: Any, error: Any) -> None:
    f, x = logit
    direction = torch.randn_like(x)
    wanted = slope(f, x, direction)
    assert error((torch.func.grad(f)(x) * direction).sum(), wanted) < 1e-4
    assert error((torch.func.jacrev(f)(x) * direction).sum(), wanted) < 1e-4
    several = torch.stack([x, x.flip(1), x * 0.9])
    each = torch.vmap(torch.func.grad(f))(several)
    for one, gradient in zip(several, each, strict=True):
        assert error(gradient, torch.func.grad(f)(one)) < 1e-4


@DECOMPOSITIONS
@LENGTHS
def test_second_derivatives_agree(logit: Any, error: Any) -> None:
    """Reverse over reverse, with and without torch.func, and forward over reverse."""
    f, x = logit
    direction = torch.randn_like(x)
    wanted = torch.func.jvp(torch.func.grad(f), (x,), (direction,))[1]
    assert wanted.abs().max() > 0
    assert error(torch.autograd.functional.hvp(f, x, direction)[1], wanted) < 1e-3
    assert error(torch.func.grad(lambda x: (torch.func.grad(f)(x) * direction).sum())(x), wanted) < 1e-3
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(f(leaf), leaf, create_graph=True)
    assert error(torch.autograd.grad((gradient * direction).sum(), leaf)[0], wanted) < 1e-3


@DECOMPOSITIONS
def test_gradients_per_sample(make_model: Any, error: Any, decompose: str) -> None:
    """Of the loss of each of several sequences, for every weight, in one call: as in influence functions."""
    model = make_model(moe_decompose=decompose, attn_implementation="eager")
    weights, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    ids = torch.randint(3, 61, (3, 9), generator=torch.Generator().manual_seed(2))

    def loss(weights: dict[str, Tensor], ids: Tensor) -> Tensor:
        inputs = {"input_ids": ids[None], "labels": ids[None], "use_cache": False}
        return torch.func.functional_call(model, (weights, buffers), (), inputs).loss

    each = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, ids)
    for at, sample in enumerate(ids[:, None]):
        model.zero_grad()
        model(sample, labels=sample).loss.backward()
        for name, weight in weights.items():
            torch.testing.assert_close(each[name][at], weight.grad, atol=1e-5, rtol=1e-3, msg=name)


@DECOMPOSITIONS
@torch.no_grad()
def test_export_for_any_number_of_tokens(make_model: Any, error: Any, decompose: str) -> None:
    model = make_model(moe_decompose=decompose, num_hidden_layers=2, max_position_embeddings=256)
    length = torch.export.Dim("length", min=2, max=256)
    for example in (12, 40):
        inputs = {"input_ids": torch.arange(example)[None] % 60, "use_cache": False}
        shapes = {"input_ids": {1: length}, "use_cache": None}
        program = torch.export.export(model, (), inputs, dynamic_shapes=shapes, strict=False).module()
        for tokens in (2, 12, 200):
            ids = torch.randint(0, 61, (1, tokens))
            assert error(program(input_ids=ids, use_cache=False).logits, model(ids).logits) < 1e-5


def test_flop_counter_counts_the_same_without_gradients(make_model: Any) -> None:
    model, ids, counts = make_model(), torch.arange(40)[None], []
    for grad in (True, False):
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(grad):
            model(ids)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@DECOMPOSITIONS
@pytest.mark.parametrize("grad", [False, True])
def test_model_runs_without_values(make_model: Any, decompose: str, grad: bool) -> None:
    """On meta tensors and in fake mode, as estimators of memory and work run it."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    config = make_model(moe_decompose=decompose).config
    ids = torch.zeros(2, 40, dtype=torch.int64)
    with torch.device("meta"):
        empty = MonetForCausalLM(config)
    with torch.set_grad_enabled(grad):
        out = empty(ids.to("meta"), labels=ids.to("meta"))
        assert out.logits.shape == (2, 40, config.vocab_size)
        if grad:
            out.loss.backward()
            assert all(weight.grad is not None for weight in empty.parameters() if weight.requires_grad)
        with FakeTensorMode(allow_non_fake_inputs=True):
            assert MonetForCausalLM(config).eval()(torch.zeros(2, 40, dtype=torch.int64)).logits.shape[1] == 40
