"""`Routing` held to the dense definition of the routing score, by property."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from cuda_ext.reference.pairs import active_pairs
from cuda_ext.routing import Routing
from monet_model.router import head_thresholds, routing_threshold, select_keys

TENSORS = ("indices1", "probs1", "counts1", "indices2", "probs2", "counts2")


@st.composite
def dense_pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Dense float64 (g1, g2): (tokens, heads, keys), each row with from none to all of its keys active."""
    tokens, heads, keys = draw(st.integers(0, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    share = draw(st.floats(0.05, 1.0))

    def side() -> Tensor:
        g = torch.rand(tokens, heads, keys, generator=generator, dtype=torch.float64) + 0.01
        return g * (torch.rand(g.shape, generator=generator) < share)

    return side(), side()


def dense_scores(g1: Tensor, g2: Tensor) -> Tensor:
    """G, (tokens, E * E): the definition."""
    return torch.einsum("thi,thj->tij", g1, g2).flatten(1)


def same(a: Routing, b: Routing) -> bool:
    """Whether two routings are the same routing, widths of padding apart."""
    return a.num_keys == b.num_keys and all(torch.equal(x, y) for x, y in zip(a.dense(), b.dense(), strict=True))


quick = settings(max_examples=60, deadline=None)


@quick
@given(dense_pairs())
def test_routing_survives_a_dense_round_trip(pair: tuple[Tensor, Tensor]) -> None:
    routing = Routing.from_dense(*pair)
    assert all(torch.equal(a, b) for a, b in zip(routing.dense(), pair, strict=True))
    assert (len(routing), routing.heads, routing.num_keys) == tuple(pair[0].shape)
    for g, indices, probs, counts in (
        (pair[0], routing.indices1, routing.probs1, routing.counts1),
        (pair[1], routing.indices2, routing.probs2, routing.counts2),
    ):
        assert indices.dtype == torch.int16
        assert counts.dtype == torch.int32
        assert torch.equal(counts.long(), (g > 0).sum(-1))
        used = torch.arange(indices.shape[-1]) < counts[..., None]
        assert (probs[used] > 0).all()
        assert (probs[~used] == 0).all()
        assert (indices[~used] == 0).all()
        assert ((indices.diff(dim=-1) > 0) | ~used[..., 1:]).all(), "keys ascend"


@quick
@given(dense_pairs(), st.data())
def test_routing_slices_as_its_dense_form_does(pair: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    tokens = len(pair[0])
    bounds = data.draw(st.slices(tokens))
    chosen = slice(bounds.start, bounds.stop, data.draw(st.integers(1, 3)))  # tensors take no negative steps
    routing = Routing.from_dense(*pair)
    assert same(routing[chosen], Routing.from_dense(pair[0][chosen], pair[1][chosen]))
    if tokens:
        index = torch.tensor(data.draw(st.lists(st.integers(0, tokens - 1), max_size=6)), dtype=torch.long)
        assert same(routing[index], Routing.from_dense(pair[0][index], pair[1][index]))


@quick
@given(dense_pairs(), st.data())
def test_cat_puts_slices_together(pair: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    """Each part is made from its own dense rows, so that the parts differ in width."""
    cut = data.draw(st.integers(0, len(pair[0])))
    parts = [Routing.from_dense(pair[0][rows], pair[1][rows]) for rows in (slice(cut), slice(cut, None))]
    whole = Routing.cat(parts)
    assert same(whole, Routing.from_dense(*pair))
    assert torch.equal(whole.counts1, torch.cat([part.counts1 for part in parts]))


@quick
@given(dense_pairs())
def test_routing_pairs_are_the_dense_scores_above_zero(pair: tuple[Tensor, Tensor]) -> None:
    token, expert, score = Routing.from_dense(*pair).pairs()
    dense = dense_scores(*pair)
    assert torch.equal(torch.stack([token, expert], 1), dense.nonzero()), "every active pair once, in order"
    assert torch.allclose(score, dense[dense > 0], rtol=1e-12)


@quick
@given(dense_pairs(), st.data())
def test_routing_scores_are_the_dense_scores(pair: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    keys = pair[0].shape[-1]
    ids = torch.tensor(data.draw(st.lists(st.integers(0, keys**2 - 1), max_size=9)), dtype=torch.long)
    scores = Routing.from_dense(*pair).scores(ids)
    assert scores.shape == (len(pair[0]), len(ids))
    assert torch.allclose(scores, dense_scores(*pair)[:, ids], rtol=1e-12)


@quick
@given(dense_pairs(), st.integers(1, 60))
def test_routing_top_experts_are_the_highest_dense_scores(pair: tuple[Tensor, Tensor], n: int) -> None:
    scores, ids = Routing.from_dense(*pair).top_experts(n)
    dense = dense_scores(*pair)
    assert scores.shape == ids.shape == (len(dense), n)
    expected = torch.nn.functional.pad(dense, (0, n)).sort(-1, descending=True).values[:, :n]
    assert torch.allclose(scores, expected, rtol=1e-12)
    active = ids >= 0
    assert torch.equal(active, expected > 0)
    assert torch.allclose(dense.gather(1, ids.clamp(min=0))[active], scores[active], rtol=1e-12)
    for row, kept in zip(ids, active, strict=True):
        assert len(row[kept].unique()) == int(kept.sum()), "no expert twice"


@quick
@given(dense_pairs())
def test_routing_scores_and_pairs_agree_with_top_experts(pair: tuple[Tensor, Tensor]) -> None:
    routing = Routing.from_dense(*pair)
    top, ids = routing.top_experts(1)
    best = routing.scores(torch.arange(routing.num_keys**2)).amax(-1, keepdim=True)
    assert torch.allclose(top, best, rtol=1e-12)
    assert ((ids == -1) == (best == 0)).all()


@quick
@given(dense_pairs())
def test_routing_keeps_negative_probabilities(pair: tuple[Tensor, Tensor]) -> None:
    """What a hook sets need not be a probability: everything but 0 is active."""
    flipped = tuple(torch.where(torch.arange(g.shape[-1]) % 2 == 0, -g, g) for g in pair)
    assert all(torch.equal(a, b) for a, b in zip(Routing.from_dense(*flipped).dense(), flipped, strict=True))


def test_routing_queries_never_hold_all_experts(largest: Any) -> None:
    """At 262,144 experts no step of a query holds as many values as there are experts a token."""
    tokens, heads, keys = 40, 2, 512
    z = torch.randn(2, tokens, heads, keys, generator=torch.Generator().manual_seed(0))
    g1, g2 = select_keys(z, z, head_thresholds(z, routing_threshold(keys, 8)))
    routing = Routing.from_dense(g1, g2)
    with largest:
        routing.pairs()
        routing.top_experts(10)
        routing.scores(torch.arange(0, keys**2, 4001))
        Routing.cat([routing[:7], routing[7:]])
    assert tokens * heads < largest.size < tokens * keys**2 / 50


def test_routing_ties_fall_to_the_lower_id() -> None:
    g = torch.tensor([[[0.5, 0.5]]])
    scores, ids = Routing.from_dense(g, g).top_experts(3)
    assert ids.tolist() == [[0, 1, 2]]
    assert scores.tolist() == [[0.25, 0.25, 0.25]]


def test_routing_flattens_leading_dimensions_are_tokens() -> None:
    g1, g2 = torch.rand(2, 2, 3, 4, 5)
    routing = Routing.from_dense(g1, g2)
    assert len(routing) == 2 * 3
    assert torch.equal(routing.dense()[1], g2.flatten(0, 1))


def test_routing_to_keeps_every_tensor() -> None:
    routing = Routing.from_dense(*torch.rand(2, 3, 2, 4))
    moved = routing.to("meta")
    assert {getattr(moved, name).device.type for name in TENSORS} == {"meta"}
    assert moved.num_keys == 4
    assert same(routing.to("cpu"), routing)


def test_routing_gradients_reach_the_dense_probabilities() -> None:
    g1, g2 = torch.rand(2, 3, 2, 4)
    g1.requires_grad_()
    Routing.from_dense(g1, g2).scores(torch.tensor([6])).sum().backward()
    expected = torch.zeros(3, 2, 4)
    expected[..., 1] = g2[..., 2]
    assert torch.equal(g1.grad, expected)


def test_routing_refuses_mismatched_parts() -> None:
    g = torch.rand(3, 2, 4)
    routing = Routing.from_dense(g, g)
    with pytest.raises(ValueError, match="one shape"):
        Routing.from_dense(g, g[..., :3])
    with pytest.raises(ValueError, match="one shape"):
        Routing.from_dense(g[0], g[0])
    with pytest.raises(ValueError, match="at least one part"):
        Routing.cat([])
    with pytest.raises(ValueError, match="keys or heads differ"):
        Routing.cat([routing, Routing.from_dense(g[:, :1], g[:, :1])])
    for bad in (-1, 16):
        with pytest.raises(IndexError, match=r"0 \.\. 15"):
            routing.scores(torch.tensor([0, bad]))


@quick
@given(st.integers(0, 2**32), st.integers(2, 30), st.data())
def test_dense_routing_is_the_papers_rule(seed: int, keys: int, data: st.DataObject) -> None:
    """Active keys stand at or above min(max, sigma); probabilities are their softmax over the raw logits."""
    sigma = routing_threshold(keys, data.draw(st.integers(1, keys - 1)))
    z = torch.randn(4, 2, keys, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    n = z * 0.8 - 0.3
    g = select_keys(z, n, head_thresholds(n, sigma))
    active = n >= n.amax(-1, keepdim=True).clamp(max=sigma)
    assert active.any(-1).all()
    expected = z.exp() * active
    assert torch.allclose(g, expected / expected.sum(-1, keepdim=True), rtol=1e-12)
    assert torch.equal(g > 0, active)


def test_threshold_lets_k_of_e_through() -> None:
    sigma = routing_threshold(512, 32)
    normal = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    assert abs(float((normal >= sigma).float().mean()) - 32 / 512) < 0.002


def in_float32(pair: tuple[Tensor, Tensor]) -> Routing:
    """The routing of a pair as models make it."""
    return Routing.from_dense(pair[0].float(), pair[1].float())


@given(pair=dense_pairs())
def test_routing_packed_pairs_are_the_definition_s(pair: tuple[Tensor, Tensor]) -> None:
    """Float32 routing is paired by a packed sort: the same pairs as by definition, scores to a rounding."""
    routing = in_float32(pair)
    token, expert, score = routing.pairs()
    wanted = active_pairs(*(getattr(routing, name) for name in TENSORS), routing.num_keys)
    assert torch.equal(token, wanted[0])
    assert torch.equal(expert, wanted[1])
    torch.testing.assert_close(score, wanted[2])


@given(pair=dense_pairs())
def test_routing_pairs_by_expert_are_its_pairs_in_another_order(pair: tuple[Tensor, Tensor]) -> None:
    routing = in_float32(pair)
    token, expert, score = routing.pairs()
    order = (expert * (len(routing) + 1) + token).argsort()
    by_expert = [torch.cat(column) for column in zip(*routing.pairs_by_expert(), strict=True)]
    for found, wanted in zip(by_expert, (expert, token, score), strict=True):
        assert torch.equal(found, wanted[order])
