"""Rules: a few conditions that add up to how likely an expert is active at a token, and the sentence they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..wording import one_line
from .features import FEATURES, LOOSER, Features, spelling_of
from .quoting import quoted_exactly

STRICTER = {looser: name for name, looser in LOOSER.items()}
MAX_TEXTS = 12  # tokens and other texts of the corpus that a rule quotes; a sequence of two tokens counts as two
MAX_CONDITIONS = 6  # features that it asks for


@dataclass(frozen=True)
class Rule:
    """A sum of weights, read as a sentence.

    Attributes:
        values: (n,) the values named, as numbers of ``Features``, in the order in which they were found.
        columns: (n,) the features they are of: columns of ``Features.codes``.
        weights: (n,) what each adds to the log-odds of being active where it holds.
        bias: the log-odds where none holds.
        threshold: log-odds from which the rule says active: those of best balanced accuracy where it was learned.

    Examples:
        >>> import numpy as np
        >>> from workbench.explain.rules.features import Features
        >>> from workbench.explain.rules.rule import Rule
        >>> codes, names = np.array([[0, 2], [1, 2]], np.int32), ["token", "before"]
        >>> features = Features(codes, np.array([0, 0, 1]), [" a", "b", "x"], names)
        >>> rule = Rule(np.array([0, 2]), np.array([0, 1]), np.array([3.0, 1.0]), -2.0, 0.0)
        >>> rule.score(features.codes).tolist()
        [2.0, -1.0]
        >>> rule.sentence(features)
        'Fires at `·a`; after `x`.'
    """

    values: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]
    bias: float
    threshold: float

    def score(self, codes: NDArray[np.int32]) -> NDArray[np.float64]:
        """The log-odds of being active at tokens: (tokens,), from their rows of ``Features.codes``."""
        total = np.full(len(codes), self.bias)
        for value, column, weight in zip(self.values, self.columns, self.weights, strict=True):
            total += weight * (codes[:, column] == value)
        return total

    def sentence(self, features: Features) -> str:
        """The rule in words: what makes the expert active, the most telling condition first, and what less so."""
        if not len(self.values):
            return "Fires at too few tokens, or too different ones, for a rule."
        more, less = (self._phrases(features, self.weights > 0), self._phrases(features, self.weights < 0))
        told = "Fires " + "; ".join(more) if more else "Fires anywhere"
        return told + ("; less " + "; ".join(less) if less else "") + "."

    def _phrases(self, features: Features, chosen: NDArray[np.bool_]) -> list[str]:
        """The conditions of the chosen values, each with its values in order.

        A token whose spelling is named is named by its spelling, and a spelling of one token alone by that token.
        """
        named: dict[str, list[str]] = {}
        values = [(features.names[features.feature[value]], features.texts[value]) for value in self.values[chosen]]
        for name, text in values:
            looser = LOOSER.get(name, ""), spelling_of(text)
            name, text = looser if looser in values else (name, text)
            if name in STRICTER and text in features.single:
                name, text = STRICTER[name], features.single[text]
            feature = FEATURES[name]
            shown = quoted_exactly(text) if feature.texts == 1 else text if feature.texts else one_line(text)
            named.setdefault(feature.phrase, [])
            if shown not in named[feature.phrase]:
                named[feature.phrase].append(shown)
        return [phrase.replace("{}", _either(texts)) for phrase, texts in named.items()]


def _either(texts: list[str]) -> str:
    """``a, b or c``."""
    return " or ".join(part for part in (", ".join(texts[:-1]), *texts[-1:]) if part)
