"""Gradients of experts, router and losses against finite differences, and a few steps of learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from monet_model import Routing
from monet_model.losses import ambiguity_loss, uniformity_loss
from monet_model.router import head_thresholds, select_keys

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
def test_experts_pass_gradcheck(make_model: Any, decompose: str) -> None:
    """Gradients for the input, the routing and every weight, in float64."""
    experts = make_model(moe_decompose=decompose, hidden_size=8, moe_experts=3, moe_topk=2).model.layers[0].moe.double()
    x, (g1, g2) = torch.randn(3, 8, dtype=torch.float64), torch.rand(2, 3, 2, 3, dtype=torch.float64)
    names = [name for name, _ in experts.named_parameters()]
    weights = [parameter.detach().requires_grad_() for parameter in experts.parameters()]

    def run(x: Tensor, g1: Tensor, g2: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(
            experts, dict(zip(names, weights, strict=True)), (x, Routing.from_dense(g1, g2))
        )

    assert torch.autograd.gradcheck(run, [t.requires_grad_() for t in (x, g1, g2)] + weights)


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
def test_edited_experts_pass_gradcheck(make_model: Any, decompose: str) -> None:
    """Edits train too: gradients for the input, the routing probabilities and the factors."""
    experts = make_model(moe_decompose=decompose, hidden_size=8, moe_experts=3, moe_topk=2).model.layers[0].moe.double()
    x, (g1, g2) = torch.randn(3, 8, dtype=torch.float64), torch.rand(2, 3, 2, 3, dtype=torch.float64) + 0.1
    g1[0, 0, 1] = g2[1, 1, 2] = 0
    factors = torch.rand(3, 3, dtype=torch.float64)

    def run(x: Tensor, g1: Tensor, g2: Tensor, factors: Tensor) -> Tensor:
        # An inactive key has no gradient under edits, and finite differences would make it active.
        return experts(x, Routing.from_dense(torch.where(active1, g1, 0), torch.where(active2, g2, 0)), factors)

    active1, active2 = g1 > 0, g2 > 0
    assert torch.autograd.gradcheck(run, [t.detach().requires_grad_() for t in (x, g1, g2, factors)])


def test_routing_and_losses_pass_gradcheck() -> None:
    z = torch.randn(4, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    n = z.clone()  # thresholds carry no gradient, so they are held while the logits move
    assert torch.autograd.gradcheck(lambda z: select_keys(z, n, head_thresholds(n, 0.4)), z.requires_grad_())

    def both(z: Tensor) -> tuple[Tensor, Tensor]:
        g = select_keys(z, n, head_thresholds(n, 0.4))
        routing = [Routing.from_dense(g, g.square())]
        return uniformity_loss(routing), ambiguity_loss(routing)

    assert torch.autograd.gradcheck(both, z)


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
def test_model_gradients_equal_central_differences(make_model: Any, decompose: str) -> None:
    """The training loss moves along each parameter's gradient as fast as the gradient says.

    Routing runs in float32 whatever the model's dtype, so the loss is smooth only to about 1e-7 and a step of 1e-3
    leaves an error of up to 1e-4 in the slope. Active keys must be the same at both ends, for the loss jumps where a
    key enters.
    """
    model = make_model(moe_decompose=decompose, num_hidden_layers=2).double().train()

    def forward() -> tuple[Tensor, Tensor]:
        """Training loss in float64 (transformers' own is float32), and which keys are active."""
        out = model(IDS, output_router_probs=True)
        cross_entropy = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
        routings = [Routing.from_dense(*pair) for pair in out.router_probs if pair is not None]
        aux = uniformity_loss(routings) + ambiguity_loss(routings)
        return cross_entropy + 0.1 * aux, torch.stack([g > 0 for g in out.router_probs[0]])

    loss, where = forward()
    loss.backward()
    step, checked = 1e-3, 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            slope = parameter.grad.norm()
            ends, stable = [], True
            for sign in (1, -1):
                change = sign * step * parameter.grad / slope
                parameter.add_(change)
                loss, active = forward()
                ends.append(loss)
                stable = stable and torch.equal(active, where)
                parameter.sub_(change)
            if stable:
                checked += 1
                assert abs((ends[0] - ends[1]) / (2 * step) - slope) < 1e-4 + 1e-3 * slope, name
    assert checked >= 0.6 * len(list(model.parameters()))


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
def test_model_learns_a_small_corpus(make_model: Any, decompose: str) -> None:
    model = make_model(moe_decompose=decompose).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        out = model(IDS, labels=IDS)
        out.loss.backward()
        optimiser.step()
        losses.append(float(out.lm_loss))
    assert losses[-1] < 0.3 * losses[0]
