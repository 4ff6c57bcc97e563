"""The sorted copy gives the pairs of the routing itself, to the same bits, for any cuts and sizes of pieces."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from cuda_ext.routing import Routing
from workbench.analysis import sorted_routing
from workbench.analysis.sorted_routing import SortedRouting
from workbench.store.routing import Side


def random_routing(tokens: int, heads: int, keys: int, active: int) -> Routing:
    """Probabilities in half precision, as a run stores them; some tokens have no active key in a head."""
    rng = np.random.default_rng(tokens)
    g = np.zeros((2, tokens, heads, keys), np.float16)
    for at in np.ndindex(2, tokens, heads):
        chosen = rng.choice(keys, rng.integers(0, active + 1), replace=False)
        g[at][chosen] = rng.random(len(chosen)) + 1e-3
    return Routing.from_dense(*(torch.from_numpy(side.astype(np.float32)) for side in g))


@pytest.mark.parametrize(
    ("tokens", "heads", "keys", "active", "rows", "entries"),
    [(70, 2, 16, 5, 32, 64), (70, 2, 16, 5, 8192, 2**18), (40, 3, 9, 9, 7, 1), (9, 2, 30_000, 3, 4, 8)],
)
def test_pairs_are_those_of_the_routing(
    monkeypatch: pytest.MonkeyPatch, tokens: int, heads: int, keys: int, active: int, rows: int, entries: int
) -> None:
    """The last has so many experts that place and score do not fit into one number."""
    monkeypatch.setattr(sorted_routing, "ROWS", rows)
    monkeypatch.setattr(sorted_routing, "ENTRIES", entries)
    routing = random_routing(tokens, heads, keys, active)
    whole = [
        Side.from_padded(indices.numpy(), probs.numpy(), keys)
        for indices, probs in ((routing.indices1, routing.probs1), (routing.indices2, routing.probs2))
    ]

    def sides(group: int, start: int, size: int) -> tuple[Side, Side]:
        first, second = (side[start : start + size] for side in whole)
        return first, second

    copy = SortedRouting(sides, tokens, heads, keys)
    edges = [0, keys // 3, keys // 2, keys], [0, keys // 4, keys]
    expert, token, score = (
        np.concatenate(column)
        for column in zip(*((x.numpy() for x in piece) for piece in routing.pairs_by_expert()), strict=True)
    )
    order = np.lexsort((token, expert))
    expert, token, score = expert[order], token[order], score[order]
    seen = 0
    for number1, (low1, high1) in enumerate(pairwise(edges[0])):
        for number2, (low2, high2) in enumerate(pairwise(edges[1])):
            pieces = list(copy.pairs(0, edges, number1, number2))
            found = [np.concatenate(column) for column in zip(*pieces, strict=True)]
            order = np.lexsort((found[1], found[0]))
            i, j = np.divmod(expert, keys)
            mine = (i >= low1) & (i < high1) & (j >= low2) & (j < high2)
            for of_copy, of_routing in zip(found, (expert, token, score), strict=True):
                assert (of_copy[order] == of_routing[mine]).all()
            seen += int(mine.sum())
    assert seen == len(expert) > 0


def test_few_groups_are_held_at_once() -> None:
    routing = random_routing(20, 2, 8, 4)
    side = Side.from_padded(routing.indices1.numpy(), routing.probs1.numpy(), 8)
    asked: list[int] = []

    def sides(group: int, start: int, size: int) -> tuple[Side, Side]:
        asked.append(group)
        return side, side

    copy = SortedRouting(sides, 20, 2, 8)
    for group in (0, 1, 0, 1, 2, 1, 2):
        list(copy.pairs(group, ([0, 8], [0, 8]), 0, 0))
    assert asked == [0, 1, 2]
