"""Every score of an analysis, computed anew from ``run.activations`` by plain pandas and scipy, expert by expert."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy

from monet_model import MonetForCausalLM
from workbench.analysis import analyze_run, read_analysis
from workbench.analysis.specialisation.scores.coherence import residual_embeddings
from workbench.export import export_run
from workbench.store import Run, open_run

PERMUTATIONS, SEED, MIN_TOKENS = 30, 3, 12


def experts_of(table: pd.DataFrame) -> list[int]:
    """The one seen least and the one seen most, some specialised, some not, some between."""
    order = table.sort_values("information").index
    return sorted({*order[:: max(1, len(order) // 8)], order[-1]})


def scores_of(rows: pd.DataFrame, label: pd.Series, sizes: pd.Series) -> dict[str, float]:
    """The scores that compare labels, for an expert's activations under some labels of the documents."""
    labels = rows["doc"].map(label)
    rate = rows["score"].astype(float).groupby(labels).sum().reindex(sizes.index, fill_value=0) / sizes
    share = (rate / rate.sum()).sort_values(ascending=False).to_numpy()
    active = rows.groupby(labels).size().reindex(sizes.index, fill_value=0).to_numpy()
    joint = np.array([active, sizes - active]) / sizes.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = share[0] / share[1]
        terms = joint * np.log(joint / (joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)))
    return {
        "ratio": ratio,
        "monosemanticity": 1 - entropy(share) / np.log(len(share)),
        "selectivity": (share[0] - share[1:].mean()) / (share[0] + share[1:].mean()),
        "information": np.nansum(terms),
    }


def coherence_of(examples: pd.DataFrame, vectors: np.ndarray) -> float:
    """Mean cosine of all pairs of examples, weighted by the products of their scores."""
    a, e = examples["score"].to_numpy(float), vectors[examples["row"]].astype(float)
    weight, cosine = np.outer(a, a), e @ e.T / np.outer(*[np.linalg.norm(e, axis=1)] * 2)
    off = ~np.eye(len(a), dtype=bool)
    return float((weight * cosine)[off].sum() / weight[off].sum())


@pytest.mark.parametrize("group", [0, 1])
def test_analyze_run_equals_scores_recomputed_by_expert(run: Run, model: MonetForCausalLM, group: int) -> None:
    analyze_run(run, min_tokens=MIN_TOKENS, permutations=PERMUTATIONS, seed=SEED, model=model)
    table, documents = read_analysis(run, group), run.documents
    vectors = residual_embeddings(run, model).vectors
    rng = np.random.default_rng(SEED)
    codes = pd.Categorical(documents["label"], categories=run.labels).codes.astype(np.int64)
    orders = [codes, *(rng.permutation(codes) for _ in range(PERMUTATIONS))]
    tested = 0
    for expert in experts_of(table):
        row, rows = table.loc[expert], run.activations(group, int(expert))
        every = []
        for order in orders:
            label = pd.Series(np.array(run.labels, object)[order], documents["doc"])
            sizes = documents["tokens"].groupby(label.to_numpy()).sum().reindex(run.labels, fill_value=0)
            every.append(scores_of(rows, label, sizes))
        for name, value in every[0].items():
            # Counts are exact; masses are summed before a run stores their parts in half precision, 2 ** -11 of each.
            tolerance = {"rel": 1e-5, "abs": 1e-9} if name == "information" else {"rel": 2**-10, "abs": 2**-10}
            assert row[name] == pytest.approx(value, **tolerance), name
        if len(rows) < MIN_TOKENS:
            assert np.isnan(row["vocabulary_entropy"])
            assert np.isnan(row["p:information"])
            assert row["specialised"] == ""
            continue
        tested += 1
        assert row["vocabulary_entropy"] == pytest.approx(entropy(rows.groupby("token").size()), abs=1e-9)
        coherence = coherence_of(run.examples(group, int(expert), 1000), vectors)
        assert row["coherence:residual"] == pytest.approx(coherence, abs=1e-5)
        for name, value in every[0].items():
            # Rounding of float32 sums can turn a near tie; where there is none, the count is exact.
            others = np.array([one[name] for one in every[1:]])
            ties = np.isclose(others, value, rtol=1e-4, atol=1e-9).sum()
            exceeded = (others >= value).sum()
            assert abs(row[f"p:{name}"] * (1 + PERMUTATIONS) - 1 - exceeded) <= ties + 1e-6, name
    assert tested >= 5


def test_analyze_run_uses_the_documents_kept(exported: tuple[Path, MonetForCausalLM], tmp_path: Path) -> None:
    """Vocabulary and p-values are those of the documents kept; scores of the labels, those of all."""
    whole = open_run(exported[0])
    corpus = exported[0].parent / "corpus.parquet"
    export_run(whole.model_path, corpus, tmp_path / "run", keep_routing=0.5)
    run = open_run(tmp_path / "run")
    kept = run.documents[run.documents["kept"]]
    assert 2 < len(kept) < len(run.documents)
    analyze_run(run, min_tokens=MIN_TOKENS, permutations=PERMUTATIONS, seed=SEED)
    table = read_analysis(run, 0)
    rng, codes = np.random.default_rng(SEED), pd.Categorical(kept["label"], categories=run.labels).codes
    orders = [codes.astype(np.int64), *(rng.permutation(codes.astype(np.int64)) for _ in range(PERMUTATIONS))]
    least = 0
    for expert in experts_of(table):
        rows = run.activations(0, int(expert))
        assert set(rows["doc"]) <= set(kept["doc"])
        if len(rows) < MIN_TOKENS:
            least += table["vocabulary_entropy"].isna()[expert]
            continue
        expected = entropy(rows.groupby("token").size())
        assert table["vocabulary_entropy"][expert] == pytest.approx(expected, abs=1e-9)
        every = []
        for order in orders:
            label = pd.Series(np.array(run.labels, object)[order], kept["doc"])
            sizes = kept["tokens"].groupby(label.to_numpy()).sum().reindex(run.labels, fill_value=0)
            every.append(scores_of(rows, label, sizes)["information"])
        ties = np.isclose(every[1:], every[0], rtol=1e-4, atol=1e-9).sum()
        exceeded = (np.array(every[1:]) >= every[0]).sum()
        assert abs(table["p:information"][expert] * (1 + PERMUTATIONS) - 1 - exceeded) <= ties + 1e-6
    analyze_run(whole_copy := open_run(shutil.copytree(exported[0], tmp_path / "whole")), permutations=0)
    assert (table["monosemanticity"] == read_analysis(whole_copy, 0)["monosemanticity"]).all()
    assert least == table.loc[experts_of(table), "vocabulary_entropy"].isna().sum()
