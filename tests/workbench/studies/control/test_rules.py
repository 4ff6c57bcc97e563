"""Rules take what they say."""

from __future__ import annotations

import numpy as np

from workbench.studies.control import constant_escapement, constant_mortality, predator_escapement

STATES = np.array([[0.8, 0.5, 0.5], [0.2, 1.0, 0.1]])


def test_constant_mortality_takes_the_same_share_everywhere() -> None:
    assert constant_mortality(0.3, 0.2)(STATES).tolist() == [[0.3, 0.2], [0.3, 0.2]]


def test_escapement_leaves_what_it_says_and_takes_nothing_below_it() -> None:
    taken = constant_escapement(0.4, 0.5)(STATES)
    left = STATES[:, :2] * (1 - taken)
    assert left.tolist() == [[0.4, 0.5], [0.2, 0.5]]


def test_a_scarce_predator_raises_what_is_left() -> None:
    rule = predator_escapement(0.3, 0.4, slope=2, fair=0.25)
    left = STATES[:, :2] * (1 - rule(STATES))
    assert np.allclose(left, [[0.3, 0.4], [0.2, 0.7]])


def test_nothing_is_taken_of_an_extinct_species() -> None:
    assert constant_escapement(0.4, 0.5)(np.zeros((1, 3))).tolist() == [[0.0, 0.0]]
