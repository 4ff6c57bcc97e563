"""`analyze_run` on exported runs: against dense routing and plain loops, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import analyze_run, read_analysis
from workbench.errors import WorkbenchError
from workbench.store import Run

Cut = Callable[[list[int], int, int], list[tuple[list[int], int]]]


def dense_scores(run: Run, model: MonetForCausalLM, group: int, cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Score of every expert at every counted token, (tokens, E * E), and each token's label, from the model itself."""
    scores, labels = [], []
    for doc in run.documents.itertuples():
        table = run.tokens(slice(doc.row, doc.row + doc.tokens))
        opening, ids = [] if pd.isna(doc.bos) else [doc.bos], table["token"].tolist()
        for window, again in cut(opening + ids, len(opening), run.manifest["settings"]["context"]):
            with torch.no_grad():
                g1, g2 = model(torch.tensor([window]), output_router_probs=True).router_probs[run.group_layers[group]]
            grid = torch.einsum("thi,thj->tij", g1[0].double(), g2[0].double()).flatten(1).numpy()
            scores.append(grid[again or len(opening) :])
            labels += [doc.label] * len(scores[-1])
    return np.concatenate(scores), np.array(labels)


@pytest.mark.parametrize("group", [0, 1])
def test_analyze_run_equals_dense_routing(run: Run, model: MonetForCausalLM, group: int, cut: Cut) -> None:
    summary = analyze_run(run, min_tokens=12, permutations=0)
    found = read_analysis(run, group)
    scores, label = dense_scores(run, model, group, cut)
    active = (scores > 0).sum(0)
    assert found.index.tolist() == np.flatnonzero(active).tolist()
    counts = dict.fromkeys(run.labels, 0)
    for expert, row in found.iterrows():
        rates = np.array([scores[label == name, expert].mean() for name in run.labels])
        shares = rates / rates.sum()
        assert [row[f"share:{name}"] for name in run.labels] == pytest.approx(shares.tolist(), rel=1e-5, abs=1e-9)
        positive = shares[shares > 0]
        assert row["monosemanticity"] == pytest.approx(1 + (positive * np.log(positive)).sum() / np.log(3), abs=1e-6)
        second, first = np.sort(rates)[-2:]
        if abs(first - 2 * second) < 1e-6 * first:
            continue  # on the edge of the rule, where rounding decides
        chosen = run.labels[rates.argmax()] if first >= 2 * second and active[expert] >= 12 else ""
        assert row["specialised"] == chosen
        if chosen:
            counts[chosen] += 1
    assert summary.specialised.loc[group].to_dict() == counts == found["specialised"].value_counts().drop("").to_dict()
    assert summary.seen[group] == len(found)


def test_summary_as_json_has_counts_per_group_and_label(run: Run) -> None:
    summary = analyze_run(run, permutations=0)
    answer = summary.to_json()
    assert answer["labels"] == run.labels
    assert [g["group"] for g in answer["groups"]] == run.groups
    for label in run.labels:
        assert answer["specialised"][label] == sum(g["specialised"][label] for g in answer["groups"]) > 0


def test_analyze_run_replaces_the_last_analysis(run: Run) -> None:
    analyze_run(run, permutations=0)
    loose = read_analysis(run, 0)
    analyze_run(run, ratio=20.0, permutations=0)
    strict = read_analysis(run, 0)
    assert (strict["specialised"] != "").sum() < (loose["specialised"] != "").sum()
    assert (strict["monosemanticity"] == loose["monosemanticity"]).all()
    assert sorted(f.name for f in (run.path / "analysis").iterdir()) == [
        "experts-group-0.parquet",
        "experts-group-1.parquet",
        "experts.json",
        "token-keys-group-0.parquet",
        "token-keys-group-1.parquet",
    ]


def test_read_analysis_needs_an_analysis_and_a_group(run: Run) -> None:
    with pytest.raises(WorkbenchError, match="has not been analysed; run `monet analyze"):
        read_analysis(run, 0)
    with pytest.raises(WorkbenchError, match="has no group 5; it has 0, 1"):
        read_analysis(run, 5)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"ratio": 0.5}, "ratio must be a number of at least 1"),
        ({"ratio": float("nan")}, "ratio must be"),
        ({"ratio": float("inf")}, "ratio must be"),
        ({"min_tokens": 0}, "min_tokens must be at least 1"),
    ],
)
def test_analyze_run_refuses_rules_out_of_range(run: Run, rule: dict[str, float], message: str) -> None:
    with pytest.raises(WorkbenchError, match=message):
        analyze_run(run, **rule)
    assert not (run.path / "analysis").exists()


def test_analyze_run_refuses_a_run_of_one_label(run: Run) -> None:
    run.labels = ["ada"]
    with pytest.raises(WorkbenchError, match="has one label, 'ada'"):
        analyze_run(run, permutations=0)


def test_analyze_run_without_the_encoder_leaves_nothing_behind(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.analysis.encoder.PACKAGE", "no_such_package")
    with pytest.raises(WorkbenchError, match="the sentence encoder is not installed"):
        analyze_run(run, encoder=True)
    assert not (run.path / "analysis").exists()


def test_analyze_run_with_the_encoder_needs_text(run: Run) -> None:
    with pytest.raises(WorkbenchError, match="holds token ids without text"):
        analyze_run(run, encoder=True)


@pytest.mark.parametrize(("settings", "message"), [({"permutations": -1}, "permutations"), ({"fdr": 1.0}, "fdr")])
def test_analyze_run_refuses_settings_out_of_range(run: Run, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkbenchError, match=message):
        analyze_run(run, **settings)
