"""Scoring an explanation by detection and by fuzzing, with a control, on documents it was not made from."""

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

PASSAGES = 20  # of each kind, at most
FEWEST = 6  # of each kind, for a score
NORMAL = 1.959964  # standard deviations of a 95 % interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """The passages that an expert's explanation is scored on.

    Attributes:
        active: where the expert is active, marked there.
        silent: where it nowhere is.
        mismarked: the silent ones with marks where an active one has them.
    """

    active: list[Passage]
    silent: list[Passage]
    mismarked: list[Passage]

    @property
    def enough(self) -> bool:
        """Whether there are :data:`FEWEST` of each kind."""
        return min(len(self.active), len(self.silent)) >= FEWEST


def make_trial(run: Run, activations: pd.DataFrame, scored: NDArray[np.bool_], rng: np.random.Generator) -> Trial:
    """Passages of some documents, (documents,) of them being ``scored``, for an expert's activations."""
    active, silent = sample_passages(run, activations, scored, PASSAGES, rng)
    chosen = rng.permutation(np.arange(len(silent)) % len(active)) if active else np.zeros(0, np.int64)
    mismarked = [Passage(silent[at].pieces, active[n].marked) for at, n in enumerate(chosen)]
    return Trial(active, silent, mismarked)


@dataclass(frozen=True)
class Score:
    """How often a judge tells apart two kinds of passages by an explanation.

    Attributes:
        accuracy: balanced accuracy, the mean of the shares of either kind that were told right; 0.5 is chance.
        low, high: its 95 % interval (:func:`balanced_interval`).
    """

    accuracy: float
    low: float
    high: float


UNSCORED = Score(np.nan, np.nan, np.nan)


def score_texts(judge: Judge, trial: Trial, texts: Sequence[str]) -> list[tuple[Score, Score]]:
    """Detection and fuzzing scores of explanations on one expert's passages.

    As Delphi defines them (arXiv 2410.13928, section 3): in detection, the judge says for each passage whether the
    expert is active in it; in fuzzing, whether the marked tokens are those where it is, the wrong ones being passages
    where it is silent, marked where an active passage has its marks. A judge without a threshold is given one by
    :func:`cross_fitted`.

    Args:
        judge: who judges.
        trial: the passages; with too few, there are no scores.
        texts: explanations: the expert's own, and others as controls.

    Returns:
        For each text, detection and fuzzing.
    """
    if not trial.enough:
        return [(UNSCORED, UNSCORED)] * len(texts)
    by_task = []
    for others, marked in ((trial.silent, False), (trial.mismarked, True)):
        ratings = judge.rate(texts, [*trial.active, *others], marked)
        true = np.arange(ratings.shape[1]) < len(trial.active)
        by_task.append([_score(rating, true, judge.threshold) for rating in ratings])
    return list(zip(*by_task, strict=True))


def _score(rating: Floats, true: NDArray[np.bool_], threshold: float | None) -> Score:
    said = cross_fitted(rating, true) if threshold is None else rating >= threshold
    hits, misses = said[true], ~said[~true]
    low, high = balanced_interval(int(hits.sum()), len(hits), int(misses.sum()), len(misses))
    return Score((hits.mean() + misses.mean()) / 2, low, high)


def cross_fitted(rating: Floats, true: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What ratings say, by a threshold that was never found on the passage itself.

    The passages of each kind are dealt to two halves in turn; the threshold that tells the kinds apart best in one half
    is used in the other.
    """
    half = np.zeros(len(true), np.int64)
    for kind in (True, False):
        half[true == kind] = np.arange((true == kind).sum()) % 2
    said = np.zeros(len(true), bool)
    for here in (0, 1):
        threshold = best_threshold(rating[half != here], true[half != here])
        said[half == here] = rating[half == here] >= threshold
    return said


def best_threshold(rating: Floats, true: NDArray[np.bool_]) -> float:
    """The threshold of highest balanced accuracy: midway between ratings, of equals the middle one."""
    values = np.unique(rating)
    middles = (max((a + b) / 2, np.nextafter(a, b)) for a, b in pairwise(values))  # always above the lower one
    cuts = np.array([values[0] - 1, *middles, values[-1] + 1])
    said = rating >= cuts[:, None]  # (cuts, passages)
    accuracy = said[:, true].mean(1) + (~said[:, ~true]).mean(1)
    best = np.flatnonzero(accuracy >= accuracy.max() - 1e-9)
    return float(cuts[best[len(best) // 2]])


def balanced_interval(hits: int, of_hits: int, rejections: int, of_rejections: int) -> tuple[float, float]:
    """A 95 % interval of the mean of two shares: Wilson's interval of each, joined as Zou & Donner 2008 do (MOVER)."""
    shares = np.array([hits / of_hits, rejections / of_rejections])
    bounds = np.array([wilson(hits, of_hits), wilson(rejections, of_rejections)])
    middle = float(shares.mean())
    down, up = (float(np.sqrt(np.square(shares - bounds[:, side]).sum()) / 2) for side in (0, 1))
    return max(middle - down, 0.0), min(middle + up, 1.0)


def wilson(successes: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share (Wilson 1927)."""
    share, spread = successes / of, NORMAL**2 / of
    centre = (share + spread / 2) / (1 + spread)
    reach = NORMAL * np.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    return max(float(centre - reach), 0.0), min(float(centre + reach), 1.0)
