from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.analysis import attribute
from workbench.studies.control import load_policy
from workbench.studies.control.contributions import Contributions, contributions
from workbench.studies.control.policy import mortality_logits
from workbench.studies.control.tokens import action_ids, state_ids

STATES = np.array([[0.61, 0.63, 0.11], [0.61, 0.63, 0.115], [0.48, 0.5, 0.3], [0.44, 0.4, 0.7]])


@pytest.fixture(scope="module")
def parts(policy_folder: Path) -> Contributions:
    return contributions(*load_policy(policy_folder), STATES)


def test_parts_sum_to_the_mortality(parts: Contributions, policy_folder: Path) -> None:
    model, fishery = load_policy(policy_folder)
    ids = np.unique(state_ids(fishery, STATES), axis=0)
    np.testing.assert_allclose(parts.mortality, mortality_logits(model, fishery, ids), atol=1e-6)
    assert parts.completeness < 1e-5
    assert parts.visits.tolist() == [2.0, 1.0, 1.0] or sorted(parts.visits.tolist()) == [1.0, 1.0, 2.0]


def test_experts_alone_make_the_deviation_from_the_base(parts: Contributions) -> None:
    np.testing.assert_array_equal(parts.rest, 0)
    assert np.abs(parts.mortality - parts.base).max() > 0.05


def test_parts_are_those_of_direct_logit_attribution(parts: Contributions, policy_folder: Path) -> None:
    """The action is a token's logit, so the workbench's own attribution gives the same."""
    model, fishery = load_policy(policy_folder)
    ids = np.unique(state_ids(fishery, STATES), axis=0)
    for state in range(len(ids)):
        for action, token in zip(parts.actions, action_ids(fishery), strict=True):
            whole = attribute(model, torch.from_numpy(ids[state : state + 1]), token)
            own = parts.experts[parts.experts["state"] == state]
            assert own[["layer", "expert"]].values.tolist() == whole.experts[["layer", "expert"]].values.tolist()
            np.testing.assert_allclose(own[action], whole.experts["contribution"], rtol=1e-5, atol=1e-8)


def test_edits_in_force_count(policy_folder: Path) -> None:
    model, fishery = load_policy(policy_folder)
    keys = model.config.moe_experts
    with model.edit_experts({layer: torch.zeros(keys, keys) for layer in (0, 1)}):
        edited = contributions(model, fishery, STATES)
    np.testing.assert_allclose(edited.mortality, np.tile(fishery.base, (3, 1)), atol=1e-7)
