"""The forget/retain trade-off curve: its points against single measurements, and where it stops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import RemovalCurve, read_curve, removal_curve
from workbench.analysis.removal.choose import preference
from workbench.analysis.removal.curve_result import column
from workbench.analysis.removal.heldout import HeldOut
from workbench.analysis.removal.losses import DocumentLosses, document_losses
from workbench.analysis.sums import LabelSums
from workbench.analysis.windows import Windows
from workbench.errors import WorkbenchError
from workbench.store import Run


@pytest.fixture
def sums(run: Run) -> list[LabelSums]:
    """The choosing part of a run, by group."""
    return [HeldOut.split(run, 0).choosing_sums(group) for group in run.groups]


def test_curve_points_equal_single_measurements(run: Run, model: MonetForCausalLM, sums: list[LabelSums]) -> None:
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


def test_removal_curve_stops_past_its_budget_and_is_kept(
    run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose every loss rises by 0.01 nats with each threshold: 0.03 is reached at the third of four."""
    passes: list[int] = []

    def rising(model: Any, windows: Windows, edits: Any, report: Any) -> DocumentLosses:
        passes.append(len(edits))
        step = -(-(len(passes) - 1) // 3)
        tokens = np.ones(windows.documents)
        return DocumentLosses((3 + 0.01 * step) * tokens, tokens, tokens)

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


def test_removal_curve_does_not_measure_nothing_ablated_again(
    run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []

    def counting(*arguments: Any) -> DocumentLosses:
        passes.append(len(passes))
        return document_losses(*arguments)

    monkeypatch.setattr("workbench.analysis.removal.curve.document_losses", counting)
    curve = removal_curve(run, model, thresholds=(1e6, 1e5))
    assert len(passes) == 1
    assert (curve.points[["removed", "target", "others"]] == 0).all(axis=None)


@pytest.mark.parametrize("thresholds", [[], [2.0, 0.0], [-1.0], [float("nan")]])
def test_curve_refuses_thresholds_out_of_range(run: Run, model: MonetForCausalLM, thresholds: list[float]) -> None:
    with pytest.raises(WorkbenchError, match="thresholds must be positive numbers"):
        removal_curve(run, model, thresholds=thresholds)


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_removal_curve_refuses_budgets_out_of_range(run: Run, model: MonetForCausalLM, budget: float) -> None:
    with pytest.raises(WorkbenchError, match="a rise in nats above 0"):
        removal_curve(run, model, budget=budget)
