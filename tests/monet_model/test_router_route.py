"""`MonetRouter.route`: the sparse routing of evaluation equals the dense one, compressed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monet_model import MonetForCausalLM, Routing
from monet_model.router import MonetRouter

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", ["tiny-vd", "tiny-hd"])
def test_equals_the_dense_routing_on_the_golden_models(name: str) -> None:
    model = MonetForCausalLM.from_pretrained(GOLDEN / name).eval()
    routers = [module for module in model.modules() if isinstance(module, MonetRouter)]
    assert len(routers) == len(model.config.routing_groups)
    generator = torch.Generator().manual_seed(0)
    for router in routers:
        x = torch.randn(2, 30, model.config.hidden_size, generator=generator)
        with torch.no_grad():
            sparse, expected = router.route(x), Routing.from_dense(*router(x))
        assert len(sparse) == 60
        assert sparse.num_keys == expected.num_keys
        for field in ("indices1", "counts1", "indices2", "counts2"):
            actual = getattr(sparse, field)
            assert actual.dtype == getattr(expected, field).dtype
            assert torch.equal(actual, getattr(expected, field))
        torch.testing.assert_close(sparse.probs1, expected.probs1, rtol=2e-6, atol=0)
        torch.testing.assert_close(sparse.probs2, expected.probs2, rtol=2e-6, atol=0)


def test_training_is_refused() -> None:
    model = MonetForCausalLM.from_pretrained(GOLDEN / "tiny-vd", freeze_routers=False)
    router = model.model.layers[0].router.train()
    with pytest.raises(RuntimeError, match=r"eval\(\)"):
        router.route(torch.zeros(1, 1, router.w1.in_features))
