"""Detection and fuzzing: thresholds that are not fitted to what they judge, intervals, and judges of known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest

from workbench.explain import EncoderJudge, Passage
from workbench.explain.scoring import (
    FEWEST,
    Trial,
    balanced_interval,
    best_threshold,
    cross_fitted,
    make_trial,
    score_texts,
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


def trial_of(active: list[str], silent: list[str], mismarked: list[str]) -> Trial:
    return Trial(passages_of(active), passages_of(silent), passages_of(mismarked))


def test_a_judge_that_knows_and_one_that_does_not() -> None:
    trial = trial_of(["abQd"] * 8, ["abcd"] * 8, ["aBcd"] * 8)
    judge = Reader()
    (own, own_fuzzing), (wrong, _), (blind, blind_fuzzing) = score_texts(judge, trial, ["Q", "c", "b"])
    assert (own.accuracy, own_fuzzing.accuracy) == (1.0, 1.0)
    assert wrong.accuracy == 0.0
    assert blind.accuracy == 0.5  # "b" is in every passage
    assert blind_fuzzing.accuracy == 0.5
    assert judge.marked == [False, True]


def test_fuzzing_reads_the_marks_alone() -> None:
    """The letter is in all passages; only the marks tell them apart."""
    trial = trial_of(["abQd"] * 8, ["abQd"] * 8, ["Abqd"] * 8)
    ((detection, fuzzing),) = score_texts(Reader(), trial, ["Q"])
    assert (detection.accuracy, fuzzing.accuracy) == (0.5, 1.0)


def test_balanced_accuracy_counts_both_kinds_alike() -> None:
    trial = trial_of(["Q"] * 6 + ["X"] * 2, ["q"] * 20 + ["Q"] * 10, ["q"] * 30)
    ((score, _),) = score_texts(Reader(), trial, ["Q"])
    assert score.accuracy == pytest.approx((6 / 8 + 20 / 30) / 2)
    assert (score.low, score.high) == balanced_interval(6, 8, 20, 30)


def test_too_few_passages_give_no_score() -> None:
    few = trial_of(["Q"] * (FEWEST - 1), ["q"] * 9, ["q"] * 9)
    for score in score_texts(Reader(), few, ["Q"])[0]:
        assert np.isnan([score.accuracy, score.low, score.high]).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=8, max_size=30), st.integers(0, 29))
def test_no_rating_has_a_part_in_its_own_threshold(pairs: list[tuple[int, bool]], at: int) -> None:
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


def test_ratings_without_meaning_are_right_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    true = np.arange(30) < 15
    right = [(cross_fitted(rng.random(30), true) == true).mean() for _ in range(400)]
    assert 0.46 < np.mean(right) < 0.52  # a threshold found on noise does a little worse than none


@example([(0.0, False), (5e-324, True)])  # nothing lies between
@given(st.lists(st.tuples(st.floats(-1, 1), st.booleans()), min_size=2, max_size=20))
def test_no_threshold_is_better(pairs: list[tuple[float, bool]]) -> None:
    rating, true = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    if true.all() or not true.any():
        return

    def accuracy(threshold: float) -> float:
        said = rating >= threshold
        return float(said[true].mean() + (~said[~true]).mean())

    best = accuracy(best_threshold(rating, true))
    assert all(accuracy(t) <= best + 1e-9 for t in [*rating, *(rating + 1e-9), rating.min() - 1, rating.max() + 1])


@given(st.integers(1, 60), st.integers(0, 60))
def test_wilson_is_scipy_s(of: int, successes: int) -> None:
    successes = min(successes, of)
    expected = binomtest(successes, of).proportion_ci(method="wilson")
    assert wilson(successes, of) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_balanced_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for hits, rejections in rng.binomial([15, 20], [0.7, 0.85], (1000, 2)):
        low, high = balanced_interval(hits, 15, rejections, 20)
        covered += low <= (0.7 + 0.85) / 2 <= high
    assert 930 <= covered <= 985


def test_trials_mark_silent_passages_as_active_ones_are(text_run: Run) -> None:
    expert = int((text_run.experts(0)["tokens"] - 0.04 * text_run.tokens_total).abs().idxmin())
    activations, scored = text_run.activations(0, expert), np.arange(96) % 2 == 0
    first, again = (make_trial(text_run, activations, scored, np.random.default_rng(4)) for _ in range(2))
    assert [p.marked_text for p in first.mismarked] == [p.marked_text for p in again.mismarked]
    assert [p.text for p in first.mismarked] == [p.text for p in first.silent]
    known = {tuple(p.marked) for p in first.active}
    assert len(first.silent) > 0
    assert all(tuple(p.marked) in known for p in first.mismarked)


def test_no_active_passage_no_marks(text_run: Run) -> None:
    none = text_run.activations(0, 5)[:0]
    trial = make_trial(text_run, none, np.ones(96, bool), np.random.default_rng(0))
    assert (trial.active, trial.mismarked) == ([], [])
    assert not trial.enough


class Letters:
    """An encoder of single letters."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.count(c) for c in "abc"] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_the_encoder_judge_compares_what_the_task_asks() -> None:
    judge = EncoderJudge(Letters())  # type: ignore[arg-type]
    passages = [Passage(list("abbc"), np.array([True, False, False, False])), Passage(list("bcc"), np.ones(3, bool))]
    whole, marks = (judge.rate(["a", "b"], passages, marked) for marked in (False, True))
    assert whole == pytest.approx(np.array([[6**-0.5, 0], [2 * 6**-0.5, 5**-0.5]]))
    assert marks == pytest.approx(np.array([[1, 0], [0, 5**-0.5]]))
    assert judge.threshold is None
