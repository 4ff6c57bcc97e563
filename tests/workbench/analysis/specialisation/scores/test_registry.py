"""The registry of scores: what every score keeps to, and that a new one needs no more than its entry."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monet_model import MonetForCausalLM
from workbench.analysis import SCORES, analyze_run, read_analysis
from workbench.analysis.significance import benjamini_hochberg
from workbench.analysis.specialisation.label_null import label_scores
from workbench.analysis.specialisation.scores import (
    ContextScore,
    Embeddings,
    LabelCounts,
    LabelScore,
    Score,
    TextScore,
    scores_of_kind,
)
from workbench.analysis.specialisation.shares import Floats
from workbench.store import Run

MASSES = arrays(np.float64, (3, 5), elements=st.floats(0, 100).map(lambda x: x if x > 1e-3 else 0.0))


def test_every_registered_score_describes_itself() -> None:
    for name, score in SCORES.items():
        assert name == score.name
        assert score.title
        assert score.source
        assert score.null
        assert score.definition.endswith(".")
        assert len(score.definition) < 130, f"{name}: one sentence"


@given(mass=arrays(np.float64, (4, 3, 6), elements=st.floats(0, 9)))
def test_label_scores_of_many_dimensions_are_those_of_each(mass: np.ndarray) -> None:
    """With sizes of labels that differ along them."""
    label_tokens = np.arange(1.0, 13.0).reshape(4, 3)
    tokens = np.minimum(mass, label_tokens[..., None])
    together = label_scores(mass, tokens, label_tokens[..., None])
    for at in range(3):
        for name, values in label_scores(mass[:, at], tokens[:, at], label_tokens[:, at]).items():
            assert together[name][at].tolist() == values.tolist(), name


@given(mass=MASSES)
def test_shares_based_scores_lie_between_0_and_1(mass: np.ndarray) -> None:
    scores = label_scores(mass, np.ceil(mass), np.array([500.0, 700.0, 900.0]))
    for name in ("monosemanticity", "selectivity"):
        assert (scores[name] >= -1e-12).all(), name
        assert (scores[name] <= 1 + 1e-12).all(), name


def gini(counts: LabelCounts) -> Floats:
    """Gini impurity of the shares, as docs/adding-a-score.md has it, one less: low where an expert is pure."""
    return 1 - np.square(counts.shares).sum(0)


def vocabulary_size(expert: np.ndarray, token: np.ndarray, count: np.ndarray) -> pd.Series:
    """How many different token ids an expert is active at."""
    ids, sizes = np.unique(expert, return_counts=True)
    return pd.Series(sizes.astype(np.float64), index=ids)


def nearest(expert: np.ndarray, weight: np.ndarray, row: np.ndarray, embeddings: Embeddings) -> np.ndarray:
    """Cosine similarity of the contexts of an expert's first two examples."""
    starts = np.flatnonzero(np.diff(expert, prepend=-1))
    following = np.minimum(starts + 1, len(row) - 1)
    vectors = embeddings.vectors[embeddings.context[row]].astype(np.float64)
    return (vectors[starts] * vectors[following]).sum(1)


TOYS: list[Score] = [
    LabelScore(name="gini", title="Gini", definition="Toy.", source="Gini 1912", compute=gini, higher_is_purer=False),
    TextScore(
        name="size", title="size", definition="Toy.", source="none", compute=vocabulary_size, higher_is_purer=False
    ),
    ContextScore(
        name="nearest:residual", title="nearest", definition="Toy.", source="none", view="residual", compute=nearest
    ),
]


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_registered_toy_score_gets_its_column_p_and_q_values(
    toy: Score, run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCORES, toy.name, toy)
    analyze_run(run, permutations=20, model=model if isinstance(toy, ContextScore) else None)
    table = read_analysis(run, 0)
    values, p, q = table[toy.name], table[f"p:{toy.name}"], table[f"q:{toy.name}"]
    tested = run.experts(0)["tokens"] >= 10
    assert values[tested].notna().all()
    assert values[tested].nunique() > 1
    assert ((p > 0) & (p <= 1))[tested].all()
    assert p[~tested].isna().all()
    assert q.to_numpy() == pytest.approx(benjamini_hochberg(p.to_numpy()), nan_ok=True)


def test_score_whose_pure_experts_are_low_has_the_p_values_of_its_negative(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both directions of one number are the same test."""

    def purity(counts: LabelCounts) -> Floats:
        return np.square(counts.shares).sum(0)

    low, high = (
        LabelScore(name=name, title=name, definition="Toy.", source="none", compute=compute, higher_is_purer=not low)
        for name, compute, low in (("gini", gini, True), ("purity", purity, False))
    )
    monkeypatch.setitem(SCORES, "gini", low)
    monkeypatch.setitem(SCORES, "purity", high)
    analyze_run(run, permutations=40)
    table = read_analysis(run, 0).dropna(subset="p:gini")
    assert (table["p:gini"] - table["p:purity"]).abs().max() <= 2 / 41  # near ties fall either way by rounding
    assert table["p:gini"].min() < 0.2
    assert set(scores_of_kind(LabelScore)) >= {"gini", "purity", "ratio"}
