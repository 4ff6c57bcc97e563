"""Passages: their highlights against the run's own tables, and samples from the documents asked for alone."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.explain import Passage
from workbench.explain.passages import PASSAGE_TOKENS, sample_passages
from workbench.store import Run


def shown_part(run: Run) -> np.ndarray:
    """Every third document is held back."""
    return np.arange(len(run.documents)) % 3 > 0


def middling_expert(run: Run, share: float = 0.04) -> int:
    """An expert active at about a share of the tokens."""
    return int((run.experts(0)["tokens"] - share * run.tokens_total).abs().idxmin())


def test_passage_highlights_and_texts() -> None:
    passage = Passage(["def", " f", "(", "x", ")"], np.array([False, True, True, False, True]))
    assert passage.text == "def f(x)"
    assert passage.marked_text == "def« f(»x«)»"
    assert passage.marked_tokens == "f( )"


@pytest.mark.parametrize("count", [4, 1000])
def test_sample_passages_come_from_the_documents_asked_for(text_run: Run, count: int) -> None:
    expert, among = middling_expert(text_run), shown_part(text_run)
    activations = text_run.activations(0, expert)
    active, negatives = sample_passages(text_run, activations, among, count, np.random.default_rng(0))
    places = set(activations["row"])
    texts = {text_run.text(doc): doc for doc in range(len(text_run.documents))}
    for passages in (active, negatives):
        docs = []
        for passage in passages:
            text, doc = next((text, doc) for text, doc in texts.items() if passage.text in text)
            first = text_run.documents["row"][doc] + text.index(passage.text)  # a token is a character here
            assert passage.marked.tolist() == [row in places for row in range(first, first + PASSAGE_TOKENS)]
            assert passage.marked.any() == (passages is active)
            assert among[doc]
            docs.append(doc)
        assert len(set(docs)) == len(docs) <= count
    usable = activations[among[activations["doc"]]]["doc"].nunique()
    assert len(active) == min(count, usable)
    assert len(negatives) == count or count == 1000


def test_sample_passages_cover_the_range_of_scores(text_run: Run) -> None:
    """Not the strongest alone: the weakest and the strongest of the tokens drawn are there, in rising order."""
    activations = text_run.activations(0, middling_expert(text_run))
    every = np.ones(len(text_run.documents), bool)
    drawn = [sample_passages(text_run, activations, every, n, np.random.default_rng(3))[0] for n in (1000, 3)]
    texts = [[passage.text for passage in passages] for passages in drawn]
    assert texts[1] == [texts[0][0], texts[0][round((len(texts[0]) - 1) / 2)], texts[0][-1]]


def test_a_character_over_two_tokens_reads_as_itself() -> None:
    pieces = ["a", "‹€ 1/2›", "‹€ 2/2›", "b"]
    assert Passage(pieces, np.array([False, True, True, False])).marked_text == "a«€»b"
    assert Passage(pieces, np.array([False, False, True, False])).text == "a€b"
