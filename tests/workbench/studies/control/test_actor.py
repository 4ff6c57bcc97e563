"""What PPO sees of a Monet policy: one and the same distribution while it plays and while it begins to learn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3", reason="the extra `control` is not installed")

from stable_baselines3 import PPO

from workbench.studies.control import Fishery, make_model, monet_policy
from workbench.studies.control.actor import MonetActorCritic, StateReader
from workbench.studies.control.observations import observed_populations
from workbench.studies.control.vec_env import FisheryVecEnv

FISHERY = Fishery.of(3)


class Watched(PPO):
    """Notes, at the start of each update, how far probabilities are from those of the rollout."""

    distances: list[float]
    refresh_first = False

    def train(self) -> None:
        buffer, reader = self.rollout_buffer, self.policy.features_extractor
        if self.refresh_first:
            reader.refresh(torch.from_numpy(buffer.observations.reshape(-1, 3) * 0.5))
        self.policy.set_training_mode(True)
        flat = [
            torch.from_numpy(values.reshape(-1, values.shape[-1])) for values in (buffer.observations, buffer.actions)
        ]
        _, now, _ = self.policy.evaluate_actions(*flat)
        before = torch.from_numpy(buffer.log_probs.reshape(-1))
        self.distances.append(float((now - before).abs().max()))
        super().train()
        reader.refresh(torch.from_numpy(buffer.observations))


def training() -> Watched:
    env = FisheryVecEnv(FISHERY, 16, seed=0)
    kwargs = {"model": make_model(0), "fishery": FISHERY}
    policy = {"net_arch": [], "features_extractor_class": StateReader, "features_extractor_kwargs": kwargs}
    watched = Watched(
        MonetActorCritic, env, n_steps=16, batch_size=64, n_epochs=2, learning_rate=3e-3, policy_kwargs=policy
    )
    watched.distances = []
    return watched


@pytest.fixture(autouse=True)
def _own_randomness() -> Iterator[None]:
    with torch.random.fork_rng([]):
        yield


def test_probabilities_are_those_of_the_rollout_before_the_first_gradient_step() -> None:
    watched = training()
    watched.learn(4 * 256, log_interval=None)
    assert len(watched.distances) == 4
    assert max(watched.distances) < 1e-4


def test_refreshing_between_rollout_and_update_would_change_them() -> None:
    watched = training()
    watched.refresh_first = True
    watched.learn(4 * 256, log_interval=None)
    assert max(watched.distances) > 1e-3


def test_an_update_leaves_the_statistics_alone_and_trains_the_rest() -> None:
    watched = training()
    watched.learn(256, log_interval=None)
    model = watched.policy.features_extractor.model
    frozen = {name: values.clone() for name, values in model.named_buffers()}
    before = {name: values.clone() for name, values in model.named_parameters()}
    watched.collect_rollouts(watched.env, watched._init_callback(None), watched.rollout_buffer, watched.n_steps)
    PPO.train(watched)
    assert all(torch.equal(values, frozen[name]) for name, values in model.named_buffers())
    moved = {name for name, values in model.named_parameters() if not torch.equal(values, before[name])}
    assert {"model.layers.0.router.w1.weight", "model.layers.1.moe.u1.weight", "lm_head.weight"} <= moved
    assert not model.lm_head.weight[:193].any()


def test_its_mean_action_is_the_policys() -> None:
    watched = training()
    watched.learn(512, log_interval=None)
    observations = np.random.default_rng(0).uniform(0.02, 0.25, (100, 3)).astype(np.float32)
    actions, _ = watched.policy.predict(observations, deterministic=True)
    policy = monet_policy(watched.policy.features_extractor.model, FISHERY)
    assert actions == pytest.approx(policy(observed_populations(FISHERY, observations)), abs=1e-5)


def test_what_was_read_is_forgotten_when_weights_change() -> None:
    watched = training()
    reader = watched.policy.features_extractor
    observations = torch.full((1, 3), 0.125)
    with torch.no_grad():
        before = reader(observations)
        reader.model.lm_head.weight[193] += 0.1
        assert torch.equal(reader(observations), before)
        watched.policy.set_training_mode(False)
        assert not torch.equal(reader(observations), before)
