"""Masking: the choice, the controls and the measurement, against a plain account of each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import (
    analyze_run,
    bootstrap_curve,
    mask_labels,
    read_analysis,
    read_curve,
    read_mask,
    removal_curve,
)
from workbench.analysis.defaults import MIN_TOKENS, ORDER, RATIO
from workbench.analysis.removal import curve, mask
from workbench.analysis.removal.choose import order_scores, specialists
from workbench.analysis.removal.heldout import HeldOut
from workbench.checkpoint import load_model
from workbench.errors import NotAnalysedError, WorkbenchError
from workbench.store import Run, open_run

Cut = Callable[[list[int], int, int], list[tuple[list[int], int]]]


@contextmanager
def broken_off(module: ModuleType, at: int = -1) -> Iterator[list[int]]:
    """Ctrl-C at the ``at``-th pass of a model, counted from 1; holds the numbers of the passes."""
    measure, passes = module.document_losses, []

    def measured(*args: Any) -> Any:
        passes.append(len(passes) + 1)
        if passes[-1] == at:
            raise KeyboardInterrupt
        return measure(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "document_losses", measured)
        yield passes


def files(run: Run, kind: str = "mask") -> dict[str, bytes]:
    """A result's files."""
    return {path.name: path.read_bytes() for path in (run.path / "analysis").glob(f"{kind}*") if path.is_file()}


