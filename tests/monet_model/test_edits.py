"""Expert edits: exact against explicit expansion, private to their context, refused when malformed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from monet_model import Routing

IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])
DECOMPOSITIONS = pytest.mark.parametrize("decompose", ["vertical", "horizontal"])
FACTORS = {
    "remove": lambda: (torch.rand(8, 8) > 0.4).float(),
    "scale": lambda: torch.rand(8, 8) * 3 - 1,
    "one-expert": lambda: torch.ones(8, 8).index_put((torch.tensor(3), torch.tensor(5)), torch.tensor(0.0)),
    "all-gone": lambda: torch.zeros(8, 8),
    "none": lambda: torch.ones(8, 8),
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(5)


@DECOMPOSITIONS
@pytest.mark.parametrize("kind", FACTORS)
@torch.no_grad()
def test_layer_equals_explicit_expansion(make_model: Any, oracle: Any, error: Any, decompose: str, kind: str) -> None:
    """In float64, to the last few digits."""
    model = make_model(moe_decompose=decompose).double()
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    g1, g2 = oracle(model).routing(0, x)
    factors = FACTORS[kind]()
    out = model.model.layers[1].moe(x, Routing.from_dense(g1, g2), factors)
    expected = oracle(model).moe(1, x, g1, g2, factors)
    if kind == "all-gone":
        assert (expected == 0).all()
        assert (out == 0).all()
    else:
        assert error(out, expected) < 1e-12


@DECOMPOSITIONS
@torch.no_grad()
def test_any_routing_can_be_edited(make_model: Any, oracle: Any, error: Any, decompose: str) -> None:
    """A hook may have set g1 or g2 to anything: sums other than 1, negative entries, nothing active."""
    model = make_model(moe_decompose=decompose).double()
    x, (g1, g2) = torch.randn(5, 24, dtype=torch.float64), torch.randn(2, 5, 2, 8, dtype=torch.float64)
    g1[3], g2[4, 0] = 0, 0
    factors = FACTORS["scale"]()
    out = model.model.layers[1].moe(x, Routing.from_dense(g1, g2), factors)
    assert error(out, oracle(model).moe(1, x, g1, g2, factors)) < 1e-12


@DECOMPOSITIONS
@torch.no_grad()
def test_model_equals_explicit_expansion(make_model: Any, oracle: Any, error: Any, decompose: str) -> None:
    """Every layer of a group is edited, other groups are not."""
    model = make_model(moe_decompose=decompose)
    for edits in ({2: FACTORS["remove"]()}, {0: FACTORS["scale"](), 2: FACTORS["remove"]()}, {}):
        with model.edit_experts(edits):
            assert error(model(IDS).logits, oracle(model)(IDS, edits)) < 1e-5


@DECOMPOSITIONS
@pytest.mark.parametrize("shape", [{"moe_experts": 40, "moe_topk": 2}, {"moe_heads": 1}, {"moe_groups": 9}])
@torch.no_grad()
def test_other_shapes_equal_explicit_expansion(
    make_model: Any, oracle: Any, error: Any, decompose: str, shape: dict[str, int]
) -> None:
    model = make_model(moe_decompose=decompose, **shape)
    edits = {0: torch.rand(model.config.moe_experts, model.config.moe_experts) * 2}
    with model.edit_experts(edits):
        assert error(model(IDS).logits, oracle(model)(IDS, edits)) < 1e-5
    with torch.enable_grad(), model.edit_experts(edits):
        assert error(model(IDS).logits.detach(), oracle(model)(IDS, edits)) < 1e-5


@DECOMPOSITIONS
@torch.no_grad()
def test_factors_of_one_change_nothing(make_model: Any, error: Any, decompose: str) -> None:
    model = make_model(moe_decompose=decompose)
    with model.edit_experts({0: FACTORS["none"](), 2: FACTORS["none"]()}):
        edited = model(IDS).logits
    assert error(edited, model(IDS).logits) < 1e-5


@torch.no_grad()
def test_nested_edits_multiply_and_unwind(make_model: Any, error: Any) -> None:
    model = make_model()
    a, b, c = (FACTORS["scale"]() for _ in range(3))
    plain = model(IDS).logits
    with model.edit_experts({0: a}):
        once = model(IDS).logits
        with model.edit_experts({0: b, 2: c}):
            nested = model(IDS).logits
        assert torch.equal(model(IDS).logits, once)
    assert torch.equal(model(IDS).logits, plain)
    with model.edit_experts({0: a * b, 2: c}):
        assert error(nested, model(IDS).logits) < 1e-6
    assert error(nested, once) > 1e-3
    assert error(once, plain) > 1e-3


@torch.no_grad()
def test_an_exception_ends_the_edit(make_model: Any) -> None:
    model = make_model()
    plain = model(IDS).logits

    def interrupted() -> None:
        with model.edit_experts({0: FACTORS["all-gone"]()}):
            assert not torch.equal(model(IDS).logits, plain)
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert torch.equal(model(IDS).logits, plain)


@torch.no_grad()
def test_edits_belong_to_one_model(make_model: Any) -> None:
    edited, other = make_model(), make_model()
    plain = other(IDS).logits
    with edited.edit_experts({0: FACTORS["all-gone"]()}):
        assert torch.equal(other(IDS).logits, plain)
        with other.edit_experts({2: FACTORS["all-gone"]()}):
            both = edited(IDS).logits, other(IDS).logits
        assert torch.equal(edited(IDS).logits, both[0])
    assert not torch.equal(both[0], both[1])


@torch.no_grad()
def test_edits_belong_to_one_thread(make_model: Any) -> None:
    """Three threads run one model at the same moment, each under its own edit or none."""
    model = make_model()
    edits: list[dict[int, Tensor]] = [{}, {0: FACTORS["remove"]()}, {2: FACTORS["scale"]()}]
    expected = []
    for edit in edits:
        with model.edit_experts(edit):
            expected.append(model(IDS).logits)
    assert not torch.equal(expected[1], expected[0])
    together = threading.Barrier(len(edits), timeout=30)
    seen: dict[int, list[Tensor]] = {}

    def work(index: int) -> None:
        with torch.no_grad(), model.edit_experts(edits[index]):
            together.wait()
            seen[index] = [model(IDS).logits for _ in range(5)]
            together.wait()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(edits))]
    with model.edit_experts({0: FACTORS["all-gone"]()}):  # an edit of this thread reaches none of them
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for index, logits in enumerate(expected):
        assert len(seen[index]) == 5
        for made in seen[index]:
            assert torch.allclose(made, logits, atol=1e-6)


@DECOMPOSITIONS
def test_generate_under_an_edit(make_model: Any, decompose: str) -> None:
    model = make_model(moe_decompose=decompose)
    options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False}
    plain = model.generate(IDS, **options)
    with model.edit_experts({0: FACTORS["all-gone"](), 2: FACTORS["scale"]()}):
        cached = model.generate(IDS, **options)
        uncached = model.generate(IDS, **options, use_cache=False)
    assert torch.equal(cached, uncached)
    assert not torch.equal(cached, plain)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_under_an_edit(make_model: Any, error: Any, checkpointing: bool) -> None:
    """A removed expert's keys still learn from the other experts; the backward pass may come after the context."""
    model = make_model().train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    factors = FACTORS["remove"]().requires_grad_()
    with model.edit_experts({0: factors}):
        loss = model(IDS, labels=IDS, use_cache=False).loss
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert factors.grad is not None
    assert factors.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({1: torch.ones(8, 8)}, r"layer 1 owns no router; .*\[0, 2\]"),
        ({7: torch.ones(8, 8)}, "layer 7 owns no router"),
        ({0: torch.ones(8, 7)}, r"layer 0 must have shape \(8, 8\), got \(8, 7\)"),
        ({0: torch.ones(64)}, "must have shape"),
        ({0: torch.full((8, 8), float("nan"))}, r"must lie in -1000 \.\. 1000"),
        ({2: torch.full((8, 8), float("inf"))}, "layer 2 must lie in"),
        ({0: torch.full((8, 8), 1e30)}, "layer 0 must lie in"),
    ],
)
def test_malformed_edits_are_refused(make_model: Any, edits: dict[int, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message), make_model().edit_experts(edits):
        pass


def test_nothing_is_expanded_over_all_experts(make_model: Any, largest: Any) -> None:
    """No tensor of an edited layer's forward pass has an entry for every (token, expert)."""
    model = make_model(moe_experts=64, moe_topk=3)
    with torch.no_grad(), model.edit_experts({0: torch.rand(64, 64), 2: torch.rand(64, 64)}), largest:
        model(IDS)
    assert 0 < largest.size < IDS.numel() * 64 * 64
