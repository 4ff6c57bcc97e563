from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.store import Run
from workbench.studies.control import load_policy, monet_policy, play
from workbench.studies.control.figures import MEASURE_SEED
from workbench.studies.control.outcomes import outcome_row
from workbench.studies.control.reading import run_populations
from workbench.studies.control.reading_result import ControlReading
from workbench.studies.control.regimes import PREDATOR, predator_levels
from workbench.studies.control.removal import action_sums, scarce_experts, selectivity


def test_sums_are_over_the_tokens_where_the_action_is_read(policy_run: Run) -> None:
    sums = action_sums(policy_run)
    states = np.bincount(predator_levels(run_populations(policy_run)), minlength=len(PREDATOR))
    for group, of_group in enumerate(sums):
        np.testing.assert_array_equal(of_group.label_tokens, states)
        token = policy_run.token_column > 128  # those of Z
        expert = int(of_group.tokens.sum(0).argmax())
        activations = policy_run.activations(group, expert)
        assert of_group.tokens[:, expert].sum() == token[activations["row"].to_numpy()].sum()
        np.testing.assert_allclose(
            of_group.mass[:, expert].sum(), activations["score"][token[activations["row"].to_numpy()]].sum(), rtol=1e-3
        )


def test_chosen_experts_are_active_where_the_predator_is_scarce(policy_run: Run) -> None:
    sums = action_sums(policy_run)
    chosen = scarce_experts(sums)
    assert sum(map(len, chosen)) > 20
    for of_group, ids in zip(sums, chosen, strict=True):
        rate = of_group.mass[:, ids] / of_group.label_tokens[:, None]
        assert (rate[0] >= 2 * rate[1:].max(0)).all()


def test_removals_are_measured_on_the_same_episodes(policy_run: Run, reading: ControlReading) -> None:
    table = reading.removals
    assert table["removed"].tolist() == ["nothing", "scarce", "random", "equally active"]
    assert table["experts"].iloc[0] == 0
    assert table["experts"].iloc[1] == table["experts"].iloc[2]
    nothing = table.iloc[0]
    assert [nothing[f"change:{level}"] for level in PREDATOR] == [0, 0, 0]
    assert [nothing[f"catch:{level}"] for level in PREDATOR] == [1, 1, 1]
    model, fishery = load_policy(policy_run.model_path)
    whole = outcome_row(play(fishery, monet_policy(model, fishery), 40, MEASURE_SEED))
    assert nothing["reward"] == pytest.approx(whole["reward"])


def test_experts_of_a_scarce_predator_act_where_it_is_scarce(reading: ControlReading) -> None:
    table = reading.removals.set_index("removed")
    ratio = table["change:scarce"] / table["change:plenty"]
    assert reading.selectivity == pytest.approx(ratio["scarce"])
    assert ratio["scarce"] > 2 * max(ratio["random"], ratio["equally active"])
    assert abs(table.loc["scarce", "catch:plenty"] - 1) < 0.05


def test_selectivity_is_the_ratio_of_changes() -> None:
    row = {"removed": "scarce", "change:scarce": 0.2, "change:plenty": 0.01}
    assert selectivity(pd.DataFrame([row])) == pytest.approx(20)
    assert selectivity(pd.DataFrame([row | {"change:plenty": 0.0}])) == float("inf")
