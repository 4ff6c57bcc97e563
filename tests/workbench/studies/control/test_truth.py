"""The one corpus whose truth is known: what is said of an expert is checked against the states that it fires on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.analysis import read_analysis
from workbench.explain import explain_by_rules
from workbench.store import Run
from workbench.studies.control import load_policy, monet_policy
from workbench.studies.control.corpus import visits
from workbench.studies.control.reading import run_populations
from workbench.studies.control.regimes import REGIMES, predator_levels, regimes
from workbench.studies.control.tokens import state_ids

OTHER_EPISODES = 77
Fresh = tuple[np.ndarray, list[pd.DataFrame]]


@pytest.fixture(scope="module")
def fresh(policy_run: Run) -> Fresh:
    """States of other episodes, and for each group which experts are active there where actions are read."""
    model, fishery = load_policy(policy_run.model_path)
    states = visits(fishery, monet_policy(model, fishery), 8, OTHER_EPISODES).populations
    ids = torch.from_numpy(state_ids(fishery, states))
    with torch.no_grad():
        probs = model(ids, output_router_probs=True).router_probs
    active = []
    for g1, g2 in probs:
        pairs = torch.einsum("nhi,nhj->nij", g1[:, -1], g2[:, -1]).flatten(1)
        active.append(pd.DataFrame(pairs.numpy() > 0))
    return states, active


def _strong(run: Run, group: int) -> list[int]:
    """Experts that the analysis confirms in a regime, most used first."""
    table = read_analysis(run, group)
    used = run.experts(group)["mass"].reindex(table.index)
    return used[table["confirmed"].astype(bool)].sort_values(ascending=False).index[:60].tolist()


def test_an_experts_label_is_where_it_fires_in_other_episodes(policy_run: Run, fresh: Fresh) -> None:
    states, active = fresh
    level = predator_levels(states)
    agree = []
    for group in policy_run.groups:
        table = read_analysis(policy_run, group)
        for expert in _strong(policy_run, group):
            fires = active[group][expert].to_numpy()
            at_z = (policy_run.examples(group, expert, 32)["row"] % 3 == 2).all()
            if not at_z or fires.sum() < 20:  # at the tokens of X and Y nothing has read the predator
                continue
            said = level == REGIMES.index(table.loc[expert, "specialised"]) // 2
            agree.append(fires[said].mean() > fires[~said].mean())
    assert len(agree) >= 5
    assert np.mean(agree) >= 0.9


def test_an_experts_rule_agrees_with_the_states_it_fires_on(policy_run: Run) -> None:
    """Rules are learned on some documents; their figures are of all tokens of others."""
    explained = explain_by_rules(policy_run, [(0, expert) for expert in _strong(policy_run, 0)[:6]]).table
    assert explained["text"].str.contains(r"`·?[XYZxyz]=\d\.\d\d`").all()
    assert (explained["balanced_accuracy"] > 0.8).all()
    assert explained["balanced_accuracy"].mean() > explained["balanced_accuracy:control"].mean() + 0.1


def test_labels_of_documents_are_regimes_of_their_states(policy_run: Run) -> None:
    label = np.repeat(policy_run.documents["label"].to_numpy(), policy_run.documents["tokens"] // 3)
    assert (np.array(REGIMES)[regimes(run_populations(policy_run))] == label).all()
