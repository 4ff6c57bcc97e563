"""Label shares, the 2x rule and monosemanticity, against plain arithmetic on cases that can be done by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.analysis.specialisation.shares import (
    GENERALIST,
    advantage,
    class_selectivity,
    label_information,
    label_shares,
    monosemanticity,
    specialised_label,
)

MASSES = arrays(np.float64, (3, 5), elements=st.floats(0, 100).map(lambda x: x if x > 1e-3 else 0.0))


def test_labels_are_weighted_by_their_size() -> None:
    """Two experts; six in 600 tokens is as much as one in 100."""
    shares = label_shares(np.array([[6.0, 3.0], [1.0, 0.0]]), [600, 100])
    assert shares.T.tolist() == [[0.5, 0.5], [1.0, 0.0]]


def test_labels_without_tokens_and_experts_without_mass_have_no_share() -> None:
    shares = label_shares(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 0.0]]), [0, 10, 10])
    assert shares.T.tolist() == [[0, 0.5, 0.5], [0, 0, 0]]


@given(mass=MASSES, scale=st.integers(1, 50))
def test_shares_do_not_see_how_much_of_a_label_there_is(mass: np.ndarray, scale: int) -> None:
    """More text of a label in which experts act alike changes nothing."""
    tokens, more = np.array([10, 20, 30]), np.array([1, scale, 1])
    grown = label_shares(mass * more[:, None], tokens * more)
    assert grown == pytest.approx(label_shares(mass, tokens), rel=1e-9, abs=1e-12)


@given(mass=MASSES)
def test_shares_sum_to_one(mass: np.ndarray) -> None:
    assert label_shares(mass, [5, 7, 9]).sum(0) == pytest.approx((mass.sum(0) > 0).astype(float))


@given(mass=arrays(np.float64, (4, 3, 6), elements=st.floats(0, 9)))
def test_further_dimensions_are_further_experts(mass: np.ndarray) -> None:
    """With sizes of labels that differ along them."""
    tokens = np.arange(1.0, 13.0).reshape(4, 3)
    together = label_shares(mass, tokens)
    scores = [f(together) for f in (advantage, monosemanticity, class_selectivity)]
    scores.append(label_information(np.minimum(mass, tokens[..., None]), tokens))
    for one in range(3):
        alone = label_shares(mass[:, one], tokens[:, one])
        apart = [f(alone) for f in (advantage, monosemanticity, class_selectivity)]
        apart.append(label_information(np.minimum(mass[:, one], tokens[:, one, None]), tokens[:, one]))
        assert alone.tolist() == together[:, one].tolist()
        for a, b in zip(scores, apart, strict=True):
            assert a[one].tolist() == b.tolist()


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
    assert specialised_label(np.array([shares]).T, [tokens], 2.0, 10).tolist() == [expected]


@given(mass=MASSES, ratio=st.floats(1, 5))
def test_a_stricter_rule_takes_fewer_and_no_others(mass: np.ndarray, ratio: float) -> None:
    shares = label_shares(mass, [5, 7, 9])
    loose, strict = (specialised_label(shares, np.full(5, 10), r) for r in (ratio, ratio * 1.5))
    assert ((strict == loose) | (strict == GENERALIST)).all()


@given(mass=MASSES)
def test_the_advantage_is_first_over_second(mass: np.ndarray) -> None:
    shares = label_shares(mass, [5, 7, 9])
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.sort(shares, axis=0)[-1] / np.sort(shares, axis=0)[-2]
    assert advantage(shares).tolist() == np.where(shares.sum(0) > 0, expected, 1.0).tolist()


def test_monosemanticity_by_hand() -> None:
    """Two labels of three alike: the entropy is log 2."""
    shares = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]).T
    assert monosemanticity(shares).tolist() == pytest.approx([1.0, 0.0, 1 - math.log(2) / math.log(3), 0.0])


def test_class_selectivity_by_hand() -> None:
    shares = np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1], [0.0, 0.0, 0.0]]).T
    assert class_selectivity(shares).tolist() == pytest.approx([1.0, 0.0, 0.4 / 0.8, 0.0], abs=1e-12)


@given(mass=MASSES)
def test_scores_lie_between_0_and_1(mass: np.ndarray) -> None:
    for score in (monosemanticity, class_selectivity):
        found = score(label_shares(mass, [5, 7, 9]))
        assert (found >= -1e-12).all()
        assert (found <= 1 + 1e-12).all()


@given(active=arrays(np.float64, (3, 5), elements=st.integers(0, 20).map(float)), seed=st.integers(0, 9))
def test_information_equals_its_definition(active: np.ndarray, seed: int) -> None:
    """The sum over both values of activity and all labels of p(a, y) log(p(a, y) / p(a) p(y))."""
    sizes = np.random.default_rng(seed).integers(20, 60, 3).astype(float)
    joint = np.stack([active, sizes[:, None] - active]) / sizes.sum()  # (active or not, labels, experts)
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    terms = joint * np.log(np.where(joint > 0, joint, 1) / np.where(joint > 0, apart, 1))
    assert label_information(active, sizes) == pytest.approx(terms.sum((0, 1)), abs=1e-12)
