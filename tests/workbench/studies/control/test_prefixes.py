"""Sharing what sequences begin with changes no number."""

from __future__ import annotations

import pytest
import torch

from cuda_ext.routing import Routing
from workbench.studies.control.policy import make_model, refresh_statistics
from workbench.studies.control.prefixes import last_hidden


def states(count: int, length: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    columns = [torch.randint(1 + 64 * n, 1 + 64 * n + 6, (count,), generator=generator) for n in range(length - 1)]
    return torch.stack([torch.zeros(count, dtype=torch.int64), *columns], 1)


@pytest.mark.parametrize("length", [2, 4])
@pytest.mark.parametrize("changes", [{}, {"moe_decompose": "horizontal"}, {"num_key_value_heads": 4, "moe_heads": 1}])
def test_outputs_are_those_of_the_model(length: int, changes: dict[str, object]) -> None:
    model, ids = make_model(3, **changes), states(300, length)
    refresh_statistics(model, ids)
    with torch.no_grad():
        expected = model.model(ids).last_hidden_state[:, -1]
        assert torch.allclose(last_hidden(model, ids), expected, atol=2e-6)


def test_gradients_are_those_of_the_model() -> None:
    ids = states(60)
    gradients = []
    for shared in (True, False):
        model = make_model(3)
        refresh_statistics(model, ids)
        hidden = last_hidden(model, ids) if shared else model.model(ids).last_hidden_state[:, -1]
        (hidden * torch.linspace(-1, 1, hidden.shape[1])).square().sum().backward()
        gradients.append({name: p.grad for name, p in model.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-3, atol=1e-4), name


def test_the_routing_handed_out_is_that_of_the_distinct_beginnings() -> None:
    model, ids = make_model(3), states(60)
    refresh_statistics(model, ids)
    routed: list[Routing] = []
    with torch.no_grad():
        last_hidden(model, ids, routed)
        probs = model(ids, output_router_probs=True).router_probs
    beginnings = [torch.unique(ids[:, : length + 1], dim=0) for length in range(ids.shape[1])]
    assert [len(routing) for routing in routed] == [sum(map(len, beginnings)), len(beginnings[-1])]
    whole = [int((ids == row).all(1).nonzero()[0]) for row in beginnings[-1]]
    for layer in range(2):
        for side in range(2):
            shown = routed[layer].dense()[side][-len(whole) :]
            assert torch.allclose(shown, probs[layer][side][whole, -1], atol=1e-6)
