"""What is reported of a policy: mean reward and survival, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInputError
from .episodes import Outcome, Policy, play
from .fishery import Fishery

EPISODES = 1000  # that figures are measured on
MEASURE_SEED = 2_000_000  # of their noise: no choice is made on these episodes
CHOOSE_SEED = 1_000_000  # of the noise of episodes that choices are made on
RESAMPLES = 2000


@dataclass(frozen=True)
class Figures:
    """How a policy does.

    Attributes:
        reward: mean reward of an episode, penalty included.
        reward_interval: its 95 % CI, from a bootstrap over episodes.
        spread: standard deviation of the reward over episodes.
        whole: share of episodes that last 200 steps.
        whole_interval: its 95 % CI.
        episodes: how many were played.
    """

    reward: float
    reward_interval: tuple[float, float]
    spread: float
    whole: float
    whole_interval: tuple[float, float]
    episodes: int

    def to_dict(self) -> dict[str, Any]:
        """The attributes by name."""
        return asdict(self)

    @classmethod
    def of(cls, outcome: Outcome, seed: int = 0) -> Figures:
        """The figures of episodes; ``seed`` is that of the bootstrap."""
        count = len(outcome.reward)
        rows = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
        return cls(
            reward=float(outcome.reward.mean()),
            reward_interval=_interval(outcome.reward[rows].mean(1)),
            spread=float(outcome.reward.std(ddof=1)) if count > 1 else 0.0,
            whole=float(outcome.whole.mean()),
            whole_interval=_interval(outcome.whole[rows].mean(1)),
            episodes=count,
        )


def _interval(means: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def measure(fishery: Fishery, policy: Policy, episodes: int = EPISODES, seed: int = MEASURE_SEED) -> Figures:
    """Play fresh episodes under a policy and report how it does.

    Args:
        fishery: the fishery.
        policy: the policy.
        episodes: how many.
        seed: of their noise; another one than that of episodes on which the policy was trained or chosen.

    Raises:
        BadInputError: there is no episode.

    Examples:
        >>> from workbench.studies.control import Fishery, measure, predator_escapement
        >>> figures = measure(Fishery.of(3), predator_escapement(0.33, 0.33, slope=2, fair=0.25), episodes=200)
        >>> figures.reward > 65, figures.whole > 0.95
        (True, True)
    """
    if episodes < 1:
        raise BadInputError(f"figures need at least 1 episode, got {episodes}.")
    return Figures.of(play(fishery, policy, episodes, seed))
