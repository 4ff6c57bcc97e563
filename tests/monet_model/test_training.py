"""Training: running statistics, auxiliary losses, and gradients against finite differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from monet_model import Routing
from monet_model.losses import ambiguity_loss, uniformity_loss
from monet_model.router import head_thresholds, select_keys

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])


@pytest.fixture
def router(make_model: Any) -> Any:
    """A router of 2 heads and 8 keys in training mode, its statistics as a new router's."""
    router = make_model().model.layers[0].router.train()
    router.norm1.reset_running_stats()
    router.norm2.reset_running_stats()
    return router


def test_batch_statistics_are_per_head(router: Any) -> None:
    """Mean and variance run over batch x tokens x keys; running values move by a tenth, the variance unbiased."""
    x = torch.randn(3, 5, 24)
    logits = router.logits(x)
    normalised = router.normalise(*logits)
    for z, n, norm in zip(logits, normalised, (router.norm1, router.norm2), strict=True):
        assert z.shape == n.shape == (3, 5, 2, 8)
        rows = z.detach().transpose(0, 2).flatten(1)  # (heads, everything else)
        mean, var = rows.mean(1), rows.var(1, unbiased=False)
        assert torch.allclose(n, (z - mean[:, None]) / (var[:, None] + 1e-5).sqrt(), atol=1e-5)
        assert torch.allclose(norm.running_mean, 0.1 * mean, atol=1e-6)
        assert torch.allclose(norm.running_var, 0.9 + 0.1 * rows.var(1, unbiased=True), atol=1e-6)
        assert int(norm.num_batches_tracked) == 1


def test_evaluation_uses_running_statistics(router: Any) -> None:
    router.norm1.running_mean.copy_(torch.tensor([0.5, -2.0]))
    router.norm1.running_var.copy_(torch.tensor([4.0, 0.25]))
    z = torch.randn(6, 2, 8)
    n, _ = router.eval().normalise(z, z)
    expected = torch.stack([(z[:, 0] - 0.5) / (4 + 1e-5) ** 0.5, (z[:, 1] + 2) / (0.25 + 1e-5) ** 0.5], 1)
    assert torch.allclose(n, expected, atol=1e-6)
    assert int(router.norm1.num_batches_tracked) == 0


def test_statistics_stay_float32_under_casts(router: Any) -> None:
    exact = router.norm1.running_mean.uniform_(-1, 1).clone()
    for dtype in (torch.bfloat16, torch.float64, torch.float16):
        router.to(dtype)
        assert router.w1.weight.dtype == dtype
        assert router.norm1.running_mean.dtype == torch.float32
        assert torch.equal(router.norm1.running_mean, exact)
        assert router.norm1.num_batches_tracked.dtype == torch.long


def random_routing(seed: int = 0) -> list[tuple[Tensor, Tensor] | None]:
    """Routing of two routers in four layers, (2, 5, 3, 7) each, sparse."""
    z = torch.randn(4, 2, 5, 3, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    g = select_keys(z, z, head_thresholds(z, 0.6))
    return [(g[0], g[1]), None, (g[2], g[3]), None]


def test_uniformity_loss_formula() -> None:
    probs = random_routing()
    terms = [
        -torch.log(torch.stack([g[b, t, h, e] for b in range(2) for t in range(5) for h in range(3)]).mean())
        for pair in probs if pair is not None
        for g in pair
        for e in range(7)
    ]  # fmt: skip
    assert torch.allclose(uniformity_loss(probs), torch.stack(terms).mean(), rtol=1e-12)


def test_uniformity_loss_is_least_when_uniform() -> None:
    even = torch.full((2, 5, 3, 8), 1 / 8, dtype=torch.float64)
    assert torch.allclose(uniformity_loss([(even, even)]), torch.tensor(8.0, dtype=torch.float64).log())
    assert uniformity_loss(random_routing()) > torch.tensor(7.0).log()


def test_uniformity_loss_of_an_unused_key_is_finite() -> None:
    g = torch.zeros(4, 1, 3)
    g[..., 0] = 1
    g.requires_grad_()
    loss = uniformity_loss([(g, g)])
    (gradient,) = torch.autograd.grad(loss, g)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_ambiguity_loss_formula() -> None:
    probs = random_routing()
    terms = [
        1 - max(g[b, t, h].tolist())
        for pair in probs if pair is not None
        for g in pair
        for b in range(2) for t in range(5) for h in range(3)
    ]  # fmt: skip
    assert ambiguity_loss(probs).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_model_adds_both_losses_in_training_only(make_model: Any) -> None:
    model = make_model(router_aux_loss_coef=0.25).train()
    out = model(IDS, labels=IDS, output_router_probs=True)
    aux = uniformity_loss(out.router_probs) + ambiguity_loss(out.router_probs)
    assert torch.allclose(out.aux_loss, aux)
    assert torch.allclose(out.loss, out.lm_loss + 0.25 * aux)
    expected = torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    assert torch.allclose(out.lm_loss, expected)
    evaluated = model.eval()(IDS, labels=IDS)
    assert evaluated.aux_loss is None
    assert torch.equal(evaluated.loss, evaluated.lm_loss)


def test_padding_labels_do_not_count(make_model: Any) -> None:
    model = make_model()
    labels = IDS.clone()
    labels[0, 4:] = -100
    out = model(IDS, labels=labels)
    picked = torch.cat([out.logits[0, :3], out.logits[1, :-1]])
    assert torch.allclose(out.loss, torch.nn.functional.cross_entropy(picked, torch.cat([IDS[0, 1:4], IDS[1, 1:]])))


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
def test_gradcheck_experts(make_model: Any, decompose: str) -> None:
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
def test_gradcheck_edited_experts(make_model: Any, decompose: str) -> None:
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


def test_gradcheck_routing_and_losses() -> None:
    z = torch.randn(4, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    n = z.clone()  # thresholds carry no gradient, so they are held while the logits move
    assert torch.autograd.gradcheck(lambda z: select_keys(z, n, head_thresholds(n, 0.4)), z.requires_grad_())

    def both(z: Tensor) -> tuple[Tensor, Tensor]:
        g = select_keys(z, n, head_thresholds(n, 0.4))
        return uniformity_loss([(g, g)]), ambiguity_loss([(g, g.square())])

    assert torch.autograd.gradcheck(both, z)


@pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
def test_model_gradients_by_central_difference(make_model: Any, decompose: str) -> None:
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
        aux = uniformity_loss(out.router_probs) + ambiguity_loss(out.router_probs)
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
def test_a_small_corpus_is_learnt(make_model: Any, decompose: str) -> None:
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
