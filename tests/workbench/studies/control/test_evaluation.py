"""Saved policies of both kinds are opened and measured alike, with and without noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from workbench.errors import BadInputError, DamagedError, NotFoundError
from workbench.studies.control import (
    Fishery,
    choose_policy,
    constant_mortality,
    evaluate_policy,
    make_model,
    measure,
    monet_policy,
    open_policy,
    save_policy,
)
from workbench.studies.control.policy import write_fishery

FISHERY = Fishery.of(3)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_policy(make_model(0), FISHERY, tmp_path)
    return tmp_path


def test_noise_is_measured_where_training_kept_its_deviation(saved: Path) -> None:
    assert list(evaluate_policy(saved, episodes=5)) == ["policy"]
    (saved / "training.json").write_text(json.dumps({"settings": {}, "deviation": [0.2, 0.2]}))
    figures = evaluate_policy(saved, episodes=5)
    assert figures["policy"] == measure(FISHERY, constant_mortality(*FISHERY.base), 5)  # a fresh policy is constant
    noisy = monet_policy(make_model(0), FISHERY, deviation=np.array([0.2, 0.2]))
    assert figures["with noise"] == measure(FISHERY, noisy, 5)


def test_another_fishery_can_be_played(saved: Path) -> None:
    shaken = FISHERY.perturbed(0.2, seed=0)
    assert evaluate_policy(saved, 5, shaken)["policy"] == measure(shaken, open_policy(saved)[0], 5)


def test_the_best_policy_is_copied_without_the_rest_of_its_training(tmp_path: Path) -> None:
    for name, mortality in (("idle", 0.0), ("light", 0.1), ("ruin", 0.9)):
        (tmp_path / name).mkdir()
        layer = {"weight.0": np.zeros((2, 3), np.float32), "bias.0": np.full(2, mortality, np.float32)}
        save_file(layer, tmp_path / name / "mlp.safetensors")
        write_fishery(FISHERY, tmp_path / name)
        (tmp_path / name / "log.jsonl").touch()
    out = tmp_path / "best"
    folders = [tmp_path / name for name in ("idle", "light", "ruin")]
    assert choose_policy(folders, out, episodes=20) == tmp_path / "light"
    assert sorted(file.name for file in out.iterdir()) == ["fishery.json", "mlp.safetensors"]
    assert evaluate_policy(out, 20) == evaluate_policy(tmp_path / "light", 20)
    with pytest.raises(BadInputError, match="exists already"):
        choose_policy(folders, out)
    with pytest.raises(BadInputError, match="no policy to choose"):
        choose_policy([], tmp_path / "none")


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
        torch.manual_seed(0)
        env = FisheryVecEnv(FISHERY, 2, seed=0)
        policy = PPO("MlpPolicy", env, policy_kwargs={"features_extractor_class": PopulationReader}).policy
    with torch.no_grad():
        policy.action_net.weight.mul_(50)
    save_mlp(policy, tmp_path)
    states = np.random.default_rng(0).uniform(0.1, 1, (50, 3))
    expected, _ = policy.predict(observe(FISHERY, states), deterministic=True)
    assert expected.max() > 0
    assert mlp_policy(tmp_path, FISHERY)(states) == pytest.approx(expected, abs=1e-5)
