"""Overlap of labels, bootstrap intervals, and the curve of removal, against plain accounts of them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import (
    MaskResult,
    RemovalCurve,
    bootstrap_curve,
    bootstrap_mask,
    label_overlap,
    read_curve,
    removal_curve,
)
from workbench.analysis.removal.choose import (
    equally_active,
    order_scores,
    preference,
    random_experts,
    specialists,
)
from workbench.analysis.removal.curve_result import column
from workbench.analysis.removal.heldout import HeldOut
from workbench.analysis.removal.losses import Losses, document_losses
from workbench.analysis.sums import LabelSums
from workbench.analysis.windows import Windows
from workbench.errors import WorkbenchError
from workbench.store import Run

# overlap


def run_of(mass: dict[str, list[float]]) -> Any:
    """A run of one group with such masses of its experts by label."""
    table = pd.DataFrame({f"mass:{label}": values for label, values in mass.items()})
    return SimpleNamespace(labels=list(mass), groups=[0], experts=lambda group: table)


def test_overlap_by_hand() -> None:
    """Cores at 0.5: a {0}, b {2, 0}, c {0, 2}; masses are compared as parts of a label's own."""
    found = label_overlap(run_of({"a": [6, 2, 2], "b": [0.4, 0.2, 0.4], "c": [40, 20, 40]}), coverage=0.5)
    assert found.core.to_dict() == {"a": 1, "b": 2, "c": 2}
    assert found.jaccard.to_numpy().tolist() == [[1, 0.5, 0.5], [0.5, 1, 1], [0.5, 1, 1]]
    assert found.shared.to_numpy().round(9).tolist() == [[1, 0.8, 0.8], [0.8, 1, 1], [0.8, 1, 1]]
    assert found.to_json()["core"] == [1, 2, 2]


def test_overlap_of_a_run(run: Run) -> None:
    found = label_overlap(run, 0.3)
    tables = pd.concat([run.experts(group) for group in run.groups])
    cores = {}
    for label in run.labels:
        mass = tables[f"mass:{label}"].to_numpy() / tables[f"mass:{label}"].sum()
        order = np.argsort(-mass, kind="stable")
        size = int(np.searchsorted(np.cumsum(mass[order]), 0.3 - 1e-12)) + 1
        cores[label] = set(order[:size].tolist())
        assert found.core[label] == size
        for other in run.labels:
            theirs = tables[f"mass:{other}"].to_numpy() / tables[f"mass:{other}"].sum()
            assert found.shared.loc[label, other] == pytest.approx(1 - np.abs(mass - theirs).sum() / 2)
    for a in run.labels:
        for b in run.labels:
            assert found.jaccard.loc[a, b] == pytest.approx(len(cores[a] & cores[b]) / len(cores[a] | cores[b]))


@pytest.mark.parametrize("coverage", [0.0, 1.5, float("nan")])
def test_coverage_out_of_range_is_refused(run: Run, coverage: float) -> None:
    with pytest.raises(WorkbenchError, match="coverage must lie above 0"):
        label_overlap(run, coverage)


# intervals


def mask_of(documents: pd.DataFrame, labels: list[str]) -> MaskResult:
    """A result of masking that holds these documents' sums."""
    nothing = np.zeros((len(labels), len(labels)))
    return MaskResult(
        labels=labels,
        rows=labels,
        baseline=nothing[0],
        matrix=nothing,
        control=nothing,
        equal=nothing,
        baseline_accuracy=nothing[0],
        accuracy=nothing,
        removed_by_group=[[0] for _ in labels],
        documents=documents,
        ratio=2.0,
        min_tokens=1,
        seed=0,
    )


def measured(rng: np.random.Generator, documents: int, rise: float = 0.0) -> pd.DataFrame:
    """Sums of documents of two labels whose own loss rises by ``rise`` nats a token, give or take a document."""
    label = np.repeat(["a", "b"], documents)
    tokens = rng.integers(50, 500, 2 * documents).astype(float)
    loss = tokens * rng.normal(3.0, 0.5, 2 * documents)
    table = pd.DataFrame({"doc": range(2 * documents), "label": label, "tokens": tokens, "loss": loss})
    for row in ("a", "b"):
        own = rise * (label == row) + rng.normal(0, 0.1, 2 * documents)
        table[f"loss:{row}"] = loss + tokens * own
        for kind in ("control", "equal"):
            table[f"{kind}:{row}"] = loss + tokens * rng.normal(0, 0.1, 2 * documents)
    return table


