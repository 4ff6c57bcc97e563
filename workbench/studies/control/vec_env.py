"""Episodes side by side, as stable-baselines3 takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvStepReturn

from .episodes import Episodes
from .fishery import Fishery
from .observations import Floats, observe
from .spaces import action_space, observation_space


class FisheryVecEnv(VecEnv):
    """A ``VecEnv`` in numpy: an episode that has ended is followed by the next one of the seed in its place.

    Args:
        fishery: the fishery.
        count: episodes at once.
        seed: of their noise.
        reward_scale: what rewards are multiplied with; the sums in ``infos`` are not.

    Attributes:
        episodes: the episodes that are being played.
        begun: how many episodes have been begun.
    """

    def __init__(self, fishery: Fishery, count: int, seed: int, reward_scale: float = 1.0) -> None:
        super().__init__(count, observation_space(fishery), action_space(fishery))
        self.fishery = fishery
        self.reward_scale = reward_scale
        self.episodes = Episodes(fishery, count, seed)
        self.begun = count
        self._sums = np.zeros(count)
        self._mortality = np.zeros((count, len(fishery.harvested)))

    def reset(self) -> Floats:
        """Begin ``count`` new episodes, unless none has been played yet; observations (count, species)."""
        if self.episodes.time.any():
            self._restart(np.arange(self.num_envs))
        return self.observations()

    def observations(self) -> Floats:
        """What is observed now: (count, species)."""
        return observe(self.fishery, self.episodes.populations)

    def _restart(self, rows: np.ndarray) -> None:
        self.episodes.restart(rows, self.begun)
        self.begun += len(rows)
        self._sums[rows] = 0

    def step_async(self, actions: np.ndarray) -> None:
        self._mortality = actions.astype(np.float64)

    def step_wait(self) -> VecEnvStepReturn:
        step = self.episodes.step(self._mortality)
        self._sums += step.reward
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        observations = self.observations()
        rows = step.ended.nonzero()[0]
        if len(rows):
            for row in rows:
                infos[row] = {
                    "terminal_observation": observations[row],
                    "TimeLimit.truncated": not step.collapsed[row],
                    "episode": {"r": float(self._sums[row]), "l": int(self.episodes.time[row]), "t": 0.0},
                }
            self._restart(rows)
            observations = self.observations()
        return observations, (self.reward_scale * step.reward).astype(np.float32), step.ended, infos

    def state(self) -> dict[str, np.ndarray]:
        """All that ``restore`` needs to go on exactly: arrays by name."""
        episodes = self.episodes
        return {
            "numbers": episodes.numbers,
            "time": episodes.time,
            "populations": episodes.populations,
            "sums": self._sums,
            "begun": np.array(self.begun),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what ``state`` returned."""
        self.episodes.move_to(state["numbers"], state["time"], state["populations"])
        self._sums[:] = state["sums"]
        self.begun = int(state["begun"])

    def close(self) -> None:
        """Nothing is held."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [None if attr_name == "render_mode" else getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        raise NotImplementedError("all episodes share their attributes.")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError("episodes are rows of arrays and have no methods.")

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> Sequence[bool]:  # type: ignore[override]
        return [False for _ in self._get_indices(indices)]
