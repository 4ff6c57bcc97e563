from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.studies.fingerprint.key_parts import KeyParts
from workbench.studies.fingerprint.rise import (
    Cells,
    holders,
    holders_by_key,
    mean_overlap,
    removal_order,
    share_in,
    strongest_by_key,
)

values_of_cells = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(-3, 6)),
    max_size=25,
    unique_by=lambda cell: cell[:2],
)


def _columns(cells: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cells = sorted(cells)
    key, unit, value = (np.array([cell[at] for cell in cells], np.int64) for at in range(3))
    return key, unit, value.astype(np.float64)


def _cells(cells: list[tuple[int, int, int]], keys: int = 5, units: int = 7) -> Cells:
    key, unit, value = _columns(cells)
    return Cells(keys, units, key, unit, value, np.zeros(len(key)), np.ones(len(key), bool))


def _parts(cells: list[tuple[int, int, int]], keys: int = 2) -> KeyParts:
    key, unit, value = _columns(cells)
    return KeyParts(key, unit, value, np.zeros(keys), np.zeros(keys, bool), [], np.zeros((keys, 0)))


def test_cells_are_those_of_either_model() -> None:
    cells = Cells.of(_parts([(0, 1, 5), (1, 0, 2)]), _parts([(0, 1, 3), (0, 6, 4)]), 7)
    assert list(zip(cells.key.tolist(), cells.unit.tolist(), strict=True)) == [(0, 1), (0, 6), (1, 0)]
    assert cells.value.tolist() == [5, 0, 2]
    assert cells.base.tolist() == [3, 4, 0]
    assert cells.active.tolist() == [True, False, True]
    assert cells.difference.tolist() == [2, -4, 2]
    assert cells.mean(cells.difference).tolist() == [1, 1, 0, 0, 0, 0, -2]


def test_units_go_by_falling_mean_and_only_where_it_is_positive() -> None:
    assert removal_order(np.array([0.5, -1.0, 0.0, 2.0, 0.5])).tolist() == [3, 0, 4]


@given(values_of_cells, st.sampled_from([0.5, 0.9, 1.0]))
def test_holders_are_as_few_as_can_be(cells: list[tuple[int, int, int]], part: float) -> None:
    key, _, value = _columns(cells)
    found = holders_by_key(key, value, 5, part)
    for one in range(5):
        positive = sorted((v for k, v in zip(key, value, strict=True) if k == one and v > 0), reverse=True)
        fewest = next(n for n in range(len(positive) + 1) if sum(positive[:n]) >= part * sum(positive))
        assert found[one] == fewest
    assert holders(value, part) == holders_by_key(np.zeros_like(key), value, 1, part)[0]


@given(values_of_cells)
def test_overlap_is_the_mean_over_all_pairs(cells: list[tuple[int, int, int]]) -> None:
    key, unit, value = _columns(cells)
    shares = np.zeros((5, 7))
    shares[key, unit] = np.maximum(value, 0)
    total = shares.sum(1, keepdims=True)
    shares = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    expected = np.mean([np.minimum(shares[a], shares[b]).sum() for a, b in combinations(range(5), 2)])
    assert mean_overlap(key, unit, value, 5) == pytest.approx(expected)


def test_overlap_of_the_same_and_of_different_units() -> None:
    assert mean_overlap(np.array([0, 1]), np.array([3, 3]), np.array([0.1, 9.0]), 2) == pytest.approx(1)
    assert mean_overlap(np.array([0, 1]), np.array([3, 4]), np.array([0.1, 9.0]), 2) == 0
    assert np.isnan(mean_overlap(np.array([0]), np.array([3]), np.array([1.0]), 1))


def test_share_is_of_what_is_positive() -> None:
    assert share_in(np.array([3.0, 1.0, -5.0]), np.array([False, True, True])) == 0.25
    assert np.isnan(share_in(np.array([-5.0]), np.array([True])))


@given(values_of_cells, st.integers(1, 3))
def test_strongest_are_those_of_each_key(cells: list[tuple[int, int, int]], most: int) -> None:
    made = _cells(cells)
    rows = strongest_by_key(made, most)
    for key in range(5):
        of_key = sorted((-v, u) for k, u, v in cells if k == key)
        found = [(-made.difference[row], made.unit[row]) for row in rows if made.key[row] == key]
        assert found == of_key[:most]
    assert (np.diff(made.key[rows]) >= 0).all()
