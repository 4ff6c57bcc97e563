"""Masking: the split, the choice and the measurement, each against a plain account of it; what is kept and refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuda_ext.routing import Routing
from monet_model import MonetForCausalLM
from workbench.analysis import MaskResult, mask_labels, read_mask
from workbench.analysis.removal.heldout import HeldOut, split_documents
from workbench.analysis.sums import LEFT_OUT, label_sums
from workbench.errors import WorkbenchError
from workbench.store import Run

# the split


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 500)), min_size=1, max_size=40), st.integers(0, 5))
def test_both_parts_have_each_label_and_one_in_four_tokens_measures(
    documents: list[tuple[int, int]], seed: int
) -> None:
    label, tokens = np.array(documents).T
    measures = split_documents(label, tokens, seed)
    assert (measures == split_documents(label, tokens, seed)).all()
    for number in set(label.tolist()):
        mine = label == number
        measuring, choosing = tokens[mine & measures].sum(), tokens[mine & ~measures].sum()
        assert -tokens[mine].max() <= 3 * measuring - choosing <= 3 * tokens[mine].max()
        assert choosing > 0
        assert mine.sum() < 2 or measuring > 0


def test_seeds_split_differently() -> None:
    label, tokens = np.zeros(30, int), np.full(30, 10)
    splits = {tuple(split_documents(label, tokens, seed)) for seed in range(5)}
    assert len(splits) == 5


def test_documents_are_in_one_part(run: Run) -> None:
    """Too short ones, where nothing is predicted, are in none."""
    heldout = HeldOut.split(run, 0)
    assert heldout.documents["doc"].is_unique
    assert set(heldout.documents["doc"]) == set(run.documents.query("tokens > 1")["doc"])
    assert heldout.measuring["measures"].all()
    assert 0 < len(heldout.measuring) < len(heldout.documents)


# sums by label


@given(seed=st.integers(0, 1000), tokens=st.integers(1, 12))
def test_sums_equal_dense_sums(seed: int, tokens: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    g1, g2 = torch.rand(2, tokens, 2, 5, generator=generator).square()
    g1, g2 = g1 * (g1 > 0.4), g2 * (g2 > 0.4)
    label = torch.randint(LEFT_OUT, 3, (tokens,), generator=generator).numpy()
    cut = tokens // 2
    parts = [(Routing.from_dense(g1[s], g2[s]), label[s]) for s in (slice(0, cut), slice(cut, None)) if len(label[s])]
    found = label_sums(parts, 5, 3)
    score = torch.einsum("thi,thj->tij", g1, g2).flatten(1).numpy()
    for number in range(3):
        mine = score[label == number]
        assert found.mass[number] == pytest.approx(mine.sum(0), rel=1e-5)
        assert found.tokens[number].tolist() == (mine > 0).sum(0).tolist()
        assert found.label_tokens[number] == len(mine)


# the measurement


def plain_account(run: Run, model: MonetForCausalLM, ratio: float, min_tokens: int) -> dict[str, Any]:
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
            ids = [d.bos] if pd.notna(d.bos) else []
            ids += run.tokens(slice(d.row, d.row + d.tokens))["token"].tolist()
            for start in range(0, len(ids), context):
                window = torch.tensor([ids[start : start + context]])
                with model.edit_experts(edits):
                    logits = model(window).logits[0, :-1].double()
                log_p = logits.log_softmax(-1)[torch.arange(len(logits)), window[0, 1:]]
                hits = (logits.argmax(-1) == window[0, 1:]).sum()
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


def test_masking_equals_a_plain_account(run: Run, model: MonetForCausalLM) -> None:
    found = mask_labels(run, model, min_tokens=7, ratio=1.8)
    expected = plain_account(run, model, ratio=1.8, min_tokens=7)
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


def test_document_sums_give_the_matrix(run: Run, model: MonetForCausalLM) -> None:
    found = mask_labels(run, model)
    by_label = found.documents.drop(columns="doc").groupby("label").sum().loc[run.labels]
    rates = by_label.div(by_label["tokens"], axis=0)
    assert rates["loss"].to_numpy() == pytest.approx(found.baseline)
    for number, label in enumerate(run.labels):
        assert (rates[f"loss:{label}"] - rates["loss"]).to_numpy() == pytest.approx(found.matrix[number], abs=1e-12)
        assert (rates[f"control:{label}"] - rates["loss"]).to_numpy() == pytest.approx(found.control[number], abs=1e-12)
        assert (rates[f"equal:{label}"] - rates["loss"]).to_numpy() == pytest.approx(found.equal[number], abs=1e-12)


def test_the_controls_remove_as_many_active_experts(
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


def test_same_seed_same_result_other_seed_another(run: Run, model: MonetForCausalLM) -> None:
    first, again, other = (mask_labels(run, model, seed=seed).to_json() for seed in (3, 3, 4))
    assert first == again
    assert first["matrix"] != other["matrix"]


def test_a_rule_that_chooses_nobody_changes_nothing(run: Run, model: MonetForCausalLM) -> None:
    found = mask_labels(run, model, min_tokens=10**6)
    assert found.removed == [0, 0, 0]
    assert (found.matrix == 0).all()
    assert (found.control == 0).all()
    assert (found.equal == 0).all()
    assert np.isnan(found.selectivity)
    assert found.to_json()["selectivity"] is None


# what is kept


def test_a_result_of_an_older_version_counts_as_none(run: Run, model: MonetForCausalLM) -> None:
    mask_labels(run, model)
    path = run.analysis_path("mask.json")
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if not k.startswith("equal")}))
    assert read_mask(run) is None


def test_a_run_keeps_its_result(run: Run, model: MonetForCausalLM) -> None:
    assert read_mask(run) is None
    found = mask_labels(run, model)
    kept = read_mask(run)
    assert isinstance(kept, MaskResult)
    assert kept.to_json() == found.to_json()
    pd.testing.assert_frame_equal(kept.documents, found.documents)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False)) == found.to_json()
    assert {"labels", "matrix", "removed", "delta_target", "delta_others", "selectivity"} <= set(found.to_json())


def test_some_labels_are_measured_but_not_kept(run: Run, model: MonetForCausalLM) -> None:
    found = mask_labels(run, model, labels=["lisp", "lisp"])
    assert found.rows == ["lisp"]
    assert found.labels == run.labels
    assert read_mask(run) is None
    everything = mask_labels(run, model)
    assert found.matrix[0] == pytest.approx(everything.matrix[2], abs=1e-12)
    assert found.control[0] == pytest.approx(everything.control[2], abs=1e-12)
    assert found.delta_target == pytest.approx(found.matrix[0, 2])
    assert found.delta_others == pytest.approx(found.matrix[0, :2].mean())


# what is refused


def test_unknown_labels_are_refused(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(WorkbenchError, match="there is no label 'perl' in .*; it has ada, c, lisp"):
        mask_labels(run, model, labels=["ada", "perl"])


def test_rules_that_make_no_sense_are_refused(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(WorkbenchError, match="ratio must be"):
        mask_labels(run, model, ratio=0.0)


def test_models_of_another_shape_are_refused(run: Run, make_model: Any) -> None:
    with pytest.raises(WorkbenchError, match=r"keys, heads and router layers are \(8, 2, \[0, 2\]\)"):
        mask_labels(run, make_model())
    with pytest.raises(WorkbenchError, match=r"call model\.eval\(\)"):
        mask_labels(run, make_model().train())


def test_another_checkpoint_of_the_same_shape_is_refused(run: Run, model: MonetForCausalLM) -> None:
    """In half precision the run's model still passes; with other routers it does not."""
    mask_labels(run, copy.deepcopy(model).bfloat16(), labels=["c"])
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.model.layers[0].router.w2.weight.add_(0.3 * torch.randn(other.model.layers[0].router.w2.weight.shape))
    with pytest.raises(WorkbenchError, match="does not route as the one that"):
        mask_labels(run, other)


def test_labels_need_two_documents(run: Run) -> None:
    run.documents = run.documents.query("label != 'ada' or doc < 1")
    with pytest.raises(WorkbenchError, match="label 'ada' of .* has fewer than two documents of two tokens"):
        HeldOut.split(run, 0)


def test_one_label_is_refused(run: Run, model: MonetForCausalLM) -> None:
    run.labels = ["ada"]
    with pytest.raises(WorkbenchError, match="has one label, 'ada'"):
        mask_labels(run, model)
