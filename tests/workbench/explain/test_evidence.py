"""Evidence: against the run's own tables, of the shown documents alone, and as a language model reads it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from workbench.explain import Evidence, Passage, gather_evidence
from workbench.explain.evidence import MAX_PASSAGES
from workbench.store import Run

EVIDENCE = Evidence(
    group=0,
    expert=7,
    tokens=40,
    shares={"python": 0.7, "lua": 0.25, "c": 0.05, "php": 0.0},
    vocabulary={"return": 0.5, "\n": 0.3, "yield": 0.2},
    different=2.7,
    best=np.array([5]),
    passages=[Passage(["a", " «b»"], np.array([False, True]))],
    raised=[" None", "\n", "x", "y"],
    lowered=[")", "(", "z"],
)


def shown_part(run: Run) -> np.ndarray:
    """Every third document is held back."""
    return np.arange(len(run.documents)) % 3 > 0


def middling_expert(run: Run, share: float = 0.04) -> int:
    """An expert active at about a share of the tokens."""
    return int((run.experts(0)["tokens"] - share * run.tokens_total).abs().idxmin())


def test_gather_evidence_is_of_the_shown_documents(text_run: Run) -> None:
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
    assert 0 < len(found.passages) <= MAX_PASSAGES
    assert found.raised == found.lowered == []


def test_gather_evidence_ignores_the_other_documents(text_run: Run) -> None:
    """With the activations of the documents held back taken away, or others put there, it is the same."""
    expert, shown = middling_expert(text_run), shown_part(text_run)
    activations = text_run.activations(0, expert)
    found = gather_evidence(text_run, 0, expert, activations, shown)
    cut = gather_evidence(text_run, 0, expert, activations[shown[activations["doc"]]], shown)
    assert found.to_json() == cut.to_json()
    hidden = [text_run.text(doc) for doc in np.flatnonzero(~shown)]
    assert not any(passage.text in text for passage in found.passages for text in hidden if text)


def test_gather_evidence_of_an_expert_not_active_is_empty(text_run: Run) -> None:
    expert = middling_expert(text_run)
    found = gather_evidence(
        text_run, 0, expert, text_run.activations(0, expert), np.arange(len(text_run.documents)) < 0
    )
    assert (found.tokens, found.vocabulary, found.passages, found.different) == (0, {}, [], 0)


def test_evidence_json_holds_what_a_model_may_see() -> None:
    document = EVIDENCE.to_json()
    assert document["tokens"] == {"return": 0.5, "\n": 0.3, "yield": 0.2}
    assert document["passages"] == ["a« «b»»"]
    assert set(document) == {
        "active_tokens",
        "share_by_label",
        "tokens",
        "passages",
        "next_tokens_raised",
        "next_tokens_lowered",
    }
