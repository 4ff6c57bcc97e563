"""Active pairs and their statistics from sparse sides equal those of dense routing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monet_model import Routing
from workbench.export import statistics
from workbench.export.statistics import Statistics, activations, histogram_bin
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


@pytest.mark.parametrize(("tokens", "heads", "keys"), [(0, 1, 4), (1, 1, 4), (60, 3, 16), (40, 2, 300), (5, 1, 32_767)])
@pytest.mark.parametrize("pairs", [1, 50, 2**22])
def test_activations_equal_the_pairs_of_routing(monkeypatch, tokens, heads, keys, pairs) -> None:
    monkeypatch.setattr(statistics, "MAX_PAIRS", pairs)
    routing = random_routing(tokens, tokens, heads, keys)
    found = list(activations(*sides(routing), heads, keys))
    token, expert, score = (x.numpy() for x in routing.pairs())
    none = (np.zeros(0),) * 3
    pieces = [none, *((begin + piece.token, piece.expert, piece.score) for begin, piece in found)]
    got = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    order = np.lexsort((got[1], got[0]))
    assert got[0][order].tolist() == token.tolist()
    assert got[1][order].tolist() == expert.tolist()
    np.testing.assert_allclose(got[2][order], score, rtol=1e-6)
    for _, piece in found:
        assert (np.lexsort((piece.token, piece.expert)) == np.arange(len(piece.expert))).all()
    if pairs == 1:
        assert len(found) == tokens


@pytest.mark.parametrize("heads", [1, 2, 3, 8])
def test_histogram_bins_are_those_of_the_edges(heads) -> None:
    edges = np.array(histogram_edges(heads), np.float32)
    assert len(edges) == HISTOGRAM_BINS + 1
    assert edges[-2] < heads <= edges[-1]
    score = np.concatenate([edges[1:], np.nextafter(edges[1:], 0), [1e-38, heads, heads * 0.3]]).astype(np.float32)
    expected = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, HISTOGRAM_BINS - 1)
    assert histogram_bin(score, heads).tolist() == expected.tolist()


def test_statistics_of_parts_merge_in_any_grouping() -> None:
    routing = random_routing(5, 90, 2, 8)
    labels = np.random.default_rng(0).integers(0, 3, 90).astype(np.int32)

    def gathered(*tokens: slice) -> Statistics:
        total = Statistics(8, 3, 2)
        for part in tokens:
            fresh = Statistics(8, 3, 2)
            for begin, found in activations(*sides(routing[part]), 2, 8):
                fresh.add(found, labels[part][begin:])
            total.merge(fresh)
        return total

    whole, halves = gathered(slice(0, 90)), gathered(slice(40, 90), slice(0, 7), slice(7, 40))
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(halves.arrays()[name], array, rtol=1e-12)
    token, expert, score = (x.numpy() for x in routing.pairs())
    dense = np.zeros((64, 3))
    np.add.at(dense, (expert, labels[token]), score)
    np.testing.assert_allclose(whole.mass, dense, rtol=1e-6)
    assert whole.histogram.sum(1).tolist() == whole.tokens.sum(1).tolist() == np.bincount(expert, minlength=64).tolist()
