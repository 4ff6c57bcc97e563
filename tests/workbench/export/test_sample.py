"""Priorities permute; a sample is what its definition says, however tokens are cut, and it travels whole."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cuda_ext import accumulate
from cuda_ext.ops.accumulate import MASS_LIMIT, STATE
from monet_model import Routing
from workbench.export.state import Totals
from workbench.store.expert_files import sampled_tokens
from workbench.store.priority import number_of, priority
from workbench.store.schema import HISTOGRAM_BINS, INTERVAL_EXAMPLES, histogram_edges

TOKENS, HEADS, KEYS = 160, 2, 4


def random_routing(seed: int) -> Routing:
    """Routing whose heads often agree; some probabilities are so small that their product underflows."""
    generator = torch.Generator().manual_seed(seed)
    dense = []
    for _ in range(2):
        g = (3 * torch.randn(TOKENS, HEADS, KEYS, generator=generator)).softmax(-1)
        dense.append(torch.where(torch.rand(g.shape, generator=generator) < 0.05, g * 1e-30, g))
    return Routing.from_dense(*dense)


def gathered(routing: Routing, begin: int, end: int, into: Totals | None = None) -> Totals:
    """Totals of some tokens, whose rows begin at 1,000; each is its own document."""
    settings = {"examples": 3, "examples_per_document": 1}
    totals = into or Totals.empty({"keys": KEYS, "heads": HEADS}, 1, settings)
    rows = np.arange(begin, end) + 1000
    where = (torch.from_numpy(x) for x in (np.zeros(len(rows), np.int64), rows, rows, priority(rows)))
    accumulate(totals.statistics, routing[begin:end], *where)
    return totals


def assert_same(one: Totals, other: Totals) -> None:
    for name in STATE:
        assert torch.equal(getattr(one.statistics, name), getattr(other.statistics, name)), name
    assert one.statistics.next_row == other.statistics.next_row


@given(st.lists(st.integers(0, 2**36 - 1), unique=True))
def test_priorities_are_a_permutation(numbers) -> None:
    places = priority(np.array(numbers, np.int64))
    assert len(set(places.tolist())) == len(numbers)
    assert ((places >= 0) & (places < 2**36)).all()
    assert number_of(places).tolist() == numbers


def test_priorities_look_random() -> None:
    places = priority(np.arange(20_000)) / 2**36
    assert abs(np.corrcoef(places[1:], places[:-1])[0, 1]) < 0.03
    assert np.histogram(places, 20)[0] == pytest.approx(1000, abs=150)
    assert (priority(np.arange(10_000)) < 0.25 * 2**36).mean() == pytest.approx(0.25, abs=0.02)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 3),
    cuts=st.lists(st.integers(0, TOKENS), max_size=5),
    shards=st.integers(1, 3),
    order=st.permutations(range(3)),
)
def test_a_sample_is_its_definition_however_it_is_cut(seed, cuts, shards, order) -> None:
    routing = random_routing(seed)
    token, expert, score = (x.numpy() for x in routing.pairs())
    edges = np.array(histogram_edges(HEADS), np.float32)
    place = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, HISTOGRAM_BINS - 1)
    row = token + 1000
    expected, taken = [], {}
    for n in np.lexsort((priority(row), place, expert)):
        cell = int(expert[n]), int(place[n])
        taken[cell] = taken.get(cell, 0) + 1
        if taken[cell] <= INTERVAL_EXAMPLES:
            expected.append((*cell, float(score[n]), int(row[n])))
    assert max(taken.values()) > INTERVAL_EXAMPLES
    made: list[Totals | None] = [None] * shards
    for n, (begin, end) in enumerate(zip([0, *sorted(cuts)], [*sorted(cuts), TOKENS], strict=True)):
        made[n % shards] = gathered(routing, begin, end, made[n % shards])
    total = gathered(routing, 0, 0)
    for n in order:
        if n < shards and (part := made[n]) is not None:
            total.merge(part)
    found = list(zip(*(column.tolist() for column in sampled_tokens(total.statistics, slice(0, KEYS**2))), strict=True))
    assert [(e, b, r) for e, b, _, r in found] == [(e, b, r) for e, b, _, r in expected]
    np.testing.assert_allclose([s for *_, s, _ in found], [s for *_, s, _ in expected], rtol=1e-6)


def test_totals_are_kept_and_sent_whole(tmp_path) -> None:
    routing = random_routing(0)
    totals, whole = gathered(routing, 0, 90), gathered(routing, 0, TOKENS)
    totals.save(tmp_path / "state.npz")
    kept = gathered(routing, 0, 0)
    kept.load(tmp_path / "state.npz")
    sent = pickle.loads(pickle.dumps(totals))
    for copy in (kept, sent):
        assert_same(copy, totals)
        assert_same(gathered(routing, 90, TOKENS, copy), whole)
    assert len(pickle.dumps(gathered(routing, 0, 0))) < len(pickle.dumps(totals)) - 1000  # empty places do not travel


def test_totals_sent_in_memory_that_may_not_be_written_can_go_on() -> None:
    """As those are that a Ray worker sends."""
    routing, buffers = random_routing(0), []
    packed = pickle.dumps(gathered(routing, 0, 90), protocol=5, buffer_callback=buffers.append)
    sent = pickle.loads(packed, buffers=[bytes(buffer) for buffer in buffers])
    assert buffers
    assert_same(gathered(routing, 90, TOKENS, sent), gathered(routing, 0, TOKENS))


@pytest.mark.parametrize("carried", [False, True])
def test_large_masses_are_kept_and_sent_whole(tmp_path, carried) -> None:
    totals = gathered(random_routing(0), 0, 50)
    totals.statistics.mass[0, 0] = totals.statistics.mass_bound = MASS_LIMIT
    if carried:
        totals = gathered(random_routing(0), 50, 60, totals)
        assert totals.statistics.carried is not None
    totals.save(tmp_path / "state.npz")
    kept = gathered(random_routing(0), 0, 0)
    kept.load(tmp_path / "state.npz")
    sent = pickle.loads(pickle.dumps(totals))
    expected = gathered(random_routing(0), 60, TOKENS, totals).statistics
    assert expected.carried is not None
    for copy in (kept, sent):
        assert torch.equal(gathered(random_routing(0), 60, TOKENS, copy).statistics.masses, expected.masses)
