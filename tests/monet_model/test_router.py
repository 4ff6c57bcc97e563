"""`MonetRouter` against the dense definition, in evaluation and training, and its running statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monet_model import MonetForCausalLM, Routing
from monet_model.router import MonetRouter, head_thresholds, select_keys

GOLDEN = Path(__file__).parents[1] / "golden"


def by_definition(router: MonetRouter, x: torch.Tensor) -> Routing:
    """Batch normalisation by PyTorch, threshold and softmax over all keys (paper, section 3)."""
    sides = []
    for z, norm in zip(router.logits(x), (router.norm1, router.norm2), strict=True):
        rows = z.flatten(0, -3)
        statistics = (None, None) if router.training else (norm.running_mean, norm.running_var)
        n = torch.nn.functional.batch_norm(rows, *statistics, training=router.training)
        sides.append(select_keys(rows, n, head_thresholds(n, router.sigma)))
    return Routing.from_dense(*sides)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["tiny-vd", "tiny-hd"])
def test_router_equals_the_definition_on_the_golden_models(name: str, training: bool) -> None:
    model = MonetForCausalLM.from_pretrained(GOLDEN / name, freeze_routers=False).train(training)
    routers = [module for module in model.modules() if isinstance(module, MonetRouter)]
    assert len(routers) == len(model.config.routing_groups)
    generator = torch.Generator().manual_seed(0)
    for router in routers:
        x = torch.randn(2, 30, model.config.hidden_size, generator=generator)
        with torch.no_grad():
            sparse, expected = router(x), by_definition(router, x)
        assert len(sparse) == 60
        assert sparse.num_keys == expected.num_keys
        for field in ("indices1", "counts1", "indices2", "counts2"):
            actual = getattr(sparse, field)
            assert actual.dtype == getattr(expected, field).dtype
            assert torch.equal(actual, getattr(expected, field))
        torch.testing.assert_close(sparse.probs1, expected.probs1, rtol=2e-6, atol=0)
        torch.testing.assert_close(sparse.probs2, expected.probs2, rtol=2e-6, atol=0)


@pytest.mark.parametrize("training", [False, True])
def test_router_gradients_equal_those_of_the_definition(make_model: Any, training: bool) -> None:
    router = make_model().model.layers[0].router.train(training)
    x = torch.randn(7, 24)
    weight = torch.randn(2, 7, 2, 8)
    gradients = []
    for made in (router(x), by_definition(router, x)):
        loss = sum((g * w).sum() for g, w in zip(made.dense(), weight, strict=True))
        gradients.append(torch.autograd.grad(loss, [router.w1.weight, router.w2.weight]))
    for ours, expected in zip(*gradients, strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.fixture
def router(make_model: Any) -> Any:
    """A router of 2 heads and 8 keys in training mode, its statistics as a new router's."""
    router = make_model().model.layers[0].router.train()
    router.norm1.reset_running_stats()
    router.norm2.reset_running_stats()
    return router


def test_router_batch_statistics_are_per_head(router: Any) -> None:
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


def test_router_evaluates_with_running_statistics(router: Any) -> None:
    router.norm1.running_mean.copy_(torch.tensor([0.5, -2.0]))
    router.norm1.running_var.copy_(torch.tensor([4.0, 0.25]))
    z = torch.randn(6, 2, 8)
    n, _ = router.eval().normalise(z, z)
    expected = torch.stack([(z[:, 0] - 0.5) / (4 + 1e-5) ** 0.5, (z[:, 1] + 2) / (0.25 + 1e-5) ** 0.5], 1)
    assert torch.allclose(n, expected, atol=1e-6)
    assert int(router.norm1.num_batches_tracked) == 0


def test_router_statistics_stay_float32_under_casts(router: Any) -> None:
    exact = router.norm1.running_mean.uniform_(-1, 1).clone()
    for dtype in (torch.bfloat16, torch.float64, torch.float16):
        router.to(dtype)
        assert router.w1.weight.dtype == dtype
        assert router.norm1.running_mean.dtype == torch.float32
        assert torch.equal(router.norm1.running_mean, exact)
        assert router.norm1.num_batches_tracked.dtype == torch.long


def test_router_counts_batches_without_the_private_graph_task_id(router: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_current_graph_task_id")
    router(torch.randn(3, 5, 24))
    assert int(router.norm1.num_batches_tracked) == 1
