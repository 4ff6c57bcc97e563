"""The split of documents: one part chooses experts, the other measures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.analysis.removal.heldout import HeldOut, split_documents
from workbench.errors import WorkbenchError
from workbench.store import Run


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


def test_held_out_documents_are_in_one_part(run: Run) -> None:
    """Too short ones, where nothing is predicted, are in none."""
    heldout = HeldOut.split(run, 0)
    assert heldout.documents["doc"].is_unique
    assert set(heldout.documents["doc"]) == set(run.documents.query("tokens > 1")["doc"])
    assert heldout.measuring["measures"].all()
    assert 0 < len(heldout.measuring) < len(heldout.documents)


def test_held_out_needs_two_documents_per_label(run: Run) -> None:
    run.documents = run.documents.query("label != 'ada' or doc < 1")
    with pytest.raises(WorkbenchError, match="label 'ada' of .* has fewer than two documents of two tokens"):
        HeldOut.split(run, 0)
