"""Experts against a number of the texts: every correlation against scipy on dense arrays, and verdicts that hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata, spearmanr

from workbench.analysis import activations, correlate_scores, read_score_summary, read_scores
from workbench.analysis.correlation import cells as units
from workbench.analysis.correlation import correlate as correlate_module
from workbench.analysis.correlation.coefficients import (
    Cells,
    PearsonSums,
    pearson_interval,
    rank_correlations,
    spearman_interval,
)
from workbench.errors import BadInputError, NotAnalysedError, NotFoundError
from workbench.export import export_run
from workbench.store import Run, open_run

GOLDEN = Path(__file__).parents[3] / "golden" / "tiny-vd"


@pytest.fixture(scope="module")
def scored_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over 40 documents with a score each but for two; the score is the share of tokens of id 100 or more."""
    folder = tmp_path_factory.mktemp("scored")
    rng = np.random.default_rng(5)
    rows = []
    for number in range(40):
        size = rng.integers(8, 60)
        ids = np.where(rng.random(size) < rng.random(), rng.integers(100, 120, size), rng.integers(10, 90, size))
        score = None if number in (4, 17) else float((ids >= 100).mean())
        rows.append({"input_ids": [1, *ids.tolist()], "label": "ab"[number % 2], "score": score})
    rows.append({"input_ids": [1], "label": "a", "score": 0.5})
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    export_run(GOLDEN, folder / "corpus.parquet", folder / "run")
    return folder / "run"


@pytest.fixture
def scored(scored_path: Path, tmp_path: Path) -> Run:
    """The run in a copy that a test may add to."""
    return open_run(shutil.copytree(scored_path, tmp_path / "run"))


def dense_values(run: Run, group: int, unit: str) -> tuple[np.ndarray, np.ndarray]:
    """Every expert's value in each unit, (experts, units), by dense sums; and the score of each unit."""
    g1, g2 = (side.double() for side in run.routing(slice(None), group).dense())
    score = torch.einsum("thi,thj->tij", g1, g2).flatten(1).T.numpy()
    documents = run.documents[run.documents["score"].notna() & (run.documents["tokens"] > 0)]
    values, y = [], []
    for row, tokens, number in zip(documents["row"], documents["tokens"], documents["score"], strict=True):
        mine = score[:, row : row + tokens]
        values.append({"mean": mine.mean(1)[:, None], "max": mine.max(1)[:, None], "token": mine}[unit])
        y += [number] * values[-1].shape[1]
    return np.concatenate(values, 1), np.array(y)


@pytest.mark.parametrize(("unit", "max_pairs"), [("mean", 2**24), ("max", 20_000), ("token", 2**24), ("token", 20_000)])
def test_correlations_equal_those_of_scipy(
    scored: Run, monkeypatch: pytest.MonkeyPatch, unit: str, max_pairs: int
) -> None:
    """Also where the routing is read for several ranges of experts, and in blocks of few documents."""
    monkeypatch.setattr(activations, "MAX_PAIRS", max_pairs)
    monkeypatch.setattr(units, "ROUTING_ROWS", 150)
    correlate_scores(scored, unit=unit, min_documents=5)
    for group in scored.groups:
        found = read_scores(scored, group)
        values, y = dense_values(scored, group, unit)
        assert found.index.tolist() == np.flatnonzero((values > 0).any(1)).tolist()
        for expert in found.index[::7]:
            x = values[expert].astype(np.float32).astype(float)
            assert found.loc[expert, "pearson"] == pytest.approx(pearsonr(values[expert], y).statistic, abs=1e-6)
            assert found.loc[expert, "spearman"] == pytest.approx(spearmanr(x, y).statistic, abs=0.02)


def test_documents_are_counted_whatever_the_unit(scored: Run) -> None:
    values, _ = dense_values(scored, 0, "mean")
    for unit in ("mean", "token"):
        correlate_scores(scored, unit=unit)
        found = read_scores(scored, 0)
        assert (found["documents"] == (values[found.index] > 0).sum(1)).all()


