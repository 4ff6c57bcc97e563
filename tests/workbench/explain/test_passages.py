"""Passages and evidence: what they hold, against the run's own tables, and that no document is in both parts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from workbench.explain import Passage, gather_evidence
from workbench.explain.evidence import PASSAGES
from workbench.explain.passages import WIDTH, sample_passages
from workbench.store import Run


def shown_part(run: Run) -> np.ndarray:
    """Every third document is held back."""
    return np.arange(len(run.documents)) % 3 > 0


def middling_expert(run: Run, share: float = 0.04) -> int:
    """An expert active at about a share of the tokens."""
    return int((run.experts(0)["tokens"] - share * run.tokens_total).abs().idxmin())


def test_marks_and_texts() -> None:
    passage = Passage(["def", " f", "(", "x", ")"], np.array([False, True, True, False, True]))
    assert passage.text == "def f(x)"
    assert passage.marked_text == "def« f(»x«)»"
    assert passage.marked_tokens == "f( )"


@pytest.mark.parametrize("count", [4, 1000])
def test_sampled_passages_are_pieces_of_the_documents_asked_for(text_run: Run, count: int) -> None:
    expert, among = middling_expert(text_run), shown_part(text_run)
    activations = text_run.activations(0, expert)
    active, silent = sample_passages(text_run, activations, among, count, np.random.default_rng(0))
    places = set(activations["row"])
    texts = {text_run.text(doc): doc for doc in range(len(text_run.documents))}
    for passages in (active, silent):
        docs = []
        for passage in passages:
            text, doc = next((text, doc) for text, doc in texts.items() if passage.text in text)
            first = text_run.documents["row"][doc] + text.index(passage.text)  # a token is a character here
            assert passage.marked.tolist() == [row in places for row in range(first, first + WIDTH)]
            assert passage.marked.any() == (passages is active)
            assert among[doc]
            docs.append(doc)
        assert len(set(docs)) == len(docs) <= count
    usable = activations[among[activations["doc"]]]["doc"].nunique()
    assert len(active) == min(count, usable)
    assert len(silent) == count or count == 1000


def test_sampled_scores_cover_the_range(text_run: Run) -> None:
    """Not the strongest alone: the weakest and the strongest of the tokens drawn are there, in rising order."""
    activations = text_run.activations(0, middling_expert(text_run))
    every = np.ones(len(text_run.documents), bool)
    drawn = [sample_passages(text_run, activations, every, n, np.random.default_rng(3))[0] for n in (1000, 3)]
    texts = [[passage.text for passage in passages] for passages in drawn]
    assert texts[1] == [texts[0][0], texts[0][round((len(texts[0]) - 1) / 2)], texts[0][-1]]


def test_evidence_is_what_the_shown_documents_say(text_run: Run) -> None:
    expert, shown = middling_expert(text_run), shown_part(text_run)
    activations = text_run.activations(0, expert)
    found = gather_evidence(text_run, 0, expert, activations, shown)
    here = activations[activations["doc"] % 3 > 0]
    assert found.tokens == len(here)
    tokens = text_run.tokens()
    sizes = tokens[tokens["doc"] % 3 > 0].groupby("label").size()
    rate = here.groupby("label")["score"].sum().reindex(text_run.labels, fill_value=0) / sizes
    assert found.shares == pytest.approx((rate / rate.sum()).to_dict(), rel=1e-5)
    assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)
    texts = pd.Series(text_run.token_text(here["token"].to_numpy()), here.index)
    part = here["score"].groupby(texts).sum() / here["score"].sum()
    assert {text: found.vocabulary[text] for text in found.vocabulary if text != " "} == pytest.approx(
        {text: part[text] for text in found.vocabulary if text != " "}, rel=1e-5
    )
    assert found.different == pytest.approx(np.exp(entropy(here.groupby("token").size())), rel=1e-6)
    assert 0 < len(found.passages) <= PASSAGES
    assert found.raised == found.lowered == []


def test_evidence_knows_nothing_of_the_other_documents(text_run: Run) -> None:
    """With the activations of the documents held back taken away, or others put there, it is the same."""
    expert, shown = middling_expert(text_run), shown_part(text_run)
    activations = text_run.activations(0, expert)
    found = gather_evidence(text_run, 0, expert, activations, shown)
    cut = gather_evidence(text_run, 0, expert, activations[shown[activations["doc"]]], shown)
    assert found.to_json() == cut.to_json()
    hidden = [text_run.text(doc) for doc in np.flatnonzero(~shown)]
    assert not any(passage.text in text for passage in found.passages for text in hidden if text)


def test_an_expert_silent_in_the_shown_documents(text_run: Run) -> None:
    expert = middling_expert(text_run)
    found = gather_evidence(text_run, 0, expert, text_run.activations(0, expert), np.arange(96) < 0)
    assert (found.tokens, found.vocabulary, found.passages, found.different) == (0, {}, [], 0)
