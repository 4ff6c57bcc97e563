"""Saved policies of both kinds are opened and measured alike, with and without noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.errors import DamagedError, NotFoundError
from workbench.studies.control import (
    Fishery,
    evaluate_policy,
    make_model,
    measure,
    monet_policy,
    open_policy,
    save_policy,
)

FISHERY = Fishery.of(3)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_policy(make_model(0), FISHERY, tmp_path)
    return tmp_path


def test_noise_is_measured_where_training_kept_its_deviation(saved: Path) -> None:
    assert list(evaluate_policy(saved, episodes=5)) == ["policy"]
    (saved / "training.json").write_text(json.dumps({"settings": {}, "deviation": [0.2, 0.2]}))
    figures = evaluate_policy(saved, episodes=5)
    assert figures["policy"].reward == 0  # a fresh policy takes nothing
    noisy = monet_policy(make_model(0), FISHERY, deviation=np.array([0.2, 0.2]))
    assert figures["with noise"] == measure(FISHERY, noisy, 5)


def test_another_fishery_can_be_played(saved: Path) -> None:
    shaken = FISHERY.perturbed(0.2, seed=0)
    assert evaluate_policy(saved, 5, shaken)["policy"] == measure(shaken, open_policy(saved)[0], 5)


def test_what_is_no_policy_is_refused(saved: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no fishery\.json"):
        evaluate_policy("monet_model/demo")
    (saved / "training.json").write_text("{")
    with pytest.raises(DamagedError, match=r"training\.json"):
        evaluate_policy(saved, 5)
    (saved / "mlp.safetensors").write_bytes(b"cut")
    with pytest.raises(DamagedError, match=r"mlp\.safetensors"):
        open_policy(saved)


def test_an_mlp_is_read_as_it_was_trained(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3", reason="the extra `control` is not installed")
    from stable_baselines3 import PPO

    from workbench.studies.control.actor import PopulationReader
    from workbench.studies.control.mlp import mlp_policy, save_mlp
    from workbench.studies.control.observations import observe
    from workbench.studies.control.vec_env import FisheryVecEnv

    with torch.random.fork_rng([]):
        env = FisheryVecEnv(FISHERY, 2, seed=0)
        policy = PPO("MlpPolicy", env, policy_kwargs={"features_extractor_class": PopulationReader}).policy
    with torch.no_grad():
        policy.action_net.weight.mul_(50)
    save_mlp(policy, tmp_path)
    states = np.random.default_rng(0).uniform(0.1, 1, (50, 3))
    expected, _ = policy.predict(observe(FISHERY, states), deterministic=True)
    assert expected.max() > 0
    assert mlp_policy(tmp_path, FISHERY)(states) == pytest.approx(expected, abs=1e-5)
