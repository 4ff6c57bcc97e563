from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.errors import UnsupportedError
from workbench.studies.control import load_policy, monet_policy, play
from workbench.studies.control.contributions import Contributions, contributions
from workbench.studies.control.corpus import visits
from workbench.studies.control.derive import read_rule
from workbench.studies.control.harvest_rule import EscapementRule, HarvestRule, MortalityRule

TRUE = EscapementRule(level=0.31, slope=1.7, fair=0.25, gain=0.9)
OTHER = MortalityRule(level_x=0.27, level_y=0.31, slope=1.2, fair=0.25)


def _written_by_two(rule: HarvestRule) -> Contributions:
    """A policy that is the rule: expert 7 writes it where the predator is scarce, expert 8 elsewhere."""
    rng = np.random.default_rng(0)
    states = np.stack([*rng.uniform(0.45, 0.9, (2, 400)), rng.uniform(0.15, 0.6, 400)], 1)
    mortality, base = rule(states), np.array([0.3, 0.25])
    added = pd.DataFrame(mortality - base, columns=["Mx", "My"])
    known = {"layer": 0, "state": np.arange(400), "expert": np.where(states[:, 2] < 0.25, 7, 8)}
    experts = pd.DataFrame(known).join(added)
    return Contributions(states, np.ones(400), base, mortality, experts, np.zeros((400, 2)))


@pytest.mark.parametrize("rule", [TRUE, OTHER], ids=lambda rule: rule.form)
def test_form_and_numbers_of_a_known_rule_come_back(rule: HarvestRule) -> None:
    reading = read_rule(_written_by_two(rule))
    assert reading.rule.form == rule.form
    assert {**reading.rule.to_json(), "form": 0} == pytest.approx({**rule.to_json(), "form": 0}, rel=1e-6)
    assert reading.explained == pytest.approx(1.0)
    assert reading.edge == 0.25


def test_each_number_is_read_off_the_experts_of_its_side() -> None:
    experts = read_rule(_written_by_two(TRUE)).experts.set_index("expert")
    assert experts["side"].to_dict() == {7: "scarce", 8: "enough"}
    assert experts.loc[7, "part:level"] == experts.loc[8, "part:slope"] == experts.loc[8, "part:edge"] == 0
    assert experts.loc[8, "part:level"] == pytest.approx(
        1, rel=0.05
    )  # the rest is the base's, which differs by species
    assert experts.loc[7, "part:slope"] == pytest.approx(1, rel=0.05)


def test_a_mute_expert_changes_nothing() -> None:
    """What an expert adds is all that counts: one that is active everywhere and adds nothing is no part of a number."""
    parts = _written_by_two(TRUE)
    mute = parts.experts.assign(expert=9, Mx=0.0, My=0.0)
    reading = read_rule(replace(parts, experts=pd.concat([parts.experts, mute], ignore_index=True)))
    assert reading.rule == read_rule(parts).rule
    names = [f"part:{name}" for side in EscapementRule.coefficients.values() for name in side]
    assert (reading.experts.set_index("expert").loc[9, names] == 0).all()


def test_states_count_as_often_as_they_are_visited() -> None:
    parts = _written_by_two(TRUE)
    wrong = parts.experts["state"] >= 300
    spoilt = parts.experts.assign(Mx=parts.experts["Mx"] + np.where(wrong, 0.1, 0.0))
    rarely = replace(parts, experts=spoilt, visits=np.where(np.arange(400) >= 300, 1e-9, 1.0))
    found = read_rule(rarely).rule
    assert isinstance(found, EscapementRule)
    assert (found.level, found.slope) == pytest.approx((TRUE.level, TRUE.slope), rel=1e-4)


def test_surfaces_that_take_more_where_the_predator_is_scarce_make_no_rule() -> None:
    with pytest.raises(UnsupportedError, match="make no rule"):
        read_rule(_written_by_two(replace(OTHER, slope=-1.0)))


def test_too_few_states_are_refused() -> None:
    parts = _written_by_two(TRUE)
    with pytest.raises(UnsupportedError, match="play more episodes"):
        read_rule(replace(parts, mortality=np.zeros_like(parts.mortality)))


def test_the_shipped_policys_rule_does_as_well_as_it(policy_folder: Path) -> None:
    model, fishery = load_policy(policy_folder)
    policy = monet_policy(model, fishery)
    reading = read_rule(contributions(model, fishery, visits(fishery, policy, 20, seed=1).populations))
    rewards = [play(fishery, one, 100, seed=2).reward.mean() for one in (policy, reading.rule)]
    assert rewards[1] >= 0.95 * rewards[0]
    lacking, enough = reading.rule(np.array([[0.6, 0.6, 0.07], [0.6, 0.6, 0.6]]))
    assert (lacking < enough).all()
