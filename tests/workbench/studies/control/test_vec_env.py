"""What stable-baselines3 sees of episodes side by side."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="the extra `control` is not installed")

from workbench.studies.control import Episodes, Fishery, constant_mortality, play
from workbench.studies.control.vec_env import FisheryVecEnv


def test_episodes_follow_each_other_in_their_places_and_their_sums_are_reported() -> None:
    env = FisheryVecEnv(Fishery.of(3), 4, seed=0, reward_scale=0.1)
    env.reset()
    ended, sums = [], np.zeros(4)
    for _ in range(450):
        playing = env.episodes.numbers.copy()
        _, rewards, dones, infos = env.step(np.tile(np.float32([0.30, 0.25]), (4, 1)))
        sums += rewards
        for row in dones.nonzero()[0]:
            ended.append((playing[row], infos[row]["episode"]["r"], infos[row]["TimeLimit.truncated"]))
            assert sums[row] == pytest.approx(0.1 * infos[row]["episode"]["r"], rel=1e-4)
            assert infos[row]["terminal_observation"].shape == (3,)
            sums[row] = 0
    assert len(ended) >= 8
    outcome = play(Fishery.of(3), constant_mortality(*np.float32([0.30, 0.25]).tolist()), 40, seed=0)
    for number, reward, whole in ended:
        assert reward == pytest.approx(outcome.reward[number])
        assert whole == outcome.whole[number]


def test_a_reset_begins_new_episodes() -> None:
    env = FisheryVecEnv(Fishery.of(3), 2, seed=0)
    first = env.reset()
    assert env.reset().tolist() == first.tolist()  # nothing has been played
    env.step(np.zeros((2, 2), np.float32))
    env.reset()
    assert env.episodes.numbers.tolist() == [2, 3]
    assert env.episodes.populations.tolist() == Episodes(Fishery.of(3), 2, seed=0, first=2).populations.tolist()


def test_a_state_is_gone_on_from_exactly() -> None:
    actions = np.tile(np.float32([0.4, 0.4]), (3, 1))
    env, other = FisheryVecEnv(Fishery.of(4), 3, seed=1), FisheryVecEnv(Fishery.of(4), 3, seed=1)
    for _ in range(90):
        env.step(actions)
    other.restore({name: values.copy() for name, values in env.state().items()})
    for _ in range(150):
        seen, rewards, dones, infos = env.step(actions)
        seen2, rewards2, dones2, infos2 = other.step(actions)
        assert (seen.tolist(), rewards.tolist(), dones.tolist()) == (seen2.tolist(), rewards2.tolist(), dones2.tolist())
        assert [info.get("episode") for info in infos] == [info.get("episode") for info in infos2]
    assert env.begun > 3