def plain_account(run: Run, model: MonetForCausalLM, ratio: float, min_tokens: int, cut: Cut) -> dict[str, Any]:
    """Masking written out: dense scores of the choosing part, one window at a time through the edited model."""
    documents = HeldOut.split(run, 0).documents
    factors: dict[str, dict[int, torch.Tensor]] = {label: {} for label in run.labels}
    removed: dict[str, list[int]] = {label: [] for label in run.labels}
    for group, layer in zip(run.groups, run.group_layers, strict=True):
        rates, active = [], torch.zeros(run.num_keys, run.num_keys)
        for number in range(len(run.labels)):
            mine = documents[(documents["label"] == number) & ~documents["measures"]]
            rows = np.concatenate([np.arange(d.row, d.row + d.tokens) for d in mine.itertuples()])
            g1, g2 = run.routing(rows, group).dense()
            scores = torch.einsum("thi,thj->tij", g1, g2)
            rates.append(scores.sum(0) / len(rows))
            active += (scores > 0).sum(0)
        first, second = torch.stack(rates).topk(2, dim=0).values
        chosen = (first >= ratio * second) & (active >= min_tokens)
        for number, label in enumerate(run.labels):
            gone = chosen & (torch.stack(rates).argmax(0) == number)
            factors[label][layer] = 1.0 - gone.float()
            removed[label].append(int(gone.sum()))
    measuring = documents[documents["measures"]]

    @torch.no_grad()
    def measure(edits: dict[int, torch.Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        sums = np.zeros((3, len(run.labels)))
        context = run.manifest["settings"]["context"]
        for d in measuring.itertuples():
            bos = [d.bos] if pd.notna(d.bos) else []
            ids = bos + run.tokens(slice(d.row, d.row + d.tokens))["token"].tolist()
            for read, again in cut(ids, len(bos), context):
                with model.edit_experts(edits):
                    logits = model(torch.tensor([read])).logits[0, max(0, again - 1) : -1].double()
                following = torch.tensor(read[max(1, again) :])
                log_p = logits.log_softmax(-1)[torch.arange(len(logits)), following]
                hits = (logits.argmax(-1) == following).sum()
                sums[:, d.label] += [-float(log_p.sum()), len(logits), int(hits)]
        return sums[0] / sums[1], sums[1], sums[2] / sums[1]

    baseline, tokens, accuracy = measure({})
    masked = [measure(factors[label]) for label in run.labels]
    return {
        "baseline": baseline,
        "tokens": tokens,
        "baseline_accuracy": accuracy,
        "matrix": np.stack([m[0] for m in masked]) - baseline,
        "accuracy": np.stack([m[2] for m in masked]),
        "removed_by_group": [removed[label] for label in run.labels],
    }


def test_mask_labels_equals_a_plain_account(run: Run, model: MonetForCausalLM, cut: Cut) -> None:
    found = mask_labels(run, model, min_tokens=7, ratio=1.8)
    expected = plain_account(run, model, ratio=1.8, min_tokens=7, cut=cut)
    assert found.labels == found.rows == run.labels
    assert found.removed_by_group == expected["removed_by_group"]
    assert found.removed == [sum(row) for row in expected["removed_by_group"]]
    assert min(found.removed) > 0
    for name in ("baseline", "matrix", "baseline_accuracy", "accuracy"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-5), name
    own = np.eye(3, dtype=bool)
    assert found.delta_target == pytest.approx(found.matrix[own].mean())
    assert found.delta_others == pytest.approx(found.matrix[~own].mean())
    assert found.perplexity == pytest.approx(np.exp(expected["baseline"] + expected["matrix"]), rel=1e-4)
    tokens = found.documents.groupby("label")["tokens"].sum()
    assert [tokens[label] for label in run.labels] == expected["tokens"].tolist()


def test_mask_documents_sum_to_the_matrix(run: Run, model: MonetForCausalLM) -> None:
    found = mask_labels(run, model)
    by_label = found.documents.drop(columns="doc").groupby("label").sum().loc[run.labels]
    rates = by_label.div(by_label["tokens"], axis=0)
    assert rates["loss"].to_numpy() == pytest.approx(found.baseline)
    for number, label in enumerate(run.labels):
        assert (rates[f"loss:{label}"] - rates["loss"]).to_numpy() == pytest.approx(found.matrix[number], abs=1e-12)
        assert (rates[f"control:{label}"] - rates["loss"]).to_numpy() == pytest.approx(found.control[number], abs=1e-12)
        assert (rates[f"equal:{label}"] - rates["loss"]).to_numpy() == pytest.approx(
            found.activity_matched[number], abs=1e-12
        )


def test_mask_controls_ablate_as_many_active_experts(
    run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits: list[dict[int, torch.Tensor]] = []
    original = type(model).edit_experts
    monkeypatch.setattr(type(model), "edit_experts", lambda self, e: edits.append(e) or original(self, e))
    mask_labels(run, model, min_tokens=3)
    assert edits[0] == {}
    assert len(edits) == 1 + 3 * 3
    sums = [HeldOut.split(run, 0).choosing_sums(group) for group in run.groups]
    for masked, control, equal in zip(edits[1::3], edits[2::3], edits[3::3], strict=True):
        for layer in run.group_layers:
            assert (equal[layer] == 0).sum() == (masked[layer] == 0).sum()
            assert not ((equal[layer] == 0) & (masked[layer] == 0)).any()
            gone = control[layer].flatten() == 0
            assert gone.sum() == (masked[layer] == 0).sum() > 0
            assert not torch.equal(control[layer], masked[layer])
            assert (sums[run.group_layers.index(layer)].tokens.sum(0)[gone.numpy()] > 0).all()
            assert set(control[layer].unique().tolist()) == {0.0, 1.0}


def test_mask_labels_depends_on_the_seed_alone(run: Run, model: MonetForCausalLM) -> None:
    first, again, other = (mask_labels(run, model, seed=seed).to_json() for seed in (3, 3, 4))
    assert first == again
    assert first["matrix"] != other["matrix"]


def test_mask_labels_with_no_specialised_experts_changes_nothing(run: Run, model: MonetForCausalLM) -> None:
    found = mask_labels(run, model, min_tokens=10**6)
    assert found.removed == [0, 0, 0]
    assert (found.matrix == 0).all()
    assert (found.control == 0).all()
    assert (found.activity_matched == 0).all()
    assert np.isnan(found.selectivity)
    assert found.to_json()["selectivity"] is None


def test_mask_labels_keeps_a_result_for_some_labels_only_under_a_name(run: Run, model: MonetForCausalLM) -> None:
    found = mask_labels(run, model, labels=["lisp", "lisp"])
    assert found.rows == ["lisp"]
    assert found.labels == run.labels
    assert read_mask(run) is None
    mask_labels(run, model, labels=["lisp"], name="lisp-only")
    assert read_mask(run) is None
    named = read_mask(run, "lisp-only")
    assert named is not None
    assert named.to_json() == found.to_json()
    everything = mask_labels(run, model)
    assert found.matrix[0] == pytest.approx(everything.matrix[2], abs=1e-12)
    assert found.control[0] == pytest.approx(everything.control[2], abs=1e-12)
    assert found.delta_target == pytest.approx(found.matrix[0, 2])
    assert found.delta_others == pytest.approx(found.matrix[0, :2].mean())


def test_mask_labels_refuses_an_unknown_label(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(WorkbenchError, match="has no label 'perl'; it has ada, c, lisp"):
        mask_labels(run, model, labels=["ada", "perl"])


def test_mask_labels_refuses_a_rule_out_of_range(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(WorkbenchError, match="ratio must be"):
        mask_labels(run, model, ratio=0.0)


def test_mask_labels_refuses_a_run_of_one_label(run: Run, model: MonetForCausalLM) -> None:
    run.labels = ["ada"]
    with pytest.raises(WorkbenchError, match="has one label, 'ada'"):
        mask_labels(run, model)


def test_only_confirmed_experts_are_removed_where_asked(text_run_path: Path, tmp_path: Path) -> None:
    shutil.copytree(text_run_path, tmp_path / "run")
    run = open_run(tmp_path / "run")
    model = load_model(run.model_path)
    with pytest.raises(NotAnalysedError):
        mask_labels(run, model, confirmed=True)
    with pytest.raises(NotAnalysedError):
        removal_curve(run, model, confirmed=True)
    analyze_run(run, permutations=50)
    label, heldout = run.labels[0], HeldOut.split(run, 0)
    both, sizes = [], []
    for group in run.groups:
        sure = set(read_analysis(run, group).query("confirmed").index)
        sums = heldout.choosing_sums(group)
        both.append(len(sure & set(specialists(sums, RATIO, MIN_TOKENS)[0])))
        sizes.append(len(sure & set(np.flatnonzero(order_scores(sums, ORDER, MIN_TOKENS)[0] >= 2.0))))
    result = mask_labels(run, model, labels=[label], confirmed=True, name="sure")
    assert result.removed_by_group == [both]
    assert 0 < sum(both) < mask_labels(run, model, labels=[label]).removed[0]
    kept = read_mask(run, "sure")
    assert kept is not None
    assert kept.confirmed
    assert read_mask(run) is None  # of some labels, it takes no other's place
    curve = removal_curve(run, model, labels=[label], thresholds=[2.0], confirmed=True)
    assert curve.rows == [label]
    assert curve.points.query("kind == 'chosen'")["removed"].tolist() == [sum(sizes)]
    assert curve.confirmed
    assert read_curve(run) is None


def test_a_curve_of_some_labels_has_their_points(run: Run, model: MonetForCausalLM) -> None:
    every = removal_curve(run, model, thresholds=[2.0], budget=10.0, min_tokens=4)
    some = removal_curve(run, model, labels=run.labels[:2], thresholds=[2.0], budget=10.0, min_tokens=4, name="some")
    assert (every.rows, some.rows) == (run.labels, run.labels[:2])
    expected = every.points[every.points["label"].isin(some.rows)].reset_index(drop=True)
    pd.testing.assert_frame_equal(some.points, expected)
    intervals = bootstrap_curve(some, samples=200).points
    assert (intervals["target_low"] <= some.means["target"]).all()
    assert (some.means["target"] <= intervals["target_high"]).all()


def test_a_broken_mask_leaves_the_earlier_one_and_goes_on(run: Run, model: MonetForCausalLM) -> None:
    settings: dict[str, Any] = {"ratio": 1.2, "min_tokens": 2}
    mask_labels(run, model, **settings)
    before, after, folder = files(run), len(run.labels) + 2, run.path / "analysis" / "mask.state"
    with broken_off(mask, after), pytest.raises(KeyboardInterrupt):
        mask_labels(run, model, **settings, seed=3)
    assert files(run) == before
    assert folder.is_dir()
    with pytest.raises(WorkbenchError, match="differs in experts, seed"):
        mask_labels(run, model, **settings, resume=True)
    with broken_off(mask) as passes:
        mask_labels(run, model, **settings, seed=3, resume=True)
    assert len(passes) == 1 + 3 * len(run.labels) - (after - 1)
    assert not folder.exists()
    resumed = files(run)
    mask_labels(run, model, **settings, seed=3)
    assert files(run) == resumed != before


def test_a_mask_that_is_not_stored_keeps_and_resumes_nothing(run: Run, model: MonetForCausalLM) -> None:
    settings: dict[str, Any] = {"ratio": 1.2, "min_tokens": 2}
    with broken_off(mask, 2), pytest.raises(KeyboardInterrupt):
        mask_labels(run, model, **settings)
    with broken_off(mask, 2), pytest.raises(KeyboardInterrupt):
        mask_labels(run, model, **settings, labels=run.labels[:1])
    with pytest.raises(WorkbenchError, match="--name"):
        mask_labels(run, model, **settings, labels=run.labels[:1], resume=True)
    with broken_off(mask) as passes:  # what was broken off before is still there
        mask_labels(run, model, **settings, resume=True)
    assert len(passes) == 3 * len(run.labels)


def test_a_broken_curve_goes_on_to_the_same_bytes(run: Run, model: MonetForCausalLM) -> None:
    settings: dict[str, Any] = {"thresholds": [2, 1.5, 1.2], "budget": 10, "min_tokens": 2}
    with broken_off(curve, 4), pytest.raises(KeyboardInterrupt):
        removal_curve(run, model, **settings)
    with pytest.raises(WorkbenchError, match="differs in budget"):
        removal_curve(run, model, **settings | {"budget": 9}, resume=True)
    with broken_off(curve) as passes:
        removal_curve(run, model, **settings, resume=True)
    resumed = files(run, "curve")
    with broken_off(curve) as all_passes:
        removal_curve(run, model, **settings)
    assert len(passes) == len(all_passes) - 3
    assert files(run, "curve") == resumed
    assert set(resumed) == {"curve.json", "curve-points.parquet", "curve-documents.parquet"}
