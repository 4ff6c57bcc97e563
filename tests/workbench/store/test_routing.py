"""Flattened sides of a routing: to padded lists and Parquet and back, and chosen by token."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import WorkbenchError
from workbench.store import index as index_module
from workbench.store.index import IndexWriter, find_expert
from workbench.store.routing import Side, from_arrow, to_arrow
from workbench.store.rowfile import RowFile

HEADS, KEYS = 3, 7


def dense_probs(seed: int, tokens: int, share: float) -> np.ndarray:
    """Probabilities (tokens, heads, keys), 0 but for about ``share`` of them."""
    rng = np.random.default_rng(seed)
    return (rng.random((tokens, HEADS, KEYS)) * (rng.random((tokens, HEADS, KEYS)) < share)).astype(np.float32)


def side_of(dense: np.ndarray) -> Side:
    """The side of dense probabilities, through padded lists with every key."""
    indices = np.broadcast_to(np.arange(KEYS, dtype=np.int16), dense.shape)
    return Side.from_padded(indices, dense, KEYS)


def dense_of(side: Side) -> np.ndarray:
    """Dense probabilities of a side."""
    dense = np.zeros((len(side), HEADS * KEYS), np.float32)
    dense[np.repeat(np.arange(len(side)), np.diff(side.starts)), side.keys] = side.probs
    return dense.reshape(len(side), HEADS, KEYS)


cases = st.tuples(st.integers(0, 99), st.integers(0, 12), st.sampled_from([0.0, 0.2, 1.0]))


@settings(max_examples=60, deadline=None)
@given(cases, st.data())
def test_sides_hold_what_the_dense_form_does(case, data) -> None:
    dense = dense_probs(*case)
    side = side_of(dense)
    assert (dense_of(side) == dense).all()
    indices, probs, counts = side.padded(HEADS, KEYS)
    assert (counts == (dense > 0).sum(-1)).all()
    assert (dense_of(Side.from_padded(indices, probs, KEYS)) == dense).all()
    for key in range(KEYS):
        assert (side.column(key, HEADS, KEYS) == dense[..., key]).all()
    chosen = np.array(data.draw(st.lists(st.integers(0, len(dense) - 1), max_size=9)) if len(dense) else [], np.int64)
    assert (dense_of(side.take(chosen)) == dense[chosen]).all()
    cut = data.draw(st.integers(0, len(dense)))
    assert (dense_of(side[cut:]) == dense[cut:]).all()
    assert (dense_of(Side.cat([side[:cut], Side.empty(), side[cut:]])) == dense).all()


@settings(max_examples=30, deadline=None)
@given(cases, cases)
def test_arrow_rows_keep_keys_and_halve_precision(first, second) -> None:
    tokens = max(first[1], second[1])
    dense = [dense_probs(seed, tokens, share) for seed, _, share in (first, second)]
    for side, want in zip(from_arrow(to_arrow(*map(side_of, dense))), dense, strict=True):
        assert ((dense_of(side) > 0) == (want > 0)).all()
        np.testing.assert_allclose(dense_of(side), want, rtol=2**-11, atol=3e-8)


def test_the_least_probability_stays_active() -> None:
    side = Side(np.array([0, 5], np.uint16), np.array([1e-30, 1], np.float32), np.array([0, 2]))
    back, _ = from_arrow(to_arrow(side, side))
    assert back.keys.tolist() == [0, 5]
    assert 0 < back.probs[0] < 1e-7


def test_more_flat_keys_than_16_bits_are_refused() -> None:
    with pytest.raises(WorkbenchError, match="at most 65536 heads x keys; got 3 x 30000"):
        Side.from_padded(np.zeros((1, 3, 1), np.int16), np.ones((1, 3, 1), np.float32), 30_000)


@pytest.mark.parametrize(("tokens", "piece", "block"), [(1, 1, 1), (300, 7, 50), (300, 300, 2**22), (9000, 1000, 9000)])
def test_index_finds_every_activation(tmp_path, monkeypatch, tokens, piece, block) -> None:
    monkeypatch.setattr(index_module, "BLOCK_ENTRIES", block)
    dense = [dense_probs(seed, tokens, 0.2) for seed in (1, 2)]
    sides = [side_of(probs) for probs in dense]
    with IndexWriter(tmp_path / "index.parquet", HEADS, KEYS) as writer:
        for begin in range(0, tokens, piece):
            writer.add(*(side[begin : begin + piece] for side in sides))
    index = RowFile(tmp_path / "index.parquet")
    for i, j in ((0, 0), (3, 6), (6, 1)):
        rows, scores = find_expert(index, i, j, HEADS, KEYS)
        expected = (dense[0][..., i] * dense[1][..., j]).sum(1)
        assert rows.tolist() == np.flatnonzero(expected).tolist()
        np.testing.assert_allclose(scores, expected[rows], rtol=2**-9, atol=1e-7)


def test_rows_of_a_file_by_number_and_by_value(tmp_path) -> None:
    ids = np.repeat(np.arange(0, 40, 2), 7)
    pq.write_table(pa.table({"id": ids, "at": np.arange(len(ids))}), tmp_path / "file.parquet", row_group_size=10)
    file = RowFile(tmp_path / "file.parquet")
    assert len(file) == len(ids)
    for wanted in ([0], [139, 3, 3, 75], []):
        table, at = file.rows(np.array(wanted, np.int64))
        assert table["at"].to_numpy()[at].tolist() == wanted
    for value in range(-1, 42):
        assert file.equal("id", value, ["at"])["at"].to_pylist() == np.flatnonzero(ids == value).tolist()


def test_within_keeps_a_range_of_keys() -> None:
    keys = np.array([1, 5, 9, 2, 6, 13], np.uint16)  # two heads of eight keys
    side = Side(keys, np.arange(1, 7, dtype=np.float32), np.array([0, 3, 3, 6]))
    found = side.within(1, 6, 8)
    assert found.keys.tolist() == [1, 5, 9, 2, 13]
    assert found.probs.tolist() == [1, 2, 3, 4, 6]
    assert found.starts.tolist() == [0, 3, 3, 5]
