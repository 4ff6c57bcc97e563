"""The benchmark compares like with like; times are not tested."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cuda_ext import library
from monet_model.bench import EveryExpert, FormulaExperts, FormulaRouter, definitions, peak_bytes, pytorch_products
from monet_model.projection import project


@pytest.fixture
def case(make_model: Any) -> tuple[Any, ...]:
    """A layer of a vertical model, its input and factors."""
    return (make_model(moe_experts=16).model.layers[0], torch.randn(2, 20, 24), torch.rand(16, 16))


@torch.no_grad()
def test_bench_formulas_equal_the_model(case: tuple[Any, ...], error: Any) -> None:
    layer, x, _ = case
    formulas, routing = FormulaRouter(layer.router)(x), layer.router(x)
    for g, expected in zip(formulas, routing.dense(), strict=True):
        assert error(g.flatten(0, 1), expected) < 1e-6
    assert error(FormulaExperts(layer.moe)(x, formulas), layer.moe(x, routing)) < 1e-6


@torch.no_grad()
def test_bench_expansion_equals_the_edited_layer(case: tuple[Any, ...], error: Any) -> None:
    layer, x, factors = case
    routing = layer.router(x)
    assert error(EveryExpert(layer.moe)(x, routing, factors), layer.moe(x, routing, factors)) < 1e-6


@torch.no_grad()
def test_bench_contexts_switch_off_kernels_and_onednn(case: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the contexts only, and without changing results."""
    layer, x, _ = case
    plain = layer.moe(x, layer.router(x))
    loaded = library.CPU
    with definitions():
        assert not library.CPU.loaded
        assert torch.allclose(layer.moe(x, layer.router(x)), plain, atol=1e-5)
    assert library.CPU is loaded
    calls: list[Any] = []
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *args: calls.append(args))
    with pytorch_products():
        assert torch.allclose(project(layer.moe.u1, x), layer.moe.u1(x))
    assert not calls


def test_bench_peak_bytes_counts_what_is_alive_at_once() -> None:
    def chain() -> None:
        a = torch.zeros(1000)
        b = a + 1
        del a
        b.add(1)

    assert peak_bytes(lambda: torch.zeros(1000)) == pytest.approx(4000, rel=0.1)
    assert peak_bytes(chain) == pytest.approx(8000, rel=0.1)
