"""Orders of experts and the controls of ablation."""

from __future__ import annotations

import numpy as np
import pytest

from monet_model import MonetForCausalLM
from workbench.analysis import removal_curve
from workbench.analysis.removal.choose import equally_active, order_scores, preference, random_experts, specialists
from workbench.analysis.removal.heldout import HeldOut
from workbench.analysis.sums import LabelSums
from workbench.errors import WorkbenchError
from workbench.store import Run


@pytest.fixture
def sums(run: Run) -> list[LabelSums]:
    """The choosing part of a run, by group."""
    return [HeldOut.split(run, 0).choosing_sums(group) for group in run.groups]


def test_preference_by_hand() -> None:
    """Two labels of 10 tokens; the second expert was seen once, the third never."""
    sums = LabelSums(np.array([[4.0, 0.5, 0], [1.0, 0, 0]]), np.array([[8, 1, 0], [2, 0, 0]]), np.array([10, 10]))
    extra = np.array([0.05, 0.05])  # a token of the mean score, in 10
    expected = [(0.4 + extra[0]) / (0.1 + extra[0]), (0.05 + extra[1]) / (0 + extra[1]), 1]
    assert preference(sums, 0).tolist() == pytest.approx(expected)
    found = order_scores(sums, "preference", min_tokens=2)
    assert found[0].tolist() == pytest.approx([expected[0], -np.inf, -np.inf])
    assert found[1, 0] == preference(sums, 1)[0] < 1


def test_rule_ratio_orders_by_the_papers_rule(sums: list[LabelSums]) -> None:
    """At any threshold it removes the specialists of that ratio."""
    for group in sums:
        for ratio in (1.5, 2.0, 4.0):
            scores = order_scores(group, "ratio", min_tokens=3)
            for label, expected in enumerate(specialists(group, ratio, 3)):
                assert np.flatnonzero(scores[label] >= ratio).tolist() == expected.tolist()
    alone = LabelSums(np.array([[4.0, 1.0, 0], [0, 0.5, 0]]), np.array([[4, 1, 0], [0, 1, 0]]), np.array([10, 10]))
    assert order_scores(alone, "ratio", 0).tolist() == [[np.inf, 2, 0], [0, 0.5, 0]]


def test_removal_curve_refuses_an_unknown_order(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(WorkbenchError, match="there is no order 'alphabet'; there are preference, ratio"):
        removal_curve(run, model, order="alphabet")


def test_controls_are_as_many_and_as_active_others(sums: list[LabelSums], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.analysis.removal.choose.MASS_STRATA", 16)
    rng = np.random.default_rng(0)
    for group in sums:
        mass = group.mass.sum(0)
        active = np.flatnonzero(group.tokens.sum(0))
        chosen = active[np.argsort(-mass[active])][10:70:2]
        equal = equally_active(group, chosen, rng)
        assert len(set(equal)) == len(equal) == len(chosen)
        assert not set(equal) & set(chosen)
        assert mass[equal].sum() == pytest.approx(mass[chosen].sum(), rel=0.2)
        drawn = random_experts(group, len(chosen), rng)
        assert len(set(drawn)) == len(chosen)
        assert set(drawn) <= set(active)
        assert mass[drawn].sum() < 0.95 * mass[chosen].sum()


def test_equally_active_borrows_from_the_next_stratum(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the most active stratum is taken, so the next ones give its share."""
    monkeypatch.setattr("workbench.analysis.removal.choose.MASS_STRATA", 3)
    mass = np.arange(9.0, 0.0, -1.0)
    group = LabelSums(mass[None], np.ones((1, 9), int), np.array([9]))
    for seed in range(10):
        found = equally_active(group, np.array([0, 1, 2, 8]), np.random.default_rng(seed))
        assert found[:3].tolist() == [3, 4, 5]
        assert found[3] in (6, 7)
        last = equally_active(group, np.array([0, 6, 7, 8]), np.random.default_rng(seed))
        assert last[-2:].tolist() == [4, 5]
