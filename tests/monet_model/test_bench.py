"""The benchmark compares like with like; how long anything takes is no test's business."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monet_model.bench import PLAIN, FormulaExperts, FormulaRouter, expanded, measure


@pytest.fixture
def case(make_model: Any) -> tuple[Any, ...]:
    """A layer of a vertical model, its input, dense routing and factors."""
    layer, x = make_model(moe_experts=16).model.layers[0], torch.randn(9, 24)
    with torch.no_grad():
        return (layer, x, *layer.router(x), torch.rand(16, 16))


@torch.no_grad()
def test_the_formulas_are_the_model(case: tuple[Any, ...], error: Any) -> None:
    layer, x, g1, g2, _ = case
    formula1, formula2 = FormulaRouter(layer.router)(x)
    assert error(formula1, g1) < 1e-6
    assert error(formula2, g2) < 1e-6
    assert error(FormulaExperts(layer.moe)(x, g1, g2), layer.moe(x, g1, g2)) < 1e-6


@torch.no_grad()
def test_the_expansion_is_the_edit(case: tuple[Any, ...], error: Any) -> None:
    layer, x, g1, g2, factors = case
    assert error(expanded(layer.moe, x, g1, g2, factors), layer.moe(x, g1, g2, factors)) < 1e-6


def test_peak_memory_counts_what_is_alive_at_once() -> None:
    def chain() -> None:
        a = torch.zeros(1000)
        b = a + 1
        del a
        b.add(1)

    table = measure({PLAIN: lambda: torch.zeros(1000), "two alive": chain}, tokens=1, repeats=1)
    assert table[PLAIN]["kilobytes"] == pytest.approx(4, rel=0.1)
    assert table["two alive"]["kilobytes / plain"] == pytest.approx(2, rel=0.1)
