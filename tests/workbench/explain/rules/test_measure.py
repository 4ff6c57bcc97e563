"""Average precision, balanced accuracy and the best threshold, beside plain definitions."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.explain.rules.measure import average_precision, balanced_accuracy, best_threshold


def plain_average_precision(scores: np.ndarray, active: np.ndarray) -> float:
    """Of the definition: at each distinct score, the recall gained there times the precision."""
    total, before = 0.0, 0.0
    for cut in sorted(set(scores.tolist()), reverse=True):
        called = scores >= cut
        recall = (called & active).sum() / active.sum()
        total += (recall - before) * (called & active).sum() / called.sum()
        before = recall
    return total


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_and_threshold_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    active = rng.random(200) < 0.1
    scores = rng.integers(0, 9, 200) + active * rng.integers(0, 5, 200).astype(float)  # many ties
    assert average_precision(scores, active) == pytest.approx(plain_average_precision(scores, active))
    best = max(balanced_accuracy(scores >= cut, active) for cut in np.unique(scores))
    assert balanced_accuracy(scores >= best_threshold(scores, active), active) == pytest.approx(best)


def test_a_score_that_tells_nothing_has_the_share_of_active_tokens() -> None:
    active = np.arange(20) < 3
    assert average_precision(np.zeros(20), active) == pytest.approx(3 / 20)
    assert balanced_accuracy(np.ones(20, bool), active) == 0.5


def test_without_active_tokens_there_is_no_figure() -> None:
    none = np.zeros(4, bool)
    assert np.isnan(average_precision(np.arange(4.0), none))
    assert np.isnan(balanced_accuracy(none, none))
    assert best_threshold(np.arange(4.0), none) == np.inf
    assert np.isnan(average_precision(np.zeros(0), np.zeros(0, bool)))
