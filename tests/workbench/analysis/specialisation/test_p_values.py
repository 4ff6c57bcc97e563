"""p-values and verdicts of every score in an analysis."""

from __future__ import annotations

import pandas as pd
import pytest

from monet_model import MonetForCausalLM
from workbench.analysis import analyze_run, read_analysis
from workbench.analysis.significance import benjamini_hochberg
from workbench.analysis.specialisation.scores import LabelScore, scores_of_kind
from workbench.store import Run

LABEL_SCORES = list(scores_of_kind(LabelScore))


def test_analysis_has_p_and_q_values_and_a_verdict_for_every_score(run: Run, model: MonetForCausalLM) -> None:
    summary = analyze_run(run, permutations=60, model=model, fdr=0.2)
    for group in run.groups:
        found, experts = read_analysis(run, group), run.experts(group)
        tested = experts["tokens"] >= 10
        for name in (*LABEL_SCORES, "vocabulary_entropy", "coherence:residual"):
            p, q = found[f"p:{name}"], found[f"q:{name}"]
            assert (p.notna() == (tested & found[name].notna())).all()
            assert ((p > 0) & (p <= 1))[tested].all()
            assert q.to_numpy() == pytest.approx(benjamini_hochberg(p.to_numpy()), nan_ok=True)
            if name in LABEL_SCORES:
                assert p[tested].min() >= 1 / 61
        expected = (found["specialised"] != "") & (found["q:ratio"] <= 0.2)
        assert (found["confirmed"] == expected).all()
        assert summary.confirmed is not None
        counts = found.loc[found["confirmed"], "specialised"].value_counts()
        assert summary.confirmed.loc[group].to_dict() == counts.reindex(run.labels, fill_value=0).to_dict()
    assert summary.to_json()["permutations"] == 60


def test_vocabulary_entropy_is_lower_than_by_chance(run: Run) -> None:
    """Routing depends on tokens, so the experts of any model fire at fewer of them than slid text would have."""
    analyze_run(run, permutations=1)
    assert (read_analysis(run, 0)["p:vocabulary_entropy"] < 0.1).mean() > 0.4


def test_analysis_with_the_same_seed_is_the_same(run: Run) -> None:
    tables = []
    for seed in (1, 1, 2):
        analyze_run(run, permutations=20, seed=seed)
        tables.append(read_analysis(run, 0))
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert (tables[0]["p:ratio"] != tables[2]["p:ratio"]).any()
