"""Scoring an explanation by detection and by fuzzing, with a control, on documents it was not made from.

1. Sample passages where the expert is active, and negatives, where it is active at no token.
2. Detection: given the explanation, a judge says for each passage whether the expert is active in it.
3. Fuzzing: the judge says whether the highlighted tokens are those where the expert is active. The wrong ones are
   negatives with shuffled highlights: each has the highlights of a random active passage.
4. Balanced accuracy of both, 0.5 being chance, with a 95 % CI; and the same for another expert's explanation on these
   passages, the control.

Source: Paulo et al. 2024, "Automatically Interpreting Millions of Features in Large Language Models", section 3
(https://arxiv.org/abs/2410.13928), implemented as Delphi.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .passages import Passage, sample_passages

if TYPE_CHECKING:
    import pandas as pd

    from ..store import Run
    from .judge import Judge

MAX_PASSAGES = 20  # of each kind
MIN_PASSAGES = 6  # of each kind, for a score
NORMAL_95 = 1.959964  # standard deviations of a 95 % interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """The passages that an expert's explanation is scored on.

    Attributes:
        active: passages where the expert is active, highlighted there.
        negatives: passages where it is active at no token.
        shuffled: negatives with shuffled highlights: those of random active passages.
    """

    active: list[Passage]
    negatives: list[Passage]
    shuffled: list[Passage]

    @property
    def enough(self) -> bool:
        """Whether there are ``MIN_PASSAGES`` of each kind."""
        return min(len(self.active), len(self.negatives)) >= MIN_PASSAGES


def make_trial(run: Run, activations: pd.DataFrame, scored: NDArray[np.bool_], rng: np.random.Generator) -> Trial:
    """Return passages for an expert's ``run.activations``, from the documents where ``scored`` (documents,) is True."""
    active, negatives = sample_passages(run, activations, scored, MAX_PASSAGES, rng)
    chosen = rng.permutation(np.arange(len(negatives)) % len(active)) if active else np.zeros(0, np.int64)
    shuffled = [Passage(negatives[at].pieces, active[n].marked) for at, n in enumerate(chosen)]
    return Trial(active, negatives, shuffled)


@dataclass(frozen=True)
class Score:
    """How often a judge tells two kinds of passages apart by an explanation.

    Attributes:
        accuracy: balanced accuracy, the mean of the fractions of either kind that are judged right; 0.5 is chance.
        low, high: its 95 % CI (``balanced_interval``).
    """

    accuracy: float
    low: float
    high: float


UNSCORED = Score(np.nan, np.nan, np.nan)


def score_explanations(judge: Judge, trial: Trial, texts: Sequence[str]) -> list[tuple[Score, Score]]:
    """Return detection and fuzzing scores of explanations on one expert's passages.

    A judge without a threshold gets one by ``cross_fitted``.

    Args:
        judge: the judge.
        trial: the passages; with too few, all scores are NaN.
        texts: explanations: the expert's own, and others as controls.

    Returns:
        For each text, its detection and fuzzing scores.
    """
    if not trial.enough:
        return [(UNSCORED, UNSCORED)] * len(texts)
    by_task = []
    for others, marked in ((trial.negatives, False), (trial.shuffled, True)):
        ratings = judge.rate(texts, [*trial.active, *others], marked)
        true = np.arange(ratings.shape[1]) < len(trial.active)
        by_task.append([score_ratings(rating, true, judge.threshold) for rating in ratings])
    return list(zip(*by_task, strict=True))


def score_ratings(rating: Floats, true: NDArray[np.bool_], threshold: float | None) -> Score:
    """Return how well ratings of passages, (passages,), tell the true ones; a threshold of None is ``cross_fitted``."""
    judged = cross_fitted(rating, true) if threshold is None else rating >= threshold
    hits, rejections = judged[true], ~judged[~true]
    low, high = balanced_interval(int(hits.sum()), len(hits), int(rejections.sum()), len(rejections))
    return Score(float((hits.mean() + rejections.mean()) / 2), low, high)


def cross_fitted(rating: Floats, true: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (passages,) ratings turned into yes or no by a threshold that was never fitted on the passage itself.

    The passages of each kind are dealt in turn into two halves; the threshold that tells the kinds apart best in one
    half is used in the other.
    """
    half = np.zeros(len(true), np.int64)
    for kind in (True, False):
        half[true == kind] = np.arange((true == kind).sum()) % 2
    judged = np.zeros(len(true), bool)
    for side in (0, 1):
        threshold = best_threshold(rating[half != side], true[half != side])
        judged[half == side] = rating[half == side] >= threshold
    return judged


def best_threshold(rating: Floats, true: NDArray[np.bool_]) -> float:
    """Return the threshold of highest balanced accuracy: midway between two ratings, the middle one of equally good."""
    values = np.unique(rating)
    middles = (max((a + b) / 2, np.nextafter(a, b)) for a, b in pairwise(values))  # always above the lower one
    cuts = np.array([values[0] - 1, *middles, values[-1] + 1])
    judged = rating >= cuts[:, None]  # (cuts, passages)
    accuracy = judged[:, true].mean(1) + (~judged[:, ~true]).mean(1)
    best = np.flatnonzero(accuracy >= accuracy.max() - 1e-9)
    return float(cuts[best[len(best) // 2]])


def balanced_interval(hits: int, of_hits: int, rejections: int, of_rejections: int) -> tuple[float, float]:
    """Return the 95 % CI of the mean of two proportions: Wilson's of each, joined by MOVER (Zou & Donner 2008)."""
    shares = np.array([hits / of_hits, rejections / of_rejections])
    bounds = np.array([wilson(hits, of_hits), wilson(rejections, of_rejections)])
    middle = float(shares.mean())
    down, up = (float(np.sqrt(np.square(shares - bounds[:, side]).sum()) / 2) for side in (0, 1))
    return max(middle - down, 0.0), min(middle + up, 1.0)


def wilson(successes: int, of: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a proportion (Wilson 1927)."""
    share, spread = successes / of, NORMAL_95**2 / of
    centre = (share + spread / 2) / (1 + spread)
    reach = NORMAL_95 * np.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    return max(float(centre - reach), 0.0), min(float(centre + reach), 1.0)
