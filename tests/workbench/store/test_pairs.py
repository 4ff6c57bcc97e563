"""Active experts of tokens: every pair of keys of a head once, scores summed over heads, however long the lists."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.store.pairs import expand, neighbours
from workbench.store.routing import Side

HEADS, KEYS = 3, 5


def _side(rng: np.random.Generator, tokens: int) -> tuple[Side, np.ndarray]:
    """Random routing, and the same as (tokens, heads, keys) with zeros; some heads of a token have no key."""
    dense = rng.random((tokens, HEADS, KEYS)).astype(np.float16).astype(np.float32)
    dense *= rng.random(dense.shape) < rng.random((tokens, HEADS, 1))
    flat = dense.reshape(tokens, HEADS * KEYS)
    row, key = np.nonzero(flat)
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=tokens))])
    return Side(key.astype(np.uint16), flat[row, key], starts), dense


@pytest.mark.parametrize("tokens", [0, 1, 9])
def test_pairs_are_those_of_the_dense_product(tokens: int) -> None:
    rng = np.random.default_rng(tokens)
    (side1, dense1), (side2, dense2) = _side(rng, tokens), _side(rng, tokens)
    pairs = expand(side1, side2, HEADS, KEYS)
    scores = np.einsum("thi,thj->tij", dense1, dense2, dtype=np.float64).reshape(tokens, KEYS**2)
    token, expert = np.nonzero(scores)
    np.testing.assert_array_equal(pairs.token, token)
    np.testing.assert_array_equal(pairs.expert, expert)
    np.testing.assert_allclose(pairs.score, scores[token, expert], rtol=1e-6)


def test_neighbours_are_by_cosine_of_the_scores() -> None:
    rng = np.random.default_rng(3)
    (side1, dense1), (side2, dense2) = _side(rng, 9), _side(rng, 9)
    scores = np.einsum("thi,thj->tij", dense1, dense2, dtype=np.float64).reshape(9, -1)
    expert = int(scores.sum(0).argmax())
    near = neighbours(expand(side1, side2, HEADS, KEYS), expert, KEYS, 4)
    cosine = scores.T @ scores[:, expert] / np.maximum(np.linalg.norm(scores, axis=0), 1e-12)
    cosine /= np.linalg.norm(scores[:, expert])
    cosine[expert] = -1.0
    best = np.argsort(-cosine)[:4]
    assert near["expert"].tolist() == best.tolist()
    np.testing.assert_allclose(near["similarity"], cosine[best], rtol=1e-6)
    assert near["shared"].tolist() == [int(((scores[:, e] > 0) & (scores[:, expert] > 0)).sum()) for e in best]