def test_one_document_a_label_leaves_no_spread() -> None:
    table = measured(np.random.default_rng(0), 1, rise=1.0)
    found = bootstrap_mask(mask_of(table, ["a", "b"]), samples=20)
    expected = [
        [(table[f"loss:{row}"] - table["loss"])[n] / table["tokens"][n] for n in range(2)] for row in ("a", "b")
    ]
    assert found.matrix[0] == pytest.approx(np.array(expected))
    assert found.matrix[1] == pytest.approx(np.array(expected))
    assert found.delta_target.tolist() == pytest.approx([np.trace(expected) / 2] * 2)


def test_intervals_equal_a_plain_bootstrap() -> None:
    """Documents drawn one by one; the ends of two large bootstraps agree to their sampling error."""
    table = measured(np.random.default_rng(1), 12, rise=0.5)
    found = bootstrap_mask(mask_of(table, ["a", "b"]), samples=4000, level=0.9)
    columns = ["tokens", "loss", "loss:a", "loss:b"]
    parts = {label: part[columns].to_numpy() for label, part in table.groupby("label")}
    rng, target, others = np.random.default_rng(9), [], []
    for _ in range(4000):
        rise = {}
        for label, part in parts.items():
            tokens, loss, *edited = part[rng.integers(0, 12, 12)].sum(0)
            rise[label] = [(e - loss) / tokens for e in edited]
        target.append((rise["a"][0] + rise["b"][1]) / 2)
        others.append((rise["a"][1] + rise["b"][0]) / 2)
    assert found.delta_target == pytest.approx(np.quantile(target, [0.05, 0.95]), abs=0.006)
    assert found.delta_others == pytest.approx(np.quantile(others, [0.05, 0.95]), abs=0.006)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(100):
        table = measured(np.random.default_rng(seed), 25, rise=0.3)
        low, high = bootstrap_mask(mask_of(table, ["a", "b"]), samples=300, level=0.9, seed=seed).delta_target
        held += low <= 0.3 <= high
    assert 78 <= held <= 98


def test_an_infinite_selectivity_is_null() -> None:
    """Where the others fall in some draws, the upper end has no number."""
    found = bootstrap_mask(mask_of(measured(np.random.default_rng(3), 10, rise=0.5), ["a", "b"]), samples=200)
    assert found.delta_others[0] < 0
    assert np.isinf(found.selectivity[1])
    answer = found.to_json()
    assert answer["selectivity"][1] is None
    assert answer["delta_target"] == found.delta_target.tolist()


def test_the_same_seed_draws_the_same_documents() -> None:
    result = mask_of(measured(np.random.default_rng(4), 10), ["a", "b"])
    first, again, other = (bootstrap_mask(result, samples=50, seed=seed).to_json() for seed in (1, 1, 2))
    assert first == again
    assert first != other


# the curve


@pytest.fixture
def sums(run: Run) -> list[LabelSums]:
    """The choosing part of a run, by group."""
    return [HeldOut.split(run, 0).choosing_sums(group) for group in run.groups]


def test_preference_by_hand() -> None:
    """Two labels of 10 tokens; the second expert was seen once, the third never."""
    sums = LabelSums(np.array([[4.0, 0.5, 0], [1.0, 0, 0]]), np.array([[8, 1, 0], [2, 0, 0]]), np.array([10, 10]))
    extra = np.array([0.05, 0.05])  # a token of the mean score, in 10
    expected = [(0.4 + extra[0]) / (0.1 + extra[0]), (0.05 + extra[1]) / (0 + extra[1]), 1]
    assert preference(sums, 0).tolist() == pytest.approx(expected)
    found = order_scores(sums, "preference", min_tokens=2)
    assert found[0].tolist() == pytest.approx([expected[0], -np.inf, -np.inf])
    assert found[1, 0] == preference(sums, 1)[0] < 1


