from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import BadInputError
from workbench.store import Run
from workbench.studies.control import load_policy, monet_policy, play
from workbench.studies.control.contributions import contributions
from workbench.studies.control.derive import read_rule
from workbench.studies.control.figures import CHOOSE_SEED, MEASURE_SEED
from workbench.studies.control.reading import SHARES, read_control_rule, run_populations
from workbench.studies.control.reading_result import CONSTANT, POLICY, RULE, ControlReading, read_control
from workbench.studies.control.run import SEED


def test_what_was_read_is_kept_in_the_run(reading: ControlReading, read_run: Run) -> None:
    kept = read_control(read_run)
    assert kept is not None
    assert kept.to_json() == reading.to_json()
    for name in ControlReading.tables:
        assert getattr(kept, name).shape == getattr(reading, name).shape


def test_choosing_and_measuring_episodes_differ() -> None:
    assert SEED not in (MEASURE_SEED, CHOOSE_SEED)


def test_the_rule_is_that_of_the_runs_states(reading: ControlReading, policy_run: Run) -> None:
    model, fishery = load_policy(policy_run.model_path)
    found = read_rule(contributions(model, fishery, run_populations(policy_run)))
    assert found.rule == reading.rule


def test_the_rule_keeps_the_policys_reward(reading: ControlReading) -> None:
    assert reading.kept >= 0.95


def test_outcomes_are_of_the_policies_named(reading: ControlReading) -> None:
    table = reading.outcomes
    assert table["policy"].tolist() == [POLICY, RULE, *[CONSTANT] * len(SHARES)]
    assert table["share"].dropna().tolist() == list(SHARES)
    again = play(reading.fishery, reading.rule, 40, MEASURE_SEED)
    assert reading.outcome(RULE)["reward"] == pytest.approx(again.reward.mean())
    assert reading.outcome(CONSTANT)["share"] == 1


def test_surfaces_add_up_to_the_mortality(reading: ControlReading) -> None:
    lattice = reading.lattice
    added = reading.surfaces.groupby("point")["added"].sum().reindex(lattice.index, fill_value=0)
    base = lattice["species"].map(dict(zip("XY", reading.fishery.base, strict=True)))
    np.testing.assert_allclose((base + added).clip(0, 1), lattice["mortality"], atol=1e-5)


def test_the_strongest_expert_adds_most(reading: ControlReading) -> None:
    largest = reading.surfaces["added"].abs().groupby(reading.surfaces["point"]).max()
    np.testing.assert_allclose(reading.lattice["added"].abs(), largest.reindex(reading.lattice.index), rtol=1e-6)


def test_the_lattice_shows_the_policy(reading: ControlReading, policy_run: Run) -> None:
    model, fishery = load_policy(policy_run.model_path)
    row = reading.lattice[reading.lattice["species"] == "Y"].iloc[400]
    other = np.median(run_populations(policy_run), axis=0)[0]
    mortality = monet_policy(model, fishery)(np.array([[other, row["stock"], row["predator"]]]))
    assert mortality[0, 1] == pytest.approx(row["mortality"], abs=1e-6)


def test_perturbed_fisheries_are_played_by_all(reading: ControlReading) -> None:
    assert reading.perturbed["policy"].tolist() == [POLICY, RULE, CONSTANT]
    assert (reading.perturbed["reward_low"] <= reading.perturbed["reward"]).all()


def test_too_few_episodes_are_refused(policy_run: Run) -> None:
    with pytest.raises(BadInputError, match="episodes must be at least 2"):
        read_control_rule(policy_run, episodes=1)
