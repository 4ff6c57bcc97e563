"""Active pairs are those of the routing; a sample is what its definition says, however its tokens are cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cuda_ext import Statistics, accumulate
from monet_model import Routing
from workbench.export import pairs, sample
from workbench.export.pairs import active_pairs
from workbench.export.sample import Sample, histogram_bin, number_of, priority
from workbench.store.routing import Side
from workbench.store.schema import HISTOGRAM_BINS, histogram_edges


def random_routing(seed: int, tokens: int, heads: int, keys: int) -> Routing:
    """Routing whose heads often agree; some probabilities are so small that their product underflows."""
    generator = torch.Generator().manual_seed(seed)
    dense = []
    for _ in range(2):
        logits = torch.randn(tokens, heads, keys, generator=generator)
        active = logits >= logits.topk(min(5, keys)).values[..., -1:]
        g = logits.masked_fill(~active, float("-inf")).softmax(-1)
        dense.append(torch.where(torch.rand(g.shape, generator=generator) < 0.05, g * 1e-30, g))
    return Routing.from_dense(*dense)


def sides(routing: Routing) -> tuple[Side, Side]:
    """Its flattened sides."""
    return (
        Side.from_padded(routing.indices1.numpy(), routing.probs1.numpy(), routing.num_keys),
        Side.from_padded(routing.indices2.numpy(), routing.probs2.numpy(), routing.num_keys),
    )


@given(st.lists(st.integers(0, 2**36 - 1), unique=True))
def test_priorities_are_a_permutation(numbers) -> None:
    places = priority(np.array(numbers, np.int64))
    assert len(set(places.tolist())) == len(numbers)
    assert (places < 2**36).all()
    assert number_of(places).tolist() == numbers


def test_priorities_look_random() -> None:
    places = priority(np.arange(20_000)) / 2**36
    assert abs(np.corrcoef(places[1:], places[:-1])[0, 1]) < 0.03
    assert np.histogram(places, 20)[0] == pytest.approx(1000, abs=150)
    assert (priority(np.arange(10_000)) < 0.25 * 2**36).mean() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(("tokens", "heads", "keys"), [(0, 1, 4), (1, 1, 4), (60, 3, 16), (40, 2, 300), (3, 60, 5)])
@pytest.mark.parametrize("most", [1, 50, 2**19])
def test_active_pairs_are_those_of_the_routing(monkeypatch, tokens, heads, keys, most) -> None:
    monkeypatch.setattr(pairs, "MAX_PAIRS", most)
    routing = random_routing(tokens, tokens, heads, keys)
    found = list(active_pairs(*sides(routing), heads, keys))
    token, expert, score = (x.numpy() for x in routing.pairs())
    got = [np.concatenate([np.zeros(0), *column]) for column in zip(*found, strict=True)] or [np.zeros(0)] * 3
    order = np.lexsort((got[0], got[1]))
    assert got[1][order].tolist() == token.tolist()
    assert got[0][order].tolist() == expert.tolist()
    np.testing.assert_allclose(got[2][order], score, rtol=1e-6)
    if most == 1:
        assert len(found) == tokens


def test_scores_are_those_of_accumulate_to_the_bit() -> None:
    routing = random_routing(1, 50, 4, 8)
    statistics = Statistics.empty(8, 4, 1, best=50)
    accumulate(statistics, routing, torch.zeros(50, dtype=torch.int64), torch.arange(50))
    ((expert, token, score),) = active_pairs(*sides(routing), 4, 8)
    best = {
        (e, int(row)): s
        for e in range(64)
        for s, row in zip(statistics.best_scores[e].tolist(), statistics.best_rows[e], strict=True)
        if row >= 0
    }
    assert best == dict(zip(zip(expert.tolist(), token.tolist(), strict=True), score.tolist(), strict=True))


@pytest.mark.parametrize("heads", [1, 2, 3, 8])
def test_histogram_bins_are_those_of_the_edges(heads) -> None:
    edges = np.array(histogram_edges(heads), np.float32)
    assert len(edges) == HISTOGRAM_BINS + 1
    assert edges[-2] < heads <= edges[-1]
    score = np.concatenate([edges[1:], np.nextafter(edges[1:], 0), [1e-38, heads, heads * 0.3]]).astype(np.float32)
    expected = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, HISTOGRAM_BINS - 1)
    assert histogram_bin(score, heads).tolist() == expected.tolist()


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 120), max_size=5), shards=st.integers(1, 3), limit=st.integers(1, 4), data=st.data()
)
def test_a_sample_is_its_definition_however_it_is_cut(cuts, shards, limit, data) -> None:
    tokens, heads, keys = 120, 2, 6
    routing, rows = random_routing(3, tokens, heads, keys), np.arange(tokens) + 1000
    ((expert, token, score),) = active_pairs(*sides(routing), heads, keys)
    place = histogram_bin(score, heads)
    order = np.lexsort((priority(rows[token]), place, expert))
    expected, taken = [], {}
    for n in order:
        cell = int(expert[n]), int(place[n])
        taken[cell] = taken.get(cell, 0) + 1
        if taken[cell] <= limit:
            expected.append((*cell, float(score[n]), int(rows[token[n]])))
    made = [Sample(keys**2, heads, limit) for _ in range(shards)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "WAITING", data.draw(st.sampled_from([1, 100, 10**6])))
        for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), tokens], strict=True):
            chosen = data.draw(st.sampled_from(made))
            chosen.add(*sides(routing[begin:end]), keys, rows[begin:end])
        total = Sample(keys**2, heads, limit)
        for part in data.draw(st.permutations(made)):
            total.merge(part)
    assert list(zip(*(column.tolist() for column in total.columns()), strict=True)) == expected