@st.composite
def sparse_table(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Values of experts, mostly 0 and with many ties, and two targets with ties."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(4, 30))
    values = rng.integers(0, 4, (6, n)) / 8 * (rng.random((6, n)) < draw(st.floats(0.1, 1.0)))
    return values, rng.integers(0, 5, (2, n)).astype(float)


def cells_of(values: np.ndarray, first: int, last: int) -> Cells:
    """A block of a dense table."""
    expert, unit = np.nonzero(values[:, first:last])
    return Cells(range(first, last), expert, unit + first, values[expert, unit + first])


@given(table=sparse_table(), cut=st.integers(0, 30))
def test_sparse_sums_equal_dense_correlations(table: tuple[np.ndarray, np.ndarray], cut: int) -> None:
    """In two blocks cut anywhere, with constant experts and targets, which have none."""
    values, targets = table
    n = values.shape[1]
    cut = min(cut, n)
    sums = PearsonSums(len(values), targets)
    sums.add(cells_of(values, 0, cut))
    sums.add(cells_of(values, cut, n))
    pearson = sums.correlations()
    spearman = rank_correlations(cells_of(values, 0, n), len(values), rankdata(targets, axis=1))
    for t, y in enumerate(targets):
        for expert, x in enumerate(values):
            if np.ptp(x) == 0 or np.ptp(y) == 0:
                assert np.isnan([pearson[t, expert], spearman[t, expert]]).all()
            else:
                assert pearson[t, expert] == pytest.approx(pearsonr(x, y).statistic, abs=1e-12)
                assert spearman[t, expert] == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_pearson_keeps_its_digits_where_deviations_are_tiny() -> None:
    """An expert that is nearly the same everywhere: sums of squares alone would lose it."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=1000) + 1e6
    x = (1 + 1e-9 * (y - 1e6))[None]
    sums = PearsonSums(1, y[None])
    for first in range(0, 1000, 100):
        sums.add(cells_of(x, first, first + 100))
    assert sums.correlations()[0, 0] == pytest.approx(1, abs=1e-6)


def test_intervals_are_those_of_the_textbook() -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 40))
    found = pearsonr(x, y)
    low, high = pearson_interval(np.array([found.statistic]), 40)
    wanted = found.confidence_interval(0.95)
    assert (low[0], high[0]) == pytest.approx((wanted.low, wanted.high))
    low, high = spearman_interval(np.array([0.6, 1.0]), 40)
    z = 1.959964 * np.sqrt(1.18 / 37)
    assert (low[0], high[0]) == pytest.approx((np.tanh(np.arctanh(0.6) - z), np.tanh(np.arctanh(0.6) + z)))
    assert (low[1], high[1]) == (1, 1)


def test_experts_of_the_scored_tokens_are_found(scored: Run) -> None:
    """The score is the share of some tokens, so what fires at them goes with it, and what fires at the others against.

    Shuffled scores find next to nothing.
    """
    summary = correlate_scores(scored)
    assert summary.documents == 38
    for group in scored.groups:
        found = read_scores(scored, group)
        counts = summary.groups.set_index("group").loc[group]
        assert (counts["seen"], counts["tested"]) == (len(found), found["p:pearson"].notna().sum())
        for kind in ("pearson", "spearman"):
            called = found[found[f"q:{kind}"] <= 0.05][kind]
            assert [counts[f"{kind}:{sign}"] for sign in ("positive", "negative")] == [
                (called > 0).sum(),
                (called < 0).sum(),
            ]
            assert ((found[f"{kind}:low"] < found[kind]) & (found[kind] < found[f"{kind}:high"])).all()
    positive, negative = summary.groups.loc[0, ["pearson:positive", "pearson:negative"]]
    assert min(positive, negative) > 10
    strongest = summary.strongest
    significant = np.where(strongest[["q:pearson", "q:spearman"]] <= 0.05, strongest[["pearson", "spearman"]], 0)
    stronger = np.take_along_axis(significant, np.abs(significant).argmax(1)[:, None], 1)
    assert (np.diff(stronger[:, 0]) <= 0).all()
    assert (summary.strongest[["q:pearson", "q:spearman"]].min(axis=1) <= 0.05).all()
    scored.__dict__["documents"] = scored.documents.assign(
        score=np.random.default_rng(3).permutation(scored.documents["score"])
    )
    null = correlate_scores(scored).groups
    assert null[["pearson:positive", "pearson:negative"]].sum().sum() < 0.02 * null["tested"].sum()


def test_a_planted_expert_is_the_strongest(scored: Run) -> None:
    """Where the score is what one expert did, and few documents are needed, that expert goes with it wholly."""
    values, _ = dense_values(scored, 1, "mean")
    documents = scored.documents
    planted = documents["score"].notna() & (documents["tokens"] > 0)
    documents.loc[planted, "score"] = values[77]
    summary = correlate_scores(scored)
    best = summary.strongest.iloc[0]
    assert (best["group"], best["expert"]) == (1, 77)
    assert best["pearson"] == pytest.approx(1, abs=1e-9)
    assert best["spearman"] == pytest.approx(1, abs=1e-3)


def test_documents_without_routing_do_not_count(scored: Run) -> None:
    scored.__dict__["documents"] = scored.documents.assign(kept=np.arange(len(scored.documents)) % 4 > 0)
    scored.__dict__.pop("_document_columns", None)
    assert correlate_scores(scored).documents == 29


def test_rare_experts_are_not_tested(scored: Run) -> None:
    correlate_scores(scored, min_documents=37)
    found = read_scores(scored, 0)
    assert 0 < (found["documents"] < 37).sum() < len(found)
    assert (found["p:pearson"].notna() == (found["documents"] >= 37)).all()


def test_strongest_lists_experts_that_only_spearman_finds_significant() -> None:
    """And places them by that correlation, whatever the other one is."""
    table = pd.DataFrame(
        {
            "group": 0,
            "expert": [3, 4, 5, 6],
            "documents": 20,
            "pearson": [0.9, 0.2, -0.1, 0.8],
            "spearman": [0.1, 0.6, -0.7, 0.5],
            "q:pearson": [0.5, 0.5, np.nan, 0.01],
            "q:spearman": [0.5, 0.01, 0.02, 0.01],
        }
    )
    assert correlate_module._strongest(table, 0.05)["expert"].tolist() == [6, 4, 5]


def test_any_number_of_the_documents_is_a_score(run: Run) -> None:
    summary = correlate_scores(run, column="tokens", unit="max")
    assert summary.column == "tokens"
    assert summary.documents == (run.documents["tokens"] > 0).sum()


def test_a_summary_is_read_as_it_was_written(scored: Run) -> None:
    assert read_score_summary(scored) is None
    summary = correlate_scores(scored, seed=3)
    again = read_score_summary(scored)
    assert again is not None
    assert again.to_json() == json.loads(json.dumps(summary.to_json())) == correlate_scores(scored, seed=3).to_json()
    pd.testing.assert_frame_equal(again.groups, summary.groups)


def test_correlations_under_a_name_lie_beside_the_unnamed_ones(scored: Run) -> None:
    first = correlate_scores(scored)
    correlate_scores(scored, unit="max", name="by-max")
    named = read_score_summary(scored, name="by-max")
    assert (named.unit, read_score_summary(scored).to_json()) == ("max", first.to_json())
    assert not read_scores(scored, 0).equals(read_scores(scored, 0, name="by-max"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"unit": "word"}, "one of mean, max, token"),
        ({"column": "label"}, "no column of numbers"),
        ({"min_documents": 0}, "min_documents"),
        ({"fdr": 0}, "fdr"),
    ],
)
def test_settings_that_make_no_sense_are_refused(scored: Run, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        correlate_scores(scored, **settings)


def test_a_run_without_scores_says_how_to_get_some(run: Run) -> None:
    with pytest.raises(BadInputError, match="monet corpus score"):
        correlate_scores(run)
    with pytest.raises(NotAnalysedError, match="monet scores"):
        read_scores(run, 0)
    with pytest.raises(NotFoundError, match="has no group 9"):
        read_scores(run, 9)


def test_near_copies_are_one_observation(scored: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of documents, of intervals, and of shuffled scores; the correlations themselves are over all documents."""
    monkeypatch.setattr(units, "ROUTING_ROWS", 150)
    alone = correlate_scores(scored, min_documents=2, name="alone")
    original = scored.documents["doc"].where(scored.documents["doc"] > 9, 0)
    scored.documents = scored.documents.assign(original=original)
    correlate_scores(scored, min_documents=2)
    assert alone.documents == 38
    values, _ = dense_values(scored, 0, "mean")
    unit = original[scored.documents["score"].notna() & (scored.documents["tokens"] > 0)].to_numpy()
    expected = [len(set(unit[row > 0])) for row in values if row.any()]
    before, after = (read_scores(scored, 0, name=name) for name in ("alone", None))
    assert after["documents"].tolist() == expected
    assert (after["pearson"] == before["pearson"]).all()
    width = {name: table["pearson:high"] - table["pearson:low"] for name, table in (("b", before), ("a", after))}
    assert bool((width["a"] > width["b"]).all())
