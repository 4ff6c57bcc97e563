"""The fishery as a gymnasium environment, ``workbench/Fishery-v0``."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from .episodes import Episodes
from .fishery import Fishery
from .observations import Floats, observe
from .spaces import action_space, observation_space

FISHERY_ENV = "workbench/Fishery-v0"


class FisheryEnv(gymnasium.Env[Floats, Floats]):
    """One episode after another of a fishery: ``Episodes`` of one, so that each is equal to the batch's step by step.

    Observation: populations of the species that the model has, in units of 4. Action: the mortality of each harvested
    species, cut to 0 … 1. Reward: the harvest, and -100 / (t + 1) where step t, counted from 0, ends in a collapse,
    which terminates the episode; 200 steps truncate it. ``reset(seed=s)`` begins episode 0 of seed s, and ``reset()``
    the next one. ``info`` has ``populations``, ``harvest`` and ``episode_number``.

    Args:
        model: 1 to 4, as in the paper.
        perturbation: strength of a perturbation of the parameters, as ``Fishery.perturbed`` takes it; 0 for none.
        perturbation_seed: its seed.
        parameters: of the fishery, in place of the paper's.

    Raises:
        BadInputError: there is no such model or parameter.

    Examples:
        >>> import gymnasium
        >>> import workbench.studies.control.gym_env
        >>> env = gymnasium.make("workbench/Fishery-v0", model=3)
        >>> observation, info = env.reset(seed=0)
        >>> observation.shape, info["episode_number"]
        ((3,), 0)
        >>> observation, reward, terminated, truncated, info = env.step(env.action_space.low)
        >>> float(reward), terminated
        (0.0, False)
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self, model: int = 3, perturbation: float = 0.0, perturbation_seed: int = 0, **parameters: float
    ) -> None:
        fishery = Fishery.of(model, **parameters)
        self.fishery = fishery.perturbed(perturbation, perturbation_seed) if perturbation else fishery
        self.observation_space = observation_space(self.fishery)
        self.action_space = action_space(self.fishery)
        self._next = 0
        self._episodes: Episodes | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        """Begin an episode; observation (species,) and info."""
        super().reset(seed=seed)
        if seed is not None:
            self._next = 0
        self.np_random  # noqa: B018  # draws a seed where none was given
        self._episodes = Episodes(self.fishery, 1, self.np_random_seed, first=self._next)
        self._next += 1
        return self._observed(self._episodes), self._info(self._episodes)

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Play a step; observation (species,), reward, terminated, truncated and info."""
        if self._episodes is None:
            raise gymnasium.error.ResetNeeded("call reset() before step().")
        step = self._episodes.step(np.asarray(action, np.float64)[None])
        collapsed = bool(step.collapsed[0])
        info = self._info(self._episodes) | {"harvest": step.harvest[0]}
        return (
            self._observed(self._episodes),
            float(step.reward[0]),
            collapsed,
            bool(step.ended[0]) and not collapsed,
            info,
        )

    def _observed(self, episodes: Episodes) -> Floats:
        return observe(self.fishery, episodes.populations)[0]

    def _info(self, episodes: Episodes) -> dict[str, Any]:
        return {"populations": episodes.populations[0].copy(), "episode_number": int(episodes.numbers[0])}


def register() -> None:
    """Make the environment known to gymnasium; importing this module has done so."""
    if FISHERY_ENV not in gymnasium.registry:
        gymnasium.register(FISHERY_ENV, entry_point="workbench.studies.control.gym_env:FisheryEnv")


register()
