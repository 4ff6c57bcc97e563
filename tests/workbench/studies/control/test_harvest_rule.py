from __future__ import annotations

import numpy as np
import pytest

from workbench.studies.control import predator_escapement
from workbench.studies.control.harvest_rule import FORMS, EscapementRule, HarvestRule, MortalityRule, rule_of

RULES = [
    EscapementRule(level=0.31, slope=1.7, fair=0.22, gain=0.9),
    MortalityRule(level_x=0.27, level_y=0.31, slope=1.2, fair=0.16),
]
STATES = np.random.default_rng(0).uniform(0.05, 1.2, (100, 3))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.form)
def test_a_rule_comes_back_from_json(rule: HarvestRule) -> None:
    assert rule_of(rule.to_json()) == rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.form)
def test_a_rule_takes_shares_and_less_where_the_predator_is_scarce(rule: HarvestRule) -> None:
    taken = rule(STATES)
    assert taken.shape == (100, 2)
    assert taken.min() >= 0
    assert taken.max() <= 1
    fewer = STATES * (1, 1, 0.5)
    assert (rule(fewer) <= taken).all()
    assert (rule(fewer) < taken).any()


def test_whole_gain_is_the_escapement_of_the_baselines() -> None:
    rule = EscapementRule(level=0.33, slope=2.0, fair=0.25, gain=1.0)
    np.testing.assert_allclose(rule(STATES), predator_escapement(0.33, 0.33, slope=2.0, fair=0.25)(STATES))


@pytest.mark.parametrize("form", FORMS.values(), ids=lambda form: form.form)
def test_every_coefficient_of_a_form_has_its_column(form: type[HarvestRule]) -> None:
    species = np.arange(6) % 2
    for side, names in form.coefficients.items():
        assert len(form.columns(side, species, np.full(6, 0.5), np.full(6, 0.2))) == len(names)
    known = {name for names in form.coefficients.values() for name in names}
    assert {part for _, part in form.meanings.values()} <= known
    assert set(form.meanings) == set(RULES[list(FORMS).index(form.form)].to_json()) - {"form"}
