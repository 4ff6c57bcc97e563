"""Neighbours and structure: counts, fits, cosines and committees against plain definitions, and planted answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.analysis import analyze_structure, coactive, output_directions, read_structure, standing_committee
from workbench.analysis.specialisation.shares import label_shares
from workbench.analysis.structure import lattice as lattice_module
from workbench.analysis.structure.committee import committee_row
from workbench.analysis.structure.lattice import TwoWay, label_preference, lattice_test
from workbench.analysis.sums import LabelSums
from workbench.errors import WorkbenchError
from workbench.progress import silent
from workbench.store import Run

# co-activation


def test_company_is_counted_token_by_token(run: Run) -> None:
    for group in run.groups:
        g1, g2 = run.routing(slice(None), group).dense()
        active = torch.einsum("thi,thj->tij", g1, g2).flatten(1).numpy() > 0
        expert = int(active.sum(0).argmax())
        found = coactive(run, group, expert, run.num_keys**2).set_index("expert")
        both = active[active[:, expert]].sum(0)
        both[expert] = 0
        assert found["together"].to_dict() == {e: both[e] for e in np.flatnonzero(both)}
        own, mine = active.sum(0)[found.index], active[:, expert].sum()
        assert (found["tokens"] == own).all()
        assert found["jaccard"].to_numpy() == pytest.approx(
            [(active[:, e] & active[:, expert]).sum() / (active[:, e] | active[:, expert]).sum() for e in found.index]
        )
        expected = np.log(found["together"] / len(active) / (own / len(active) * mine / len(active)))
        assert found["pmi"].to_numpy() == pytest.approx(expected.to_numpy())
        assert found["jaccard"].is_monotonic_decreasing
        i, j = divmod(expert, run.num_keys)
        wanted = ["row" if e // run.num_keys == i else "column" if e % run.num_keys == j else "" for e in found.index]
        assert found["shared"].tolist() == wanted
        assert set(wanted) == {"row", "column", ""}
        assert coactive(run, group, expert, 3)["expert"].tolist() == found.index[:3].tolist()


def test_an_expert_never_active_has_no_company(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkbenchError, match="no expert"):
        coactive(run, 0, run.num_keys**2, 5)
    monkeypatch.setattr(run, "activations", lambda group, expert: pd.DataFrame({"row": np.zeros(0, np.int64)}))
    assert coactive(run, 0, 3, 5).empty


def test_company_takes_the_routing_of_all_documents(run: Run) -> None:
    run.__dict__["documents"] = run.documents.assign(kept=run.documents.index > 0)
    with pytest.raises(WorkbenchError, match="keep-routing all"):
        coactive(run, 0, 1, 5)


# rows and columns


def test_two_way_fits_are_least_squares() -> None:
    """Against numpy's least squares on the indicator matrix, with rows and columns that hold no cell."""
    rng = np.random.default_rng(0)
    cells = np.sort(rng.choice([e for e in range(49) if e // 7 != 3 and e % 7 != 5], 25, replace=False))
    values = rng.normal(size=(3, 25))
    design = np.concatenate([np.eye(7)[cells // 7], np.eye(7)[cells % 7]], axis=1)
    expected = (design @ np.linalg.lstsq(design, values.T, rcond=None)[0]).T
    assert TwoWay(cells, 7).fitted(values) == pytest.approx(expected)
    assert TwoWay(cells, 7).explained(values) == pytest.approx((expected**2).sum())


def test_preferences_are_made_of_rates() -> None:
    mass = np.array([[2.0, 0.0], [1.0, 4.0], [3.0, 4.0]])
    tokens, label_tokens = np.array([[4.0, 0.0], [2.0, 8.0], [4.0, 8.0]]), np.array([10, 20, 30])
    shares = label_shares(mass, label_tokens)
    assert label_preference(mass, tokens, label_tokens, "sum") == pytest.approx(shares - shares.mean(1, keepdims=True))
    smoothed = np.log(mass / label_tokens[:, None] + np.array([0.6, 0.5]) / 20)
    centred = smoothed - smoothed.mean(0)
    found = label_preference(mass, tokens, label_tokens, "product")
    assert found == pytest.approx(centred - centred.mean(1, keepdims=True))


def planted(part: float, noise: float) -> list[dict[str, Any]]:
    """The test on a lattice of 16 x 16 experts whose label rates are exp(row + column + ``part`` times their own)."""
    rng, keys, labels = np.random.default_rng(1), 16, 3
    row, column = rng.normal(size=(2, labels, keys))
    own = rng.normal(size=(labels, keys, keys))
    rate = np.exp(row[:, :, None] + column[:, None, :] + part * own).reshape(labels, -1)
    tokens = np.full((labels, keys**2), 1000)
    halves = [
        LabelSums(rate * np.exp(noise * rng.normal(size=rate.shape)) * 1000, tokens, np.array([5000, 7000, 9000]))
        for _ in range(2)
    ]
    run = SimpleNamespace(path=Path("run"), num_keys=keys, labels=["a", "b", "c"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lattice_module, "_half_sums", lambda *_: halves)
        return lattice_test(run, 0, 50, 0)  # type: ignore[arg-type]


def test_a_product_of_keys_is_told_from_experts_of_their_own() -> None:
    """Noise that only one half has is laid to neither: the part of own meaning comes out as it was planted."""
    _, product = planted(part=0.0, noise=0.5)
    assert product["explained"] > 0.7 > 0.3 > product["null"]
    assert product["p"] == 1 / 51
    assert product["interaction"] == pytest.approx(0, abs=0.03)
    assert product["interaction_p"] > 0.05
    _, own = planted(part=1.0, noise=0.5)
    assert own["interaction"] == pytest.approx(1 / 3, abs=0.06)
    assert own["keys"] == pytest.approx(1 - own["interaction"])
    assert own["interaction_p"] == 1 / 51
    assert own["reliable"] == pytest.approx(3 / 3.25, abs=0.05)
    _, all_own = planted(part=100.0, noise=0.5)
    assert all_own["explained"] == pytest.approx(all_own["null"], abs=0.03)
    assert all_own["p"] > 0.05


def test_halves_share_no_document_and_hold_everything(run: Run) -> None:
    halves = lattice_module._half_sums(run, 0, 3, silent)
    experts = run.experts(0)
    for at, label in enumerate(run.labels):
        tokens = sum(half.tokens[at, experts.index] for half in halves)
        assert (tokens == experts[f"tokens:{label}"]).all()
        sizes = [int(half.label_tokens[at]) for half in halves]
        assert sum(sizes) == run.label_tokens[label]
        documents = run.documents.query("label == @label")["tokens"].tolist()
        assert any(
            sum(n for n, bit in zip(documents, f"{mask:0{len(documents)}b}", strict=True) if bit == "1") == sizes[0]
            for mask in range(2 ** len(documents))
        )


def test_halves_leave_out_documents_without_routing(run: Run) -> None:
    documents = run.documents.assign(kept=run.documents.index % 3 > 0)
    run.__dict__["documents"] = documents
    halves = lattice_module._half_sums(run, 1, 0, silent)
    kept = documents[documents["kept"]].groupby("label")["tokens"].sum()
    assert sum(half.label_tokens for half in halves).tolist() == kept[run.labels].tolist()


def test_too_little_text_for_rows_and_columns_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lattice_module, "MIN_TOKENS", 10**6)
    with pytest.raises(WorkbenchError, match="Export more text"):
        lattice_test(run, 0, 5, 0)


# outputs


def test_cosines_are_those_of_outputs_written_out(run: Run, model: MonetForCausalLM) -> None:
    """Each expert's output at the mean activations of its keys, from the plain definition, over the group's layers."""
    group = 1
    found = output_directions(run, model, group)
    first = run.group_layers[group]
    outputs = []
    for layer in range(first, first + model.config.moe_groups):
        outputs.append(_outputs_by_definition(run, model, group, layer))
    dense = torch.cat(outputs, 1)
    for expert in (0, run.num_keys + 3):
        expected = torch.nn.functional.cosine_similarity(dense, dense[expert : expert + 1])
        cosine = found.cosines(expert)
        known = ~np.isnan(cosine)
        assert (known == found.used.flatten().numpy()).all()
        assert cosine[known] == pytest.approx(expected.numpy()[known], abs=1e-5)
        best = found.similar(expert, 4)
        assert best["cosine"].is_monotonic_decreasing
        assert expert not in best["expert"].tolist()
        others = np.delete(cosine, expert)
        assert best["cosine"].iloc[0] == np.nanmax(others)


def _outputs_by_definition(run: Run, model: MonetForCausalLM, group: int, layer: int) -> torch.Tensor:
    """(experts, hidden), a loop over all."""
    moe, keys = model.model.layers[layer].moe, run.num_keys
    sums: dict[int, torch.Tensor] = {}
    weights = [torch.zeros(keys, 1), torch.zeros(keys, 1)]
    inputs: list[torch.Tensor] = []
    handle = moe.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    for doc in range(len(run.documents)):
        ids = torch.tensor(run.input_ids(doc))[None]
        context = run.manifest["settings"]["context"]
        for start in range(0, ids.shape[1], context):
            with torch.no_grad():
                out = model(ids[:, start : start + context], output_router_probs=True, use_cache=False)
            bos = int(start == 0 and not pd.isna(run.documents["bos"][doc]))
            x = inputs.pop()[0, bos:]
            hidden = moe.hidden(x)
            hidden = hidden if isinstance(hidden, tuple) else (hidden,)
            for side, units in enumerate(hidden):
                g = out.router_probs[run.group_layers[group]][side][0, bos:].sum(1)  # (tokens, keys)
                sums[side] = sums.get(side, 0) + (g[..., None] * units).sum(0)
                weights[side] += g.sum(0)[:, None]
    handle.remove()
    a = [sums[side] / weights[side].clamp(min=1e-30) for side in sums]
    rows = []
    with torch.no_grad():
        for i in range(keys):
            for j in range(keys):
                if len(a) == 1:
                    v = moe.v.weight.view(-1, keys, a[0].shape[1])
                    rows.append(v[:, j] @ a[0][i] + moe.b[j])
                    continue
                v11, v12, v21, v22 = (
                    part.weight.view(-1, keys, a[0].shape[1]) for part in (moe.v11, moe.v12, moe.v21, moe.v22)
                )
                left = v11[:, i] @ a[0][i] + v12[:, i] @ a[1][j] + moe.b1[i]
                rows.append(torch.cat([left, v21[:, j] @ a[0][i] + v22[:, j] @ a[1][j] + moe.b2[j]]))
    return torch.stack(rows)


def test_directions_of_a_group_or_expert_that_is_not_there(run: Run, model: MonetForCausalLM) -> None:
    with pytest.raises(WorkbenchError, match="no group 9"):
        output_directions(run, model, 9)
    with pytest.raises(WorkbenchError, match="no expert 256"):
        output_directions(run, model, 0).cosines(256)


# committee


def test_the_committee_sits_for_every_label() -> None:
    """Of four seats a label, one expert has one everywhere; a tie for the last seat seats both."""
    experts = pd.DataFrame(
        {
            "tokens:a": [9, 8, 7, 6, 6, 0, 1],
            "tokens:b": [5, 0, 9, 1, 8, 7, 6],
            "mass": [4.0, 1.0, 2.0, 1.0, 1.0, 1.0, 0.0],
            "mass:a": [2.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0],
            "mass:b": [2.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0],
        },
        index=[0, 2, 3, 5, 8, 9, 11],
    )
    run: Any = SimpleNamespace(experts=lambda group: experts, num_keys=4, labels=["a", "b"])
    assert standing_committee(run, 0, 0.25).tolist() == [3, 8]
    row = committee_row(run, 0, 0.25)
    assert row == {"group": 0, "experts": 2, "chance": 1.0, "mass": 0.3, "least": 0.25, "everywhere": 5}
    with pytest.raises(WorkbenchError, match="top"):
        standing_committee(run, 0, 1.0)


# together


def test_a_structure_is_read_as_it_was_written(run: Run, model: MonetForCausalLM) -> None:
    assert read_structure(run) is None
    found = analyze_structure(run, model=model, top=0.2, permutations=10, seed=4)
    again = read_structure(run)
    assert again is not None
    assert again.to_json() == json.loads(json.dumps(found.to_json()))
    assert len(found.lattice) == 2 * len(run.groups)
    assert found.committee["experts"].tolist() == [len(standing_committee(run, group, 0.2)) for group in run.groups]
    assert found.outputs is not None
    for row in found.outputs.itertuples(index=False):
        assert max(row.row, row.column) > row.other
    assert analyze_structure(run, top=0.2, permutations=10, seed=4).outputs is None
