"""Products by oneDNN: PyTorch's to rounding, and only where nothing else wants to see or change the projection."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from monet_model.projection import FEW, is_plain, product, project


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The calls of oneDNN's product, which still happens."""
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
def test_it_is_the_product(calls: list[Any], bias: bool, activation: str) -> None:
    projection = nn.Linear(30, 50, bias=bias)
    for x in (torch.randn(2, FEW, 30), torch.randn(60, FEW).T.unflatten(1, (2, 30))[:, 0]):
        expected = projection(x).relu() if activation == "relu" else projection(x)
        torch.testing.assert_close(project(projection, x, activation), expected)
    assert len(calls) == 2


def test_everything_else_goes_through_the_module(calls: list[Any]) -> None:
    """Gradients, other dtypes, few tokens, autocast, and projections that are watched."""
    projection, x = nn.Linear(30, 50), torch.randn(FEW, 30)
    assert project(projection, x, "relu").requires_grad
    with torch.no_grad():
        assert project(projection, x[: FEW - 1]).shape == (FEW - 1, 50)
        assert project(nn.Linear(30, 50).double(), x.double()).dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            assert project(projection, x).dtype == torch.bfloat16
        seen: list[Any] = []
        projection.register_forward_hook(lambda *_: seen.append(1))
        assert not is_plain(projection)
        project(projection, x)
    assert seen == [1]
    assert not calls


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch was built without oneDNN")
@torch.no_grad()
def test_products_with_a_bare_matrix(calls: list[Any]) -> None:
    x, matrix = torch.rand(FEW, 24), torch.rand(24, 8)
    assert torch.allclose(product(x, matrix), x @ matrix, rtol=1e-6)
    assert len(calls) == 1
    assert torch.equal(product(x[1:], matrix), x[1:] @ matrix)
    assert product(x.bfloat16(), matrix).dtype == torch.bfloat16
    assert len(calls) == 1
