"""Many episodes of a fishery at once, each with noise of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .fishery import STEPS, Array, Fishery, penalty

Policy = Callable[[Array], Array]  # mortality (episodes, harvested species) at populations (episodes, 3)
Rule = Callable[[Array, Array], Array]  # the same of a rule whose numbers are given, (episodes, numbers)

_KEPT_NOISE = 1024  # episodes whose noise is held, 5 kB each: rules are compared on the same ones


@lru_cache(_KEPT_NOISE)
def episode_noise(seed: int, number: int) -> Array:
    """The standard normal noise of an episode: (1 + steps, 3), of the start and of each step.

    It depends on nothing but its seed and number, so that an episode can be played alone or beside any others.
    """
    return np.random.default_rng([seed, number]).standard_normal((1 + STEPS, 3))


@dataclass(frozen=True)
class Step:
    """What a step gave.

    Attributes:
        reward: (episodes,), harvest and penalty.
        harvest: (episodes, harvested species).
        collapsed: (episodes,) whether it ended an episode by a collapse.
        ended: (episodes,) whether it ended an episode, by a collapse or after 200 steps.
    """

    reward: Array
    harvest: Array
    collapsed: NDArray[np.bool_]
    ended: NDArray[np.bool_]


class Episodes:
    """Episodes that run side by side; one that has ended is played no further until it is restarted.

    Args:
        fishery: the fishery.
        count: number of episodes.
        seed: of the noise; episode n of a seed is always the same.
        first: number of the first.
        copies: how often each of them is played, all of them together before any again.

    Attributes:
        fishery, seed: as given.
        populations: (episodes, 3), X, Y and Z now.
        time: (episodes,) steps done.
        numbers: (episodes,) the number of each episode.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control import Episodes, Fishery
        >>> episodes = Episodes(Fishery.of(3), 64, seed=0)
        >>> step = episodes.step(np.full((64, 2), 0.25))
        >>> step.reward.shape, step.ended.any(), episodes.time[0]
        ((64,), np.False_, np.int64(1))
    """

    def __init__(self, fishery: Fishery, count: int, seed: int, first: int = 0, copies: int = 1) -> None:
        self.fishery = fishery
        self.seed = seed
        self.numbers = np.tile(np.arange(first, first + count), copies)
        self.time = np.zeros(len(self.numbers), np.int64)
        self.populations = np.empty((len(self.numbers), 3))
        self._noise = np.empty((len(self.numbers), 1 + STEPS, 3))
        self._rows = np.arange(len(self.numbers))
        self._draw(self._rows)

    def __len__(self) -> int:
        return len(self.numbers)

    def _draw(self, rows: NDArray[np.int64]) -> None:
        for row in rows:
            self._noise[row] = episode_noise(self.seed, int(self.numbers[row]))
        self.populations[rows] = self.fishery.starts(self._noise[rows, 0])
        self.time[rows] = 0

    def restart(self, rows: NDArray[np.int64], first: int) -> None:
        """Start new episodes, numbered from ``first`` on, in place of some."""
        self.numbers[rows] = np.arange(first, first + len(rows))
        self._draw(rows)

    def move_to(self, numbers: NDArray[np.int64], time: NDArray[np.int64], populations: Array) -> None:
        """Take up episodes where they were left: their numbers, steps done and populations, in the shapes above."""
        self.numbers[:] = numbers
        self._draw(self._rows)
        self.time[:], self.populations[:] = time, populations

    def step(self, mortality: Array) -> Step:
        """Play a step of every episode.

        Args:
            mortality: (episodes, harvested species), cut to 0 … 1.
        """
        noise = self._noise[self._rows, 1 + self.time]
        self.populations, harvest = self.fishery.step(self.populations, mortality, self.time, noise)
        collapsed = self.fishery.collapsed(self.populations)
        reward = harvest.sum(1)
        if collapsed.any():
            reward[collapsed] += penalty(self.time)[collapsed]
        self.time = self.time + 1
        return Step(reward, harvest, collapsed, collapsed | (self.time >= STEPS))

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Leave out the others."""
        self.numbers, self.time, self.populations = self.numbers[rows], self.time[rows], self.populations[rows]
        self._rows = self._rows[rows]


@dataclass(frozen=True)
class Outcome:
    """How episodes went.

    Attributes:
        reward: (episodes,) sum of the rewards, penalty included.
        steps: (episodes,) steps until the end.
        whole: (episodes,) whether it lasted all 200 steps without a collapse.
    """

    reward: Array
    steps: NDArray[np.int64]
    whole: NDArray[np.bool_]


def play(fishery: Fishery, policy: Policy, count: int, seed: int, first: int = 0) -> Outcome:
    """Play episodes under a policy.

    Args:
        fishery: the fishery.
        policy: the mortality (episodes, harvested species) that it sets at populations (episodes, 3).
        count: number of episodes.
        seed: of their noise.
        first: number of the first.

    Examples:
        >>> from workbench.studies.control import Fishery, constant_mortality, play
        >>> outcome = play(Fishery.of(3), constant_mortality(0.30, 0.25), 200, seed=1)
        >>> bool(55 < outcome.reward.mean() < 68)
        True
    """
    return _play(Episodes(fishery, count, seed, first), lambda populations, _rows: policy(populations))


def play_each(fishery: Fishery, rule: Rule, settings: Array, count: int, seed: int) -> Outcome:
    """Play the same episodes under many settings of a rule, so that chance favours none of them.

    Args:
        fishery: the fishery.
        rule: the mortality (episodes, harvested species) at populations (episodes, 3) under settings (episodes,
            numbers), one setting for each episode.
        settings: (settings, numbers).
        count: episodes for each setting.
        seed: of their noise.

    Returns:
        The outcome, with arrays of shape (settings, episodes).
    """
    episodes = Episodes(fishery, count, seed, copies=len(settings))
    outcome = _play(episodes, lambda populations, rows: rule(populations, settings[rows // count]))
    shape = (len(settings), count)
    return Outcome(outcome.reward.reshape(shape), outcome.steps.reshape(shape), outcome.whole.reshape(shape))


def _play(episodes: Episodes, act: Callable[[Array, NDArray[np.int64]], Array]) -> Outcome:
    """Play episodes to their ends; ``act`` is also given which of them are still running."""
    count = len(episodes)
    reward, steps, whole = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, bool)
    running = np.arange(count)
    while len(running):
        done = episodes.step(act(episodes.populations, running))
        reward[running] += done.reward
        if done.ended.any():
            over = running[done.ended]
            steps[over], whole[over] = episodes.time[done.ended], ~done.collapsed[done.ended]
            episodes.keep(~done.ended)
            running = running[~done.ended]
    return Outcome(reward, steps, whole)
