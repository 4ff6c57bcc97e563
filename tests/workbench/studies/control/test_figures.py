"""Means and intervals of episodes."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import BadInputError
from workbench.studies.control import Figures, Fishery, Outcome, constant_mortality, measure


def outcome(rewards: np.ndarray, whole: np.ndarray) -> Outcome:
    return Outcome(rewards, np.full(len(rewards), 200), whole)


def test_figures_are_those_of_the_episodes() -> None:
    rewards = np.random.default_rng(0).normal(60, 10, 900)
    figures = Figures.of(outcome(rewards, np.arange(900) % 4 > 0))
    assert figures.reward == pytest.approx(rewards.mean())
    assert figures.spread == pytest.approx(rewards.std(ddof=1))
    assert (figures.whole, figures.episodes) == (0.75, 900)
    half = 1.96 * figures.spread / 30  # what the normal distribution says of the mean
    assert np.subtract(figures.reward_interval, figures.reward) == pytest.approx([-half, half], rel=0.15)
    share = 1.96 * (0.75 * 0.25 / 900) ** 0.5
    assert np.subtract(figures.whole_interval, 0.75) == pytest.approx([-share, share], rel=0.15)


def test_equal_episodes_leave_nothing_uncertain() -> None:
    figures = Figures.of(outcome(np.full(10, 5.0), np.ones(10, bool)))
    assert figures.reward_interval == (5.0, 5.0)
    assert (figures.spread, figures.whole_interval) == (0.0, (1.0, 1.0))


def test_no_episode_has_no_figures() -> None:
    with pytest.raises(BadInputError, match="at least 1 episode"):
        measure(Fishery.of(3), constant_mortality(0.1, 0.1), episodes=0)
