"""Rules are tuned on some episodes and measured on others."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import BadInputError
from workbench.studies.control import Fishery, measure, play
from workbench.studies.control.episodes import episode_noise
from workbench.studies.control.figures import CHOOSE_SEED, MEASURE_SEED
from workbench.studies.control.fishery import Array
from workbench.studies.control.rules import constant_mortality, predator_escapement
from workbench.studies.control.tuning import tune_constant, tune_predator_rule, tuned_rules, units


def fixed(_populations: Array, settings: Array) -> Array:
    return settings


def test_a_grid_finds_its_best_point() -> None:
    fishery = Fishery.of(2)
    (best,) = tune_constant(fishery, fixed, 0.5, grid=6)
    rewards = {
        value: play(fishery, constant_mortality(value), 100, CHOOSE_SEED).reward.mean()
        for value in np.linspace(0, 0.5, 6)
    }
    assert best == max(rewards, key=rewards.__getitem__)


def test_the_predator_rule_beats_the_best_constant_mortality_on_both_counts() -> None:
    fishery = Fishery.of(3)
    numbers = tune_predator_rule(fishery, rounds=8)
    rule = predator_escapement(numbers["level_x"], numbers["level_y"], slope=numbers["slope"], fair=numbers["fair"])
    tuned, constant = measure(fishery, rule, 300), measure(fishery, constant_mortality(0.30, 0.25), 300)
    assert tuned.reward_interval[0] > constant.reward_interval[1]
    assert tuned.whole_interval[0] > constant.whole_interval[1]


def test_without_a_predator_there_is_no_rule_with_one() -> None:
    with pytest.raises(BadInputError, match="no predator"):
        tune_predator_rule(Fishery.of(1))


def test_what_chooses_never_measures() -> None:
    assert CHOOSE_SEED != MEASURE_SEED
    assert not np.array_equal(episode_noise(CHOOSE_SEED, 0), episode_noise(MEASURE_SEED, 0))


@pytest.mark.parametrize("model", [1, 3])
def test_all_rules_are_reported_and_progress_is_whole(model: int) -> None:
    fishery, done = Fishery.of(model), 0.0

    def count(units: float = 1, note: str = "") -> None:
        nonlocal done
        done += units

    table = tuned_rules(fishery, grid=3, rounds=2, episodes=20, progress=count)
    assert done == units(fishery, grid=3, rounds=2)
    names = [rule.name for rule in table]
    assert names[:5] == [
        "constant mortality",
        "80% of that mortality",
        "90% of that mortality",
        "95% of that mortality",
        "constant escapement",
    ]
    assert names[5:] == (["escapement by predator"] if model == 3 else [])
    assert all(rule.figures.episodes == 20 for rule in table)
