"""Label shares and the 2x rule, against plain arithmetic on cases that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.analysis.specialisation.shares import GENERALIST, advantage, label_shares, specialised_label

MASSES = arrays(np.float64, (3, 5), elements=st.floats(0, 100).map(lambda x: x if x > 1e-3 else 0.0))


def test_label_shares_weight_labels_by_their_size() -> None:
    """Two experts; six in 600 tokens is as much as one in 100."""
    shares = label_shares(np.array([[6.0, 3.0], [1.0, 0.0]]), [600, 100])
    assert shares.T.tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_label_shares_are_0_for_labels_without_tokens_and_experts_without_mass() -> None:
    shares = label_shares(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 0.0]]), [0, 10, 10])
    assert shares.T.tolist() == [[0, 0.5, 0.5], [0, 0, 0]]


@given(mass=MASSES, scale=st.integers(1, 50))
def test_label_shares_do_not_depend_on_how_much_text_a_label_has(mass: np.ndarray, scale: int) -> None:
    """More text of a label in which experts act alike changes nothing."""
    tokens, more = np.array([10, 20, 30]), np.array([1, scale, 1])
    grown = label_shares(mass * more[:, None], tokens * more)
    assert grown == pytest.approx(label_shares(mass, tokens), rel=1e-9, abs=1e-12)


@given(mass=MASSES)
def test_label_shares_sum_to_one(mass: np.ndarray) -> None:
    assert label_shares(mass, [5, 7, 9]).sum(0) == pytest.approx((mass.sum(0) > 0).astype(float))


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
def test_specialised_label_by_hand(shares: list[float], tokens: int, expected: int) -> None:
    assert specialised_label(np.array([shares]).T, [tokens], 2.0, 10).tolist() == [expected]


@given(mass=MASSES, ratio=st.floats(1, 5))
def test_specialised_label_at_a_higher_ratio_takes_a_subset(mass: np.ndarray, ratio: float) -> None:
    shares = label_shares(mass, [5, 7, 9])
    loose, strict = (specialised_label(shares, np.full(5, 10), r) for r in (ratio, ratio * 1.5))
    assert ((strict == loose) | (strict == GENERALIST)).all()


@given(mass=MASSES)
def test_advantage_is_first_share_over_second(mass: np.ndarray) -> None:
    shares = label_shares(mass, [5, 7, 9])
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.sort(shares, axis=0)[-1] / np.sort(shares, axis=0)[-2]
    assert advantage(shares).tolist() == np.where(shares.sum(0) > 0, expected, 1.0).tolist()
