"""Detection and fuzzing: thresholds that are not fitted to what they judge, intervals, and judges of known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from workbench.explain import Passage
from workbench.explain.scoring import (
    MIN_PASSAGES,
    Trial,
    balanced_interval,
    best_threshold,
    cross_fitted,
    make_trial,
    score_explanations,
    wilson,
)
from workbench.store import Run


@dataclass
class Reader:
    """A judge that says yes to a passage, or to marks, that hold the explanation's text."""

    threshold: float | None = 0.5
    name: str = "reader"
    marked: list[bool] = field(default_factory=list)

    def rate(self, explanations: Sequence[str], passages: Sequence[Passage], marked: bool) -> np.ndarray:
        self.marked.append(marked)
        texts = [passage.marked_tokens if marked else passage.text for passage in passages]
        return np.array([[float(explanation in text) for text in texts] for explanation in explanations])


def passages_of(texts: list[str]) -> list[Passage]:
    """Passages of one letter a token, the capital letters marked."""
    return [Passage(list(text), np.array([c.isupper() for c in text])) for text in texts]


def trial_of(active: list[str], negatives: list[str], shuffled: list[str]) -> Trial:
    return Trial(passages_of(active), passages_of(negatives), passages_of(shuffled))


def test_score_explanations_of_a_judge_that_knows_and_one_that_does_not() -> None:
    trial = trial_of(["abQd"] * 8, ["abcd"] * 8, ["aBcd"] * 8)
    judge = Reader()
    (own, own_fuzzing), (wrong, _), (blind, blind_fuzzing) = score_explanations(judge, trial, ["Q", "c", "b"])
    assert (own.accuracy, own_fuzzing.accuracy) == (1.0, 1.0)
    assert wrong.accuracy == 0.0
    assert blind.accuracy == 0.5  # "b" is in every passage
    assert blind_fuzzing.accuracy == 0.5
    assert judge.marked == [False, True]


def test_score_explanations_fuzzing_reads_the_highlights_alone() -> None:
    """The letter is in all passages; only the marks tell them apart."""
    trial = trial_of(["abQd"] * 8, ["abQd"] * 8, ["Abqd"] * 8)
    ((detection, fuzzing),) = score_explanations(Reader(), trial, ["Q"])
    assert (detection.accuracy, fuzzing.accuracy) == (0.5, 1.0)


def test_score_explanations_weighs_both_kinds_alike() -> None:
    trial = trial_of(["Q"] * 6 + ["X"] * 2, ["q"] * 20 + ["Q"] * 10, ["q"] * 30)
    ((score, _),) = score_explanations(Reader(), trial, ["Q"])
    assert score.accuracy == pytest.approx((6 / 8 + 20 / 30) / 2)
    assert (score.low, score.high) == balanced_interval(6, 8, 20, 30)


def test_score_explanations_needs_enough_passages() -> None:
    few = trial_of(["Q"] * (MIN_PASSAGES - 1), ["q"] * 9, ["q"] * 9)
    for score in score_explanations(Reader(), few, ["Q"])[0]:
        assert np.isnan([score.accuracy, score.low, score.high]).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=8, max_size=30), st.integers(0, 29))
def test_cross_fitted_threshold_does_not_depend_on_the_rating_it_judges(pairs: list[tuple[int, bool]], at: int) -> None:
    """A passage's rating, and its neighbours' in the same half, leave the threshold it meets as it was."""
    rating, true = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    if min(true.sum(), (~true).sum()) < 4:
        return
    at %= len(true)
    half = np.zeros(len(true), int)
    for kind in (True, False):
        half[true == kind] = np.arange((true == kind).sum()) % 2
    threshold = best_threshold(rating[half != half[at]], true[half != half[at]])
    changed = rating.copy()
    changed[at] = threshold + 1
    assert cross_fitted(changed, true)[at]
    changed[at] = threshold - 1
    assert not cross_fitted(changed, true)[at]


def test_cross_fitted_noise_is_right_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    true = np.arange(30) < 15
    right = [(cross_fitted(rng.random(30), true) == true).mean() for _ in range(400)]
    assert 0.46 < np.mean(right) < 0.52  # a threshold found on noise does a little worse than none


@example([(0.0, False), (5e-324, True)])  # nothing lies between
@given(st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=2, max_size=20))
def test_best_threshold_has_the_highest_balanced_accuracy(pairs: list[tuple[float, bool]]) -> None:
    rating, true = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    if true.all() or not true.any():
        return

    def accuracy(threshold: float) -> float:
        judged = rating >= threshold
        return float(judged[true].mean() + (~judged[~true]).mean())

    best = accuracy(best_threshold(rating, true))
    assert all(accuracy(t) <= best + 1e-9 for t in [*rating, *(rating + 1e-9), rating.min() - 1, rating.max() + 1])


@given(st.integers(1, 60), st.integers(0, 60))
def test_wilson_equals_scipy(of: int, successes: int) -> None:
    successes = min(successes, of)
    expected = binomtest(successes, of).proportion_ci(method="wilson")
    assert wilson(successes, of) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_balanced_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for hits, rejections in rng.binomial([15, 20], [0.7, 0.85], (1000, 2)):
        low, high = balanced_interval(hits, 15, rejections, 20)
        covered += low <= (0.7 + 0.85) / 2 <= high
    assert 930 <= covered <= 985


def test_make_trial_shuffles_highlights_of_active_passages_over_negatives(text_run: Run) -> None:
    expert = int((text_run.experts(0)["tokens"] - 0.04 * text_run.tokens_total).abs().idxmin())
    activations, scored = text_run.activations(0, expert), np.arange(len(text_run.documents)) % 2 == 0
    first, again = (make_trial(text_run, activations, scored, np.random.default_rng(4)) for _ in range(2))
    assert [p.marked_text for p in first.shuffled] == [p.marked_text for p in again.shuffled]
    assert [p.text for p in first.shuffled] == [p.text for p in first.negatives]
    known = {tuple(p.marked) for p in first.active}
    assert len(first.negatives) > 0
    assert all(tuple(p.marked) in known for p in first.shuffled)


def test_make_trial_without_active_passages_has_no_highlights(text_run: Run) -> None:
    none = text_run.activations(0, 5)[:0]
    trial = make_trial(text_run, none, np.ones(len(text_run.documents), bool), np.random.default_rng(0))
    assert (trial.active, trial.shuffled) == ([], [])
    assert not trial.enough
