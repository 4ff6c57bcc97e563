"""Documents as units: near copies of one text are dealt, permuted and resampled as the one observation they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from workbench.analysis.units import document_units, label_units, split_documents


def test_document_units_are_the_originals() -> None:
    documents = pd.DataFrame({"doc": [3, 4, 9], "original": [3, 4, 3]})
    assert document_units(documents).tolist() == [3, 4, 3]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 500)), min_size=1, max_size=40), st.integers(0, 5))
def test_split_documents_gives_both_parts_each_label_and_one_a_quarter_of_the_tokens(
    documents: list[tuple[int, int]], seed: int
) -> None:
    label, tokens = np.array(documents).T
    measures = split_documents(label, tokens, seed)
    assert (measures == split_documents(label, tokens, seed)).all()
    for number in set(label.tolist()):
        mine = label == number
        measuring, choosing = tokens[mine & measures].sum(), tokens[mine & ~measures].sum()
        assert -tokens[mine].max() <= 3 * measuring - choosing <= 3 * tokens[mine].max()
        assert choosing > 0
        assert mine.sum() < 2 or measuring > 0


def test_split_documents_depends_on_the_seed() -> None:
    label, tokens = np.zeros(30, int), np.full(30, 10)
    splits = {tuple(split_documents(label, tokens, seed)) for seed in range(5)}
    assert len(splits) == 5


@given(st.integers(0, 30), st.sampled_from([1, 3]))
def test_a_document_repeated_forty_times_stands_on_one_side(seed: int, choosing_tokens: int) -> None:
    rng = np.random.default_rng(seed)
    units = rng.permutation(np.r_[np.zeros(40, int), np.arange(1, 30)])
    label = np.where(units % 2, 1, 0)
    label[np.flatnonzero(units == 0)[5:9]] = 1  # copies under another label
    measures = split_documents(label, rng.integers(1, 50, len(units)), seed, units, choosing_tokens)
    assert len(set(measures[units == 0].tolist())) == 1
    assert 0 < measures.sum() < len(units)


def test_split_documents_without_copies_is_what_it_was_before_units() -> None:
    """The rule written out document by document, on which stored results rest."""
    rng = np.random.default_rng(1)
    label, tokens = rng.integers(0, 3, 50), rng.integers(1, 90, 50)
    expected, parts = np.zeros(50, bool), np.zeros((3, 2))
    for document in np.random.default_rng(8).permutation(50):
        mine = parts[label[document]]
        part = int(3 * mine[1] < mine[0])
        mine[part] += tokens[document]
        expected[document] = part
    assert (split_documents(label, tokens, 8) == expected).all()
    assert (split_documents(label, tokens, 8, np.arange(50) * 7) == expected).all()


def test_label_units_are_pairs_of_unit_and_label() -> None:
    pair, label = label_units(np.array([5, 2, 5, 5, 2]), np.array([1, 0, 1, 0, 0]))
    assert pair.tolist() == [0, 1, 0, 2, 1]
    assert label.tolist() == [1, 0, 0]
    pair, label = label_units(np.arange(4), np.array([2, 0, 1, 2]))
    assert pair.tolist() == [0, 1, 2, 3]
    assert label.tolist() == [2, 0, 1, 2]
