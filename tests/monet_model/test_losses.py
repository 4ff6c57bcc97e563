"""The auxiliary losses by their formulas, and in the model's training loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cuda_ext import Routing
from monet_model.losses import ambiguity_loss, uniformity_loss
from monet_model.router import head_thresholds, select_keys

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])


def random_probs(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Probabilities of two routers, (2, 5, 3, 7) each, sparse."""
    z = torch.randn(4, 2, 5, 3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g = select_keys(z, z, head_thresholds(z, 0.6))
    return [(g[0], g[1]), (g[2], g[3])]


def routings(probs: list[tuple[Tensor, Tensor]]) -> list[Routing]:
    return [Routing.from_dense(*pair) for pair in probs]


def test_uniformity_loss_formula() -> None:
    probs = random_probs()
    terms = [
        -torch.log(torch.stack([g[b, t, h, e] for b in range(2) for t in range(5) for h in range(3)]).mean())
        for pair in probs
        for g in pair
        for e in range(7)
    ]  # fmt: skip
    assert torch.allclose(uniformity_loss(routings(probs)), torch.stack(terms).mean(), rtol=1e-12)


def test_uniformity_loss_is_least_when_uniform() -> None:
    even = torch.full((2, 5, 3, 8), 1 / 8, dtype=torch.float64)
    assert torch.allclose(uniformity_loss(routings([(even, even)])), torch.tensor(8.0, dtype=torch.float64).log())
    assert uniformity_loss(routings(random_probs())) > torch.tensor(7.0).log()


def test_uniformity_loss_of_an_unused_key_is_finite() -> None:
    g = torch.zeros(4, 1, 3)
    g[..., 0] = 1
    g.requires_grad_()
    loss = uniformity_loss(routings([(g, g)]))
    (gradient,) = torch.autograd.grad(loss, g)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_ambiguity_loss_formula() -> None:
    probs = random_probs()
    terms = [
        1 - max(g[b, t, h].tolist())
        for pair in probs
        for g in pair
        for b in range(2) for t in range(5) for h in range(3)
    ]  # fmt: skip
    assert ambiguity_loss(routings(probs)).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_model_adds_both_losses_in_training_only(make_model: Any) -> None:
    model = make_model(router_aux_loss_coef=0.25).train()
    out = model(IDS, labels=IDS, output_router_probs=True)
    routed = routings([pair for pair in out.router_probs if pair is not None])
    aux = uniformity_loss(routed) + ambiguity_loss(routed)
    assert torch.allclose(out.aux_loss, aux)
    assert torch.allclose(out.loss, out.lm_loss + 0.25 * aux)
    expected = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    assert torch.allclose(out.lm_loss, expected)
    evaluated = model.eval()(IDS, labels=IDS)
    assert evaluated.aux_loss is None
    assert torch.equal(evaluated.loss, evaluated.lm_loss)


def test_lm_loss_ignores_padding_labels(make_model: Any) -> None:
    model = make_model()
    labels = IDS.clone()
    labels[0, 4:] = -100
    out = model(IDS, labels=labels)
    picked = torch.cat([out.logits[0, :3], out.logits[1, :-1]])
    assert torch.allclose(out.loss, torch.nn.functional.cross_entropy(picked, torch.cat([IDS[0, 1:4], IDS[1, 1:]])))