def test_the_order_by_ratio_is_the_papers_rule(sums: list[LabelSums]) -> None:
    """At any threshold it removes the specialists of that ratio."""
    for group in sums:
        for ratio in (1.5, 2.0, 4.0):
            scores = order_scores(group, "ratio", min_tokens=3)
            for label, expected in enumerate(specialists(group, ratio, 3)):
                assert np.flatnonzero(scores[label] >= ratio).tolist() == expected.tolist()
    alone = LabelSums(np.array([[4.0, 1.0, 0], [0, 0.5, 0]]), np.array([[4, 1, 0], [0, 1, 0]]), np.array([10, 10]))
    assert order_scores(alone, "ratio", 0).tolist() == [[np.inf, 2, 0], [0, 0.5, 0]]


def test_an_unknown_order_is_refused(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(WorkbenchError, match="there is no order 'alphabet'; there are preference, ratio"):
        removal_curve(run, model, order="alphabet")


def test_controls_are_others_as_many_and_as_active(sums: list[LabelSums], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.analysis.removal.choose.STRATA", 16)
    rng = np.random.default_rng(0)
    for group in sums:
        mass = group.mass.sum(0)
        active = np.flatnonzero(group.tokens.sum(0))
        chosen = active[np.argsort(-mass[active])][10:70:2]
        equal = equally_active(group, chosen, rng)
        assert len(set(equal)) == len(equal) == len(chosen)
        assert not set(equal) & set(chosen)
        assert mass[equal].sum() == pytest.approx(mass[chosen].sum(), rel=0.2)
        drawn = random_experts(group, len(chosen), rng)
        assert len(set(drawn)) == len(chosen)
        assert set(drawn) <= set(active)
        assert mass[drawn].sum() < 0.95 * mass[chosen].sum()


def test_a_stratum_that_is_short_borrows_from_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the most active stratum is taken, so the next ones give its share."""
    monkeypatch.setattr("workbench.analysis.removal.choose.STRATA", 3)
    mass = np.arange(9.0, 0.0, -1.0)
    group = LabelSums(mass[None], np.ones((1, 9), int), np.array([9]))
    for seed in range(10):
        found = equally_active(group, np.array([0, 1, 2, 8]), np.random.default_rng(seed))
        assert found[:3].tolist() == [3, 4, 5]
        assert found[3] in (6, 7)
        last = equally_active(group, np.array([0, 6, 7, 8]), np.random.default_rng(seed))
        assert last[-2:].tolist() == [4, 5]


def test_points_equal_single_measurements(run: Run, model: MonetForCausalLM, sums: list[LabelSums]) -> None:
    """Every point anew: its experts removed by hand, the measuring part read once more."""
    curve = removal_curve(run, model, thresholds=(1.5, 4.0, 2.0), budget=10.0, min_tokens=4)
    heldout = HeldOut.split(run, 0)
    windows, label = heldout.measuring_windows(), heldout.measuring["label"].to_numpy()
    plain = document_losses(model, windows, {}).mean_loss(label)
    chosen = curve.points[curve.points["kind"] == "chosen"]
    assert chosen["threshold"].tolist() == [4.0] * 3 + [2.0] * 3 + [1.5] * 3
    for point in chosen.itertuples():
        number = run.labels.index(point.label)
        edits, removed = {}, 0
        for layer, group in zip(run.group_layers, sums, strict=True):
            gone = (preference(group, number) >= point.threshold) & (group.tokens.sum(0) >= 4)
            edits[layer] = torch.from_numpy(1.0 - gone).float().view(run.num_keys, run.num_keys)
            removed += int(gone.sum())
        rise = document_losses(model, windows, edits).mean_loss(label) - plain
        assert point.removed == removed
        assert point.target == pytest.approx(rise[number], abs=1e-6)
        assert point.others == pytest.approx(np.delete(rise, number).mean(), abs=1e-6)
    assert curve.at_budget() is None
    controls = curve.points[curve.points["kind"] != "chosen"]
    assert sorted(set(zip(controls["kind"], controls["threshold"], strict=True))) == [
        (kind, threshold) for kind in ("equal", "random") for threshold in (1.5, 2.0)
    ]
    sizes = chosen.set_index(["threshold", "label"])["removed"]
    for point in controls.itertuples():
        assert point.removed == sizes[point.threshold, point.label]
    by_label = curve.documents.groupby("label").sum(numeric_only=True).loc[run.labels]
    for point in curve.points.itertuples():
        rise = (by_label[column(point.kind, point.threshold, point.label)] - by_label["loss"]) / by_label["tokens"]
        assert point.target == pytest.approx(rise[point.label], abs=1e-12)


def test_the_curve_stops_past_its_budget_and_is_kept(
    run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose every loss rises by 0.01 nats with each threshold: 0.03 is reached at the third of four."""
    passes: list[int] = []

    def rising(model: Any, windows: Windows, edits: Any, report: Any) -> Losses:
        passes.append(len(edits))
        step = -(-(len(passes) - 1) // 3)
        tokens = np.ones(windows.documents)
        return Losses((3 + 0.01 * step) * tokens, tokens, tokens)

    monkeypatch.setattr("workbench.analysis.removal.curve.document_losses", rising)
    assert read_curve(run) is None
    curve = removal_curve(run, model, thresholds=(2.0, 1.8, 1.6, 1.4), budget=0.025)
    chosen = curve.means.loc["chosen"]
    assert chosen.index.tolist() == [2.0, 1.8, 1.6]
    assert chosen["others"].tolist() == pytest.approx([0.01, 0.02, 0.03])
    assert curve.means.loc["random"].index.tolist() == curve.means.loc["equal"].index.tolist() == [1.8, 1.6]
    found = curve.at_budget()
    assert found is not None
    assert found["chosen"]["target"] == pytest.approx(0.025)
    kept = read_curve(run)
    assert isinstance(kept, RemovalCurve)
    assert kept.to_json() == curve.to_json()
    pd.testing.assert_frame_equal(kept.documents, curve.documents)
    path = run.analysis_path("curve.json")
    path.write_text(json.dumps({name: value for name, value in curve.to_json().items() if name != "order"}))
    assert read_curve(run) is None  # as an older version left it


def test_nothing_removed_is_not_measured_again(
    run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []

    def counting(*arguments: Any) -> Losses:
        passes.append(len(passes))
        return document_losses(*arguments)

    monkeypatch.setattr("workbench.analysis.removal.curve.document_losses", counting)
    curve = removal_curve(run, model, thresholds=(1e6, 1e5))
    assert len(passes) == 1
    assert (curve.points[["removed", "target", "others"]] == 0).all(axis=None)


def test_the_curve_is_read_at_its_budget() -> None:
    """Others rise by 0.01, then 0.03: the budget of 0.02 lies half way."""
    rows = []
    for threshold, removed, others, target in ((4.0, 10, 0.01, 0.2), (2.0, 30, 0.03, 0.6)):
        for label, more in (("a", 0.0), ("b", 0.1)):
            row = {"threshold": threshold, "label": label, "removed": removed}
            rows.append(row | {"kind": "chosen", "target": target + more, "others": others})
            rows.append(row | {"kind": "random", "target": 0.01 * others, "others": others})
    nothing = pd.DataFrame()
    curve = RemovalCurve(["a", "b"], "preference", 0.02, pd.DataFrame(rows), nothing, 1, 0)
    found = curve.at_budget()
    assert found is not None
    assert found["chosen"] == pytest.approx({"removed": 20, "target": 0.45, "others": 0.02})
    assert found["random"] == pytest.approx({"removed": 20, "target": 0.0002, "others": 0.02})
    first = RemovalCurve(["a", "b"], "preference", 0.005, pd.DataFrame(rows), nothing, 1, 0).at_budget()
    assert first is not None
    assert first["chosen"] == pytest.approx({"removed": 5, "target": 0.125, "others": 0.005})
    assert RemovalCurve(["a", "b"], "preference", 0.04, pd.DataFrame(rows), nothing, 1, 0).at_budget() is None


def curve_of(rng: np.random.Generator, documents: int, others: list[float], targets: list[float]) -> RemovalCurve:
    """A curve over documents of two labels whose losses rise by so much at each threshold, give or take a document."""
    label = np.repeat(["a", "b"], documents)
    tokens = rng.integers(50, 500, 2 * documents).astype(float)
    table = pd.DataFrame({"doc": range(2 * documents), "label": label, "tokens": tokens})
    table["loss"] = tokens * rng.normal(3.0, 0.5, 2 * documents)
    sizes = table.groupby("label")["tokens"].sum()
    points = []
    for threshold, other, target in zip(range(len(others), 0, -1), others, targets, strict=True):
        for row in ("a", "b"):
            extra = tokens * np.where(label == row, target, other) * rng.uniform(0.5, 1.5, 2 * documents)
            table[column("chosen", threshold, row)] = table["loss"] + extra
            rise = {name: extra[label == name].sum() / sizes[name] for name in ("a", "b")}
            point = {"threshold": float(threshold), "kind": "chosen", "label": row, "removed": 1, "target": rise[row]}
            points.append(point | {"others": rise["b" if row == "a" else "a"]})
    return RemovalCurve(["a", "b"], "preference", 0.02, pd.DataFrame(points), table, 1, 0)


def test_intervals_of_a_curve_equal_a_plain_bootstrap() -> None:
    curve = curve_of(np.random.default_rng(5), 12, others=[0.008, 0.015, 0.04], targets=[0.2, 0.5, 0.9])
    found = bootstrap_curve(curve, samples=4000, level=0.9)
    rng, read, ends = np.random.default_rng(8), [], []
    parts = dict(list(curve.documents.groupby("label")))
    for _ in range(1500):
        drawn = {label: part.iloc[rng.integers(0, 12, 12)].sum(numeric_only=True) for label, part in parts.items()}
        others, targets = [0.0], [0.0]
        for threshold in (3, 2, 1):
            rise = {
                (row, label): (sums[column("chosen", threshold, row)] - sums["loss"]) / sums["tokens"]
                for row in ("a", "b")
                for label, sums in drawn.items()
            }
            targets.append((rise["a", "a"] + rise["b", "b"]) / 2)
            others.append((rise["a", "b"] + rise["b", "a"]) / 2)
        read.append(np.interp(0.02, others, targets))
        ends.append(targets[-1])
    assert found.at_budget == pytest.approx(np.quantile(read, [0.05, 0.95]), abs=0.02)
    row = found.points.loc[("chosen", 1.0)]
    assert row[["target_low", "target_high"]].tolist() == pytest.approx(np.quantile(ends, [0.05, 0.95]), abs=0.02)


def test_one_document_a_label_leaves_a_curve_no_spread() -> None:
    """Its draws are the curve itself, so both ends are what the curve reads at the budget; past its end, at its end."""
    curve = curve_of(np.random.default_rng(6), 1, others=[0.01, 0.05], targets=[0.3, 0.7])
    read = curve.at_budget()
    assert read is not None
    assert bootstrap_curve(curve, samples=10).at_budget.tolist() == pytest.approx([read["chosen"]["target"]] * 2)
    short = curve_of(np.random.default_rng(6), 1, others=[0.001, 0.002], targets=[0.3, 0.7])
    end = short.means.loc[("chosen", 1.0), "target"]
    assert bootstrap_curve(short, samples=10).at_budget.tolist() == pytest.approx([end] * 2)


@pytest.mark.parametrize("thresholds", [[], [2.0, 0.0], [-1.0], [float("nan")]])
def test_thresholds_that_make_no_sense_are_refused(run: Run, model: MonetForCausalLM, thresholds: list[float]) -> None:
    with pytest.raises(WorkbenchError, match="thresholds must be positive numbers"):
        removal_curve(run, model, thresholds=thresholds)


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_budgets_that_make_no_sense_are_refused(run: Run, model: MonetForCausalLM, budget: float) -> None:
    with pytest.raises(WorkbenchError, match="a rise in nats above 0"):
        removal_curve(run, model, budget=budget)
