"""Label shares, the 2x rule and monosemanticity, against plain arithmetic on cases that can be done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.analysis.selectivity import (
    GENERALIST,
    advantage,
    label_shares,
    monosemanticity,
    specialised_label,
)

MASSES = arrays(np.float64, (5, 3), elements=st.floats(0, 100).map(lambda x: x if x > 1e-3 else 0.0))


def test_labels_are_weighted_by_their_size() -> None:
    shares = label_shares([[6.0, 1.0], [3.0, 0.0]], [600, 100])
    assert shares.tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_labels_without_tokens_and_experts_without_mass_have_no_share() -> None:
    assert label_shares([[0.0, 4.0, 4.0], [0.0, 0.0, 0.0]], [0, 10, 10]).tolist() == [[0, 0.5, 0.5], [0, 0, 0]]


@given(mass=MASSES, scale=st.integers(1, 50))
def test_shares_do_not_see_how_much_of_a_label_there_is(mass: np.ndarray, scale: int) -> None:
    """More text of a label in which experts act alike changes nothing."""
    tokens = np.array([10, 20, 30])
    grown = mass * [1, scale, 1], tokens * [1, scale, 1]
    assert label_shares(*grown) == pytest.approx(label_shares(mass, tokens), rel=1e-9, abs=1e-12)


@given(mass=MASSES)
def test_shares_sum_to_one(mass: np.ndarray) -> None:
    total = label_shares(mass, [5, 7, 9]).sum(1)
    assert total == pytest.approx((mass.sum(1) > 0).astype(float))


@pytest.mark.parametrize(
    ("shares", "tokens", "expected"),
    [
        ([0.6, 0.3, 0.1], 10, 0),  # exactly twice the second
        ([0.29, 0.59, 0.12], 10, 1),
        ([0.59, 0.31, 0.1], 10, GENERALIST),
        ([1.0, 0.0, 0.0], 9, GENERALIST),  # seen too little
        ([0.0, 0.0, 1.0], 10, 2),
        ([0.0, 0.0, 0.0], 10, GENERALIST),
        ([1 / 3, 1 / 3, 1 / 3], 10, GENERALIST),
    ],
)
def test_the_rule(shares: list[float], tokens: int, expected: int) -> None:
    assert specialised_label(np.array([shares]), [tokens], 2.0, 10).tolist() == [expected]


@given(mass=MASSES, ratio=st.floats(1, 5))
def test_a_stricter_rule_takes_fewer_and_no_others(mass: np.ndarray, ratio: float) -> None:
    shares = label_shares(mass, [5, 7, 9])
    loose, strict = (specialised_label(shares, np.full(5, 10), r) for r in (ratio, ratio * 1.5))
    assert ((strict == loose) | (strict == GENERALIST)).all()


def test_the_advantage_is_first_over_second() -> None:
    assert advantage(np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])).tolist() == [0.5 / 0.3, math.inf, 1]


def test_monosemanticity_by_hand() -> None:
    """Two labels of three alike: the entropy is log 2."""
    scores = monosemanticity(np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]))
    assert scores.tolist() == pytest.approx([1.0, 0.0, 1 - math.log(2) / math.log(3), 0.0])


@given(mass=MASSES)
def test_monosemanticity_lies_between_0_and_1(mass: np.ndarray) -> None:
    scores = monosemanticity(label_shares(mass, [5, 7, 9]))
    assert (scores >= -1e-12).all() and (scores <= 1 + 1e-12).all()
