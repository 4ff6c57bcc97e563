"""The sentence that a rule makes."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.explain.rules.features import Features
from workbench.explain.rules.quoting import START, quoted_exactly
from workbench.explain.rules.rule import Rule

NAMES = ["token", "before", "label", "last"]
TEXTS = [" a", "\n", "`", "\u202e", START, "x", "c\nd\u202e", "b"]
FEATURES = Features(np.zeros((1, 4), np.int32), np.array([0, 0, 0, 0, 1, 1, 2, 3]), TEXTS, NAMES)


def sentence(values: list[int], weights: list[float]) -> str:
    chosen = np.array(values, np.int64)
    return Rule(chosen, FEATURES.feature[chosen], np.array(weights), 0.0, 0.0).sentence(FEATURES)


def test_conditions_come_in_the_order_in_which_they_were_found_and_values_of_one_together() -> None:
    assert sentence([0, 5, 1, 7], [3.0, 2.0, 1.0, 1.0]) == "Fires at `·a` or `↵`; after `x`; at tokens ending in `b`."


def test_a_token_is_named_by_its_spelling_where_that_is_named_and_it_is_one_of_several() -> None:
    texts = [" If", "if", "for", "if", "for"]
    features = Features(np.zeros((1, 2), np.int32), np.array([0, 0, 0, 1, 1]), texts, ["token", "spelling"])

    def told(values: list[int], weights: list[float]) -> str:
        chosen = np.array(values, np.int64)
        return Rule(chosen, features.feature[chosen], np.array(weights), 0.0, 0.0).sentence(features)

    assert told([0, 3, 2], [1.0, 1.0, 1.0]) == "Fires at `if` in any case or spacing; at `for`."
    assert told([0, 2, 3], [1.0, 1.0, 1.0]) == "Fires at `if` in any case or spacing; at `for`."
    assert told([0, 1, 3], [1.0, 1.0, 1.0]) == "Fires at `if` in any case or spacing."
    assert told([0, 4], [1.0, 1.0]) == "Fires at `·If` or `for`.", "there is no other token that is spelt like that"
    assert told([3, 0], [1.0, -1.0]) == "Fires at `if` in any case or spacing; less at `·If`."


def test_odd_tokens_and_labels_can_not_hide_or_turn_the_text() -> None:
    told = sentence([2, 3, 4, 6], [1.0, 1.0, 1.0, 1.0])
    assert told == "Fires at “`” or `\\u202e`; after the start of the document; in c d."


def test_what_speaks_against_it_comes_last() -> None:
    assert sentence([5, 0], [-1.0, 2.0]) == "Fires at `·a`; less after `x`."
    assert sentence([5], [-1.0]) == "Fires anywhere; less after `x`."
    assert sentence([], []) == "Fires at too few tokens, or too different ones, for a rule."


def test_score_adds_the_weights_of_what_holds() -> None:
    codes = np.array([[0, 4, 6, 7], [1, 4, 6, 7]], np.int32)
    rule = Rule(np.array([0, 4]), np.array([0, 1]), np.array([2.0, -0.5]), -3.0, 0.0)
    assert rule.score(codes).tolist() == [-1.5, -3.5]


@pytest.mark.parametrize(("text", "shown"), [("a\tb", "`a→b`"), ("", "``"), ("‹E2 82›", "`‹E2 82›`")])
def test_quoted_exactly(text: str, shown: str) -> None:
    assert quoted_exactly(text) == shown
