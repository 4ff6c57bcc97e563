"""Learning a rule: logistic regression that takes in one value of one feature at a time, while each pays for its bits.

A value is taken in if the log-likelihood it gains exceeds what it costs to write down: which feature, which of its
values that occur, and a weight, after Rissanen 1978 (minimum description length). Steps are those of gradient boosting
(Friedman 2001, second order), with all weights fitted again after each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .features import FEATURES, Features
from .measure import best_threshold
from .rule import MAX_CONDITIONS, MAX_TEXTS, Rule

NEGATIVES = 6000  # inactive tokens read per expert, those that look like active ones more often
RIDGE = 1.0  # prior precision of weights
LEAST_ACTIVE = 2  # active tokens that share a value before a rule may name it
_CLEAREST = 4.0  # largest change of a weight in a step
_STEPS = 3  # of Newton's method after each value
_AGAINST = 1.5  # a value that speaks against activity costs so many times as much: sentences should say what is

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lessons:
    """The tokens that rules are learned from.

    Attributes:
        features: of all token rows.
        rows: token rows of the choosing documents, rising.
        counts: (values,) how often each value is among them.
        nameable: (values,) which ones a sentence can name: all but empty texts.
    """

    features: Features
    rows: NDArray[np.int64]
    counts: NDArray[np.int64]
    nameable: NDArray[np.bool_]

    @classmethod
    def of(cls, features: Features, rows: NDArray[np.int64]) -> Lessons:
        """The lessons of token rows; no others are ever looked at."""
        size = len(features.texts)
        counts = sum(np.bincount(column, minlength=size) for column in features.codes[rows].T)
        quoted = np.array([FEATURES[name].texts > 0 for name in features.names])[features.feature]
        empty = np.array([not text for text in features.texts])
        return cls(features, rows, np.asarray(counts, np.int64), ~(quoted & empty))


def learn_rule(
    lessons: Lessons, active: NDArray[np.bool_], rng: np.random.Generator, names: tuple[str, ...] | None = None
) -> Rule:
    """Return the rule of an expert.

    Args:
        lessons: the tokens to learn from.
        active: (token rows,) where the expert is active; rows that are not among the lessons have no influence.
        rng: chooses the inactive tokens.
        names: the features that it may ask for. Default: all.

    Returns:
        A ``Rule``; without values where nothing pays.
    """
    codes = lessons.features.codes
    hits, misses = lessons.rows[active[lessons.rows]], lessons.rows[~active[lessons.rows]]
    share = np.clip(len(hits) / max(len(lessons.rows), 1), 1e-9, 1 - 1e-9)
    bias = float(np.log(share / (1 - share)))
    none = np.zeros(0, np.int64)
    if len(hits) < LEAST_ACTIVE or not len(misses):
        return Rule(none, none, np.zeros(0), bias, np.inf)
    seen = np.bincount(codes[hits].ravel(), minlength=len(lessons.counts))
    misses, weight = _sampled(lessons, misses, seen, float(share), rng)
    asked = np.array([names is None or name in names for name in lessons.features.names])
    usable = (seen >= LEAST_ACTIVE) & lessons.nameable & asked[lessons.features.feature]
    fit = _Fit(lessons.features, np.concatenate([hits, misses]), len(hits), weight, usable, bias)
    while fit.take():
        pass
    values, weights = np.array(fit.taken, np.int64), fit.beta[1:]
    rule = Rule(values, lessons.features.feature[values], weights, float(fit.beta[0]), 0.0)
    return replace(rule, threshold=best_threshold(rule.score(codes)[lessons.rows], active[lessons.rows]))


def _sampled(
    lessons: Lessons, misses: NDArray[np.int64], seen: NDArray[np.int64], share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """Some of the inactive tokens, and how many each of them stands for.

    Those whose token is common among the active ones are drawn more often: which of them are active is what is hard.
    """
    token = lessons.features.codes[misses, 0]
    lift = (seen[token] + share) / (lessons.counts[token] + 1) / share
    odds = np.clip(lift, 0.3, 5.0)
    drawn = np.minimum(odds / odds.sum() * NEGATIVES, 1.0)
    chosen = rng.random(len(misses)) < drawn
    return misses[chosen], 1 / drawn[chosen]


class _Fit:
    """A logistic regression that grows by one value at a time."""

    def __init__(
        self,
        features: Features,
        rows: NDArray[np.int64],
        hits: int,
        weight: Floats,
        usable: NDArray[np.bool_],
        bias: float,
    ) -> None:
        self.values = np.flatnonzero(usable)
        of = np.full(len(features.texts), len(self.values), np.int32)  # the number of a value, or one for all others
        of[self.values] = np.arange(len(self.values))
        columns = np.flatnonzero(np.isin(np.arange(features.codes.shape[1]), np.unique(features.feature[self.values])))
        self.codes = of[features.codes[np.ix_(rows, columns)]]
        self.feature = features.feature[self.values]
        self.column = np.searchsorted(columns, self.feature)
        self.size = np.array([FEATURES[name].texts for name in features.names])[self.feature]
        self.hit = (np.arange(len(rows)) < hits).astype(np.float64)
        self.weight = np.concatenate([np.ones(hits), weight])
        self.seen = np.ones((len(rows), 1))
        self.beta = np.array([bias])
        self.taken: list[int] = []
        self.open = np.ones(len(self.values), bool)
        self.conditions: set[int] = set()
        self.room = MAX_TEXTS
        ways = np.bincount(self.feature, minlength=len(features.names))[self.feature]
        self.price = np.log(ways) + 0.5 * np.log(len(features.names)) + 0.5 * np.log(hits + 1)

    def take(self) -> bool:
        """Take in the value that gains most, if any pays; return whether one did."""
        allowed = self.open & (self.size <= self.room)
        if len(self.conditions) >= MAX_CONDITIONS:
            allowed &= np.isin(self.feature, list(self.conditions))
        if not allowed.any():
            return False
        active = _logistic(self.seen @ self.beta)
        count, width = len(self.values), self.codes.shape[1]
        slope, curve = (
            np.bincount(self.codes.ravel(), np.repeat(of, width), count + 1)[:count]
            for of in (self.weight * (self.hit - active), self.weight * active * (1 - active))
        )
        gain = 0.5 * slope**2 / (curve + RIDGE) - self.price * np.where(slope < 0, _AGAINST, 1.0)
        best = int(np.where(allowed, gain, -1.0).argmax())
        if not allowed[best] or gain[best] <= 0:
            return False
        self.open[best] = False
        self.room -= int(self.size[best])
        self.conditions.add(int(self.feature[best]))
        self.taken.append(int(self.values[best]))
        holds = (self.codes[:, self.column[best]] == best).astype(np.float64)
        self.seen, self.beta = np.column_stack([self.seen, holds]), np.append(self.beta, 0.0)
        self._refit()
        return True

    def _refit(self) -> None:
        ridge = np.append(1e-6, np.full(len(self.beta) - 1, RIDGE))
        for _ in range(_STEPS):
            active = _logistic(self.seen @ self.beta)
            curve = (self.seen * (self.weight * active * (1 - active))[:, None]).T @ self.seen + np.diag(ridge)
            slope = self.seen.T @ (self.weight * (self.hit - active)) - ridge * self.beta
            self.beta = self.beta + np.clip(np.linalg.solve(curve, slope), -_CLEAREST, _CLEAREST)


def _logistic(log_odds: Floats) -> Floats:
    chance: Floats = 1 / (1 + np.exp(-np.clip(log_odds, -30, 30)))
    return chance
