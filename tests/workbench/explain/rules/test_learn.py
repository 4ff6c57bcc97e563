"""Rules that were planted in a run's tokens are found again, from the choosing documents alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench.explain.rules.features import FEATURES, TOKEN_ALONE, Features, read_features
from workbench.explain.rules.learn import Lessons, learn_rule
from workbench.explain.rules.measure import average_precision, balanced_accuracy
from workbench.explain.rules.rule import MAX_CONDITIONS, MAX_TEXTS, Rule
from workbench.store import Run, open_run


@pytest.fixture(scope="module")
def text_run(text_run_path: Path) -> Run:
    return open_run(text_run_path)


@pytest.fixture(scope="module")
def features(text_run: Run) -> Features:
    return read_features(text_run)


@pytest.fixture(scope="module")
def halves(text_run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Token rows of even and of odd documents."""
    doc = np.repeat(np.arange(len(text_run.documents)), text_run.documents["tokens"])
    return np.flatnonzero(doc % 2 == 0), np.flatnonzero(doc % 2 == 1)


def learned(features: Features, rows: np.ndarray, active: np.ndarray, names: tuple[str, ...] | None = None) -> Rule:
    return learn_rule(Lessons.of(features, rows), active, np.random.default_rng(0), names)


def holds(features: Features, name: str, text: str) -> np.ndarray:
    """(token rows,) where a feature has a value."""
    column = features.names.index(name)
    found: np.ndarray = np.array([features.texts[code] == text for code in features.codes[:, column]])
    return found


def test_a_planted_token_is_named_and_found_in_other_documents(
    features: Features, halves: tuple[np.ndarray, np.ndarray]
) -> None:
    learning, measuring = halves
    active = holds(features, "word", "self") | holds(features, "word", "river")
    rule = learned(features, learning, active)
    scores = rule.score(features.codes)[measuring]
    assert average_precision(scores, active[measuring]) == pytest.approx(1.0)
    assert balanced_accuracy(scores >= rule.threshold, active[measuring]) == 1.0
    assert "`self`" in rule.sentence(features)
    assert "`river`" in rule.sentence(features)


def test_a_planted_context_is_named_where_the_token_does_not_tell(
    features: Features, halves: tuple[np.ndarray, np.ndarray]
) -> None:
    learning, measuring = halves
    active = holds(features, "word before", "the") & (holds(features, "label", "prose"))
    rule = learned(features, learning, active)
    alone = learned(features, learning, active, TOKEN_ALONE)
    own, less = (average_precision(one.score(features.codes)[measuring], active[measuring]) for one in (rule, alone))
    assert own > 0.9
    assert less < 0.5
    assert "after the word `the`" in rule.sentence(features)
    assert {features.names[column] for column in alone.columns} <= {"token"}


def test_other_documents_have_no_influence(features: Features, halves: tuple[np.ndarray, np.ndarray]) -> None:
    learning, measuring = halves
    active = holds(features, "word", "self")
    changed = active.copy()
    changed[measuring] = ~changed[measuring]
    one, other = learned(features, learning, active), learned(features, learning, changed)
    assert one.values.tolist() == other.values.tolist()
    assert one.weights.tolist() == other.weights.tolist()
    assert one.threshold == other.threshold


def test_chance_is_not_explained_and_much_is_kept_short(
    features: Features, halves: tuple[np.ndarray, np.ndarray]
) -> None:
    learning, _ = halves
    rng = np.random.default_rng(1)
    by_chance = rng.random(len(features.codes)) < 0.05
    assert len(learned(features, learning, by_chance).values) <= 1
    ids = np.unique(features.codes[:, 0])
    half = np.isin(features.codes[:, 0], rng.choice(ids, len(ids) // 2, replace=False))
    rule = learned(features, learning, half & (rng.random(len(half)) < 0.8))
    texts = [FEATURES[features.names[column]].texts for column in rule.columns]
    assert 3 < sum(texts) <= MAX_TEXTS
    assert len(set(rule.columns.tolist())) <= MAX_CONDITIONS


def test_an_expert_that_is_never_or_always_active_has_an_empty_rule(
    features: Features, halves: tuple[np.ndarray, np.ndarray]
) -> None:
    for active in (np.zeros(len(features.codes), bool), np.ones(len(features.codes), bool)):
        rule = learned(features, halves[0], active)
        assert rule.sentence(features) == "Fires at too few tokens, or too different ones, for a rule."
        assert len(np.unique(rule.score(features.codes))) == 1
