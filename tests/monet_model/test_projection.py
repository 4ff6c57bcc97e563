"""Products by oneDNN: equal to PyTorch's up to rounding, and only where no hook or adapter is on the projection."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from monet_model.projection import MIN_TOKENS, is_plain, product, project


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of oneDNN's product, which are counted and carried out."""
    seen: list[Any] = []
    product = torch.ops.mkldnn._linear_pointwise

    def counted(*args: Any) -> Any:
        seen.append(args)
        return product(*args)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", counted)
    return seen


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch was built without oneDNN")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["none", "relu"])
@torch.no_grad()
def test_project_equals_the_linear_layer(calls: list[Any], bias: bool, activation: str) -> None:
    projection = nn.Linear(30, 50, bias=bias)
    for x in (torch.randn(2, MIN_TOKENS, 30), torch.randn(60, MIN_TOKENS).T.unflatten(1, (2, 30))[:, 0]):
        expected = projection(x).relu() if activation == "relu" else projection(x)
        torch.testing.assert_close(project(projection, x, activation), expected)
    assert len(calls) == 2


def test_project_calls_the_module_where_onednn_does_not_suit(calls: list[Any]) -> None:
    """Gradients, other dtypes, few tokens, autocast, and projections that are watched."""
    projection, x = nn.Linear(30, 50), torch.randn(MIN_TOKENS, 30)
    assert project(projection, x, "relu").requires_grad
    with torch.no_grad():
        assert project(projection, x[: MIN_TOKENS - 1]).shape == (MIN_TOKENS - 1, 50)
        assert project(nn.Linear(30, 50).double(), x.double()).dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            assert project(projection, x).dtype == torch.bfloat16
        seen: list[Any] = []
        projection.register_forward_hook(lambda *_: seen.append(1))
        assert not is_plain(projection)
        project(projection, x)
    assert seen == [1]
    assert not calls


class Packed(torch.Tensor):
    """A weight that only PyTorch's own functions read, as those of quantisation libraries are."""


@torch.no_grad()
def test_projections_with_packed_weights_are_called(calls: list[Any]) -> None:
    """Such libraries replace the weight of a layer, or the layer; a router may have either."""
    projection, x = nn.Linear(30, 50), torch.randn(MIN_TOKENS, 30)
    wanted = projection(x)
    projection.weight = nn.Parameter(projection.weight.data.as_subclass(Packed))
    assert not is_plain(projection)
    torch.testing.assert_close(project(projection, x).as_subclass(torch.Tensor), wanted)
    product(x, projection.weight.T)
    assert not calls


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_routers_take_packed_weights(make_model: Any, error: Any, dtype: torch.dtype) -> None:
    router, x = make_model().model.layers[0].router.to(dtype), torch.randn(MIN_TOKENS, 24)
    wanted = router.logits(x)
    for side in (router.w1, router.w2):
        side.weight = nn.Parameter(side.weight.data.as_subclass(Packed))
    for found, expected in zip(router.logits(x), wanted, strict=True):
        assert found.dtype == torch.float32
        assert error(found.as_subclass(torch.Tensor), expected) < (1e-6 if dtype == torch.float32 else 2e-2)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_model_takes_pytorchs_own_quantisation(make_model: Any, error: Any) -> None:
    """Whose layers have a method where others have a weight."""
    model, ids = make_model(), torch.arange(3, 43)[None]
    quantised = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    assert type(quantised.model.layers[0].router.w1) is not nn.Linear
    for tokens in (3, 40):
        assert (quantised(ids[:, :tokens]).logits - model(ids[:, :tokens]).logits).abs().median() < 1.0


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch was built without oneDNN")
@torch.no_grad()
def test_product_equals_the_matrix_product(calls: list[Any]) -> None:
    x, matrix = torch.rand(MIN_TOKENS, 24), torch.rand(24, 8)
    assert torch.allclose(product(x, matrix), x @ matrix, rtol=1e-6)
    assert len(calls) == 1
    assert torch.equal(product(x[1:], matrix), x[1:] @ matrix)
    assert product(x.bfloat16(), matrix).dtype == torch.bfloat16
    assert len(calls) == 1


@torch.no_grad()
def test_project_works_without_the_private_onednn_op(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    projection, x = nn.Linear(30, 50), torch.randn(MIN_TOKENS, 30)
    assert torch.equal(project(projection, x, "relu"), projection(x).relu())
    assert torch.equal(product(x, projection.weight.T), x @ projection.weight.T)
