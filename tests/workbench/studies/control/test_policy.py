"""A policy is a Monet model: what it takes, and its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.errors import DamagedError, NotFoundError
from workbench.studies.control import Fishery, load_policy, make_model, monet_policy, save_policy
from workbench.studies.control.policy import EXPERT_WIDTH, mortality_logits, refresh_statistics
from workbench.studies.control.tokens import action_ids, state_ids

FISHERY = Fishery.of(3)
STATES = np.random.default_rng(0).uniform(0.1, 1.0, (200, 3))


@pytest.fixture
def model() -> MonetForCausalLM:
    model = make_model(1)
    with torch.no_grad():
        head = torch.randn(2, EXPERT_WIDTH, generator=torch.Generator().manual_seed(0))
        model.lm_head.weight[action_ids(FISHERY), -EXPERT_WIDTH:] = head
    refresh_statistics(model, torch.from_numpy(state_ids(FISHERY, STATES)))
    return model


def test_a_fresh_policy_is_the_constant_one() -> None:
    assert monet_policy(make_model(), FISHERY)(STATES) == pytest.approx(np.tile(FISHERY.base, (200, 1)))


def test_mortalities_are_the_base_and_the_logits_of_the_action_tokens_cut_to_shares(model: MonetForCausalLM) -> None:
    ids = torch.from_numpy(state_ids(FISHERY, STATES))
    with torch.no_grad():
        logits = model(ids).logits[:, -1, [193, 194]].numpy()
    assert logits.std() > 0.05
    assert monet_policy(model, FISHERY)(STATES) == pytest.approx((FISHERY.base + logits).clip(0, 1), abs=1e-6)


def test_experts_alone_move_a_policy_also_after_training(model: MonetForCausalLM) -> None:
    ids = torch.from_numpy(state_ids(FISHERY, STATES))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    before = model.lm_head.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        model(ids).logits[:, -1, [193, 194]].square().sum().backward()
        optimizer.step()
    assert not torch.equal(model.lm_head.weight, before)
    removal = {0: torch.zeros(64, 64), 1: torch.zeros(64, 64)}
    without = monet_policy(model, FISHERY, edit=lambda: model.edit_experts(removal))
    assert without(STATES) == pytest.approx(np.tile(FISHERY.base, (200, 1)), abs=1e-7)


def test_what_was_read_is_recalled_in_any_order(model: MonetForCausalLM) -> None:
    policy = monet_policy(model, FISHERY)
    whole = policy(STATES)
    rows = np.random.default_rng(1).permutation(400) % 200
    assert policy(STATES[rows]).tolist() == whole[rows].tolist()
    apart = monet_policy(model, FISHERY)
    assert np.concatenate([apart(STATES[n : n + 7]) for n in range(0, 200, 7)]) == pytest.approx(whole, abs=1e-6)


def test_states_are_read_under_an_edit_of_the_experts(model: MonetForCausalLM) -> None:
    removal = {0: torch.zeros(64, 64), 1: torch.zeros(64, 64)}
    edited = monet_policy(model, FISHERY, edit=lambda: model.edit_experts(removal))
    with model.edit_experts(removal):
        expected = mortality_logits(model, FISHERY, state_ids(FISHERY, STATES)).clip(0, 1)
    assert edited(STATES) == pytest.approx(expected, abs=1e-6)
    assert np.abs(edited(STATES) - monet_policy(model, FISHERY)(STATES)).max() > 0.01


def test_noise_is_added_before_mortality_is_cut(model: MonetForCausalLM) -> None:
    deviation = np.array([0.1, 0.3])
    means = mortality_logits(model, FISHERY, state_ids(FISHERY, STATES))
    drawn = monet_policy(model, FISHERY, deviation=deviation)(np.tile(STATES, (50, 1))).reshape(50, 200, 2)
    inside = (means > 0.35) & (means < 0.65)
    assert inside.any()
    errors = (drawn - means)[:, inside]
    assert errors.std() == pytest.approx(np.sqrt((deviation**2 * inside.sum(0)).sum() / inside.sum()), rel=0.2)
    assert (drawn.min(), drawn.max()) == (0.0, 1.0)


def test_statistics_are_those_of_the_states_and_weights_stay(model: MonetForCausalLM) -> None:
    ids = torch.from_numpy(state_ids(FISHERY, STATES[:50]))
    weights = {name: values.clone() for name, values in model.named_parameters()}
    refresh_statistics(model, ids)
    assert all(torch.equal(values, weights[name]) for name, values in model.named_parameters())
    router = model.model.layers[0].router
    seen: list[torch.Tensor] = []
    handle = router.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    with torch.no_grad():
        model.model(ids)
        logits, _ = router.logits(seen[0].flatten(0, 1))
    handle.remove()
    assert torch.allclose(router.norm1.running_mean, logits.mean((0, 2)), atol=1e-6)
    assert not model.training
    assert not router.norm1.training
    assert router.norm1.momentum == 0.1


def test_a_saved_policy_is_the_same_and_a_plain_checkpoint(model: MonetForCausalLM, tmp_path: Path) -> None:
    save_policy(model, Fishery.of(4, noise=0.05), tmp_path)
    loaded, fishery = load_policy(tmp_path)
    assert fishery == Fishery.of(4, noise=0.05)
    assert monet_policy(loaded, FISHERY)(STATES).tolist() == monet_policy(model, FISHERY)(STATES).tolist()
    again = MonetForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again.lm_head.weight[: action_ids(FISHERY)[0]], torch.zeros(193, 64))


def test_what_is_no_policy_is_refused(model: MonetForCausalLM, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no fishery\.json"):
        load_policy("monet_model/demo")
    save_policy(model, FISHERY, tmp_path)
    (tmp_path / "fishery.json").write_text('{"model": 3, "depth": 4}')
    with pytest.raises(DamagedError, match="depth"):
        load_policy(tmp_path)
