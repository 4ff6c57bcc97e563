"""Training learns, and goes on exactly where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3", reason="the extra `control` is not installed")

from safetensors.torch import load_file

from cuda_ext import Routing
from monet_model.losses import ambiguity_loss, uniformity_loss
from workbench.errors import BadInputError, DamagedError
from workbench.studies.control import Fishery, PolicyTraining, load_policy, measure, open_policy, train_policy
from workbench.studies.control import training as training_module
from workbench.studies.control.cloning import visited
from workbench.studies.control.rules import constant_mortality
from workbench.studies.control.tokens import state_ids
from workbench.studies.control.vec_env import FisheryVecEnv

SMALL = PolicyTraining(steps=4 * 256, episodes=16, rollout=16, batch=128, epochs=2)
WEIGHTS = {"monet": "model.safetensors", "mlp": "mlp.safetensors"}


class Interrupted(Exception):
    pass


def interrupting(after: int) -> Callable[..., None]:
    """Progress that interrupts a training after so many updates; its first call says what was done before."""
    calls = 0

    def progress(units: float = 1, note: str = "") -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Interrupted

    return progress


@pytest.mark.parametrize("kind", ["monet", "mlp"])
def test_an_interrupted_training_ends_as_one_that_was_not(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_module, "_SAVE_EVERY", 2)
    settings = replace(SMALL, policy=kind)
    whole = train_policy(settings, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train_policy(settings, tmp_path / "parts", progress=interrupting(3))  # the third update is done anew
    assert train_policy(settings, tmp_path / "parts", resume=True) == whole
    expected, found = (load_file(tmp_path / folder / WEIGHTS[kind]) for folder in ("whole", "parts"))
    assert all(torch.equal(values, found[name]) for name, values in expected.items())
    logs = [(tmp_path / folder / "log.jsonl").read_text() for folder in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert [json.loads(line)["step"] for line in logs[0].splitlines()] == [1, 2, 3, 4]


def test_a_training_leaves_the_randomness_of_others_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    train_policy(replace(SMALL, steps=256, policy="mlp"), tmp_path / "out")
    assert (torch.rand(1).item(), np.random.rand()) == expected


def test_deviation_falls_from_the_first_to_the_last(tmp_path: Path) -> None:
    settings = replace(SMALL, policy="mlp", steps=16 * 256, deviation=0.2, last_deviation=0.05)
    train_policy(settings, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    fallen = [row["deviation"][0] for row in rows]
    assert fallen[0] == pytest.approx(0.2)
    assert fallen[8] == pytest.approx(0.1)
    assert fallen[-1] == pytest.approx(0.05, rel=0.1)


def test_the_auxiliary_losses_spread_the_routing_of_states(tmp_path: Path) -> None:
    losses = []
    for weight in (0.0, 0.1):
        settings = replace(SMALL, steps=6 * 256, auxiliary=weight)
        train_policy(settings, tmp_path / f"{weight}")
        model, fishery = load_policy(tmp_path / f"{weight}")
        ids = torch.from_numpy(state_ids(fishery, visited(fishery, constant_mortality(0.3, 0.25), 4, seed=9)))
        with torch.no_grad():
            probs = model(ids, output_router_probs=True).router_probs
        routings = [Routing.from_dense(*pair) for pair in probs if pair is not None]
        losses.append(float(uniformity_loss(routings) + ambiguity_loss(routings)))
    assert losses[1] < losses[0] - 0.1


def test_ppo_learns_to_harvest_without_ruin(tmp_path: Path) -> None:
    settings = PolicyTraining.of("mlp", model=2, steps=40_000, rollout=32, batch=512)
    train_policy(settings, tmp_path)
    policy, fishery = open_policy(tmp_path)
    assert fishery == Fishery.of(2)
    figures = measure(fishery, policy, 100)
    assert figures.reward > 5  # a policy that takes nothing has 0, and most random ones ruin the stock at once
    assert figures.whole > 0.9


def test_a_folder_that_holds_a_training_is_not_overwritten(tmp_path: Path) -> None:
    settings = replace(SMALL, policy="mlp", steps=256)
    train_policy(settings, tmp_path)
    with pytest.raises(BadInputError, match="holds a training already"):
        train_policy(settings, tmp_path)
    with pytest.raises(BadInputError, match="another configuration"):
        train_policy(replace(settings, lr=1e-4), tmp_path, resume=True)
    (tmp_path / "state.safetensors").write_bytes(b"cut")
    with pytest.raises(DamagedError, match="damaged"):
        train_policy(settings, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("changes", "says"), [({"policy": "tree"}, "monet or mlp"), ({"epochs": 0}, "epochs must be at least 1")]
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        replace(SMALL, **changes)


def test_the_critic_alone_learns_values_and_changes_nothing_else() -> None:
    fishery, settings = Fishery.of(3), replace(SMALL, value_epochs=20)
    algorithm = training_module._algorithm(settings, fishery, FisheryVecEnv(fishery, 16, 0, settings.reward_scale))
    policy, critic = (
        algorithm.policy,
        {f"value_net.{name}" for name, _ in algorithm.policy.value_net.named_parameters()},
    )
    algorithm.train, fit = (lambda: None), algorithm._fit_values  # a rollout is played, and not learned from
    algorithm.learn(256)
    algorithm._current_progress_remaining = 1.0  # of the learning rate
    buffer = algorithm.rollout_buffer
    observations, returns = (torch.from_numpy(rows).flatten(0, 1) for rows in (buffer.observations, buffer.returns))
    before = {name: values.detach().clone() for name, values in policy.named_parameters()}
    torch.testing.assert_close(policy.values_of(observations), policy.predict_values(observations).flatten())

    def error() -> float:
        return float((policy.values_of(observations).detach() - returns).square().mean())

    first = error()
    fit()
    assert error() < 0.5 * first
    changed = {name for name, values in policy.named_parameters() if not torch.equal(values, before[name])}
    assert changed == critic
