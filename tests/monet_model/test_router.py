"""`MonetRouter`: its routing is the definition's, dense over all keys, compressed; in training too."""

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
def test_equals_the_definition_on_the_golden_models(name: str, training: bool) -> None:
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
def test_gradients_are_the_definitions(make_model: Any, training: bool) -> None:
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
