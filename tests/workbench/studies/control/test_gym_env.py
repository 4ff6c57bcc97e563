"""The gymnasium environment is the batch of one, and keeps gymnasium's contract."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from workbench.errors import BadInputError
from workbench.studies.control import Episodes, Fishery
from workbench.studies.control.gym_env import FISHERY_ENV, FisheryEnv


@pytest.mark.parametrize("model", [1, 2, 3, 4])
def test_it_keeps_the_contract(model: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(FISHERY_ENV, model=model).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("options", [{}, {"noise": 0.2}, {"perturbation": 0.1, "perturbation_seed": 5}])
@pytest.mark.parametrize("model", [1, 2, 3, 4])
def test_it_is_equal_to_the_batch_step_by_step(model: int, options: dict[str, float]) -> None:
    env = FisheryEnv(model, **options)  # type: ignore[arg-type]
    batch = Episodes(env.fishery, 3, seed=9)
    actions = np.random.default_rng(0).uniform(0, 0.5, (200, 3, len(env.fishery.harvested))).astype(np.float32)
    for number in range(3):
        _, info = env.reset(seed=9 if number == 0 else None)
        assert info["episode_number"] == number
        batch = Episodes(env.fishery, 3, seed=9)
        for action in actions:
            step = batch.step(action.astype(np.float64))
            observation, reward, terminated, truncated, info = env.step(action[number])
            assert info["populations"].tolist() == batch.populations[number].tolist()
            assert observation == pytest.approx(batch.populations[number, list(env.fishery.observed)] / 4, rel=1e-6)
            assert (reward, terminated) == (step.reward[number], step.collapsed[number])
            assert (terminated or truncated) == step.ended[number]
            if terminated or truncated:
                break


def test_seeds_decide_and_differ() -> None:
    env = gymnasium.make(FISHERY_ENV)
    first, _ = env.reset(seed=1)
    again, _ = env.reset(seed=1)
    following, _ = env.reset()
    other, _ = env.reset(seed=2)
    assert first.tolist() == again.tolist()
    assert len({tuple(seen.tolist()) for seen in (first, following, other)}) == 3


def test_without_a_seed_episodes_are_drawn_at_random() -> None:
    starts = {tuple(FisheryEnv().reset()[0].tolist()) for _ in range(3)}
    assert len(starts) == 3


def test_what_is_no_fishery_is_refused() -> None:
    with pytest.raises(BadInputError, match="no fishery model 7"):
        FisheryEnv(7)
    with pytest.raises(gymnasium.error.ResetNeeded):
        FisheryEnv().step(np.zeros(2, np.float32))
    assert Fishery.of(3) == FisheryEnv(3).fishery
