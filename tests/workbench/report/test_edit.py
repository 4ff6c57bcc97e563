"""Reports of an edit and of two runs hold what an independent count finds, and the same report has the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cross_entropy

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import Run, open_run
from workbench.analysis import label_edit, measure_edit, read_analysis, read_mask
from workbench.errors import WorkbenchError
from workbench.report import KINDS, comparison_report, edit_report
from workbench.report.comparison import comparison_document
from workbench.report.edit import edit_document
from workbench.report.expert import expert_document
from workbench.report.files import encode
from workbench.report.label import label_document
from workbench.store.address import Expert

Cut = Callable[[list[int], int, int], list[tuple[list[int], int]]]


@pytest.fixture(scope="module")
def run(run_path: Path) -> Run:
    return open_run(run_path)


@pytest.fixture(scope="module")
def model(run: Run) -> MonetForCausalLM:
    return MonetForCausalLM.from_pretrained(run.model_path).eval()


@pytest.fixture(scope="module")
def edit(run: Run, model: MonetForCausalLM) -> ExpertEdit:
    return label_edit(run, model, "lua")


@pytest.fixture(scope="module")
def edit_path(edit: ExpertEdit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("edit") / "no-lua.safetensors"
    edit.save(path)
    return path


def test_effect_of_an_edit_against_a_plain_loop(run: Run, model: MonetForCausalLM, edit: ExpertEdit, cut: Cut) -> None:
    effect = measure_edit(run, model, edit, samples=50)
    sums = {label: np.zeros(3) for label in run.labels}
    for row in effect.documents.itertuples():
        known = run.documents.set_index("doc").loc[row.doc]
        ids = run.tokens(slice(int(known["row"]), int(known["row"] + known["tokens"])))["token"].tolist()
        bos = [] if pd.isna(known["bos"]) else [int(known["bos"])]
        found = np.zeros(3)
        for read, again in cut(bos + ids, len(bos), run.manifest["settings"]["context"]):
            window, first = torch.tensor([read]), max(1, again)
            with torch.inference_mode():
                plain = model(window).logits[0, first - 1 : -1]
                with model.edit_experts(edit):
                    edited = model(window).logits[0, first - 1 : -1]
            following = window[0, first:]
            losses = [cross_entropy(logits, following, reduction="sum").item() for logits in (plain, edited)]
            found += [*losses, len(following)]
        assert (row.loss, row.edited_loss, row.tokens) == pytest.approx(tuple(found), rel=1e-5)
        sums[row.label] += found
    for row in effect.labels.itertuples():
        before, after, tokens = sums[row.label]
        assert (row.loss, row.edited_loss) == pytest.approx((before / tokens, after / tokens), rel=1e-5)
        assert row.low <= row.high
        assert row.tokens == tokens


def test_effect_agrees_with_masking(run: Run, model: MonetForCausalLM) -> None:
    """The same documents, and an empty edit changes nothing."""
    masked = read_mask(run)
    assert masked is not None
    effect = measure_edit(run, model, ExpertEdit.from_experts(model, {run.group_layers[0]: []}), samples=10)
    assert effect.labels["loss"].tolist() == pytest.approx(masked.baseline.tolist())
    assert set(effect.documents["doc"]) == set(masked.documents["doc"])
    assert effect.labels[["rise", "low", "high"]].to_numpy() == pytest.approx(0.0, abs=1e-6)  # float32


def test_edit_of_a_label_is_what_masking_removes(run: Run, model: MonetForCausalLM, edit: ExpertEdit) -> None:
    masked = read_mask(run)
    assert masked is not None
    row = masked.rows.index("lua")
    assert [len(edit.experts[layer]) for layer in run.group_layers] == masked.removed_by_group[row]
    assert {float(factor) for layer in run.group_layers for factor in edit.factors[layer]} == {0.0}
    rise = measure_edit(run, model, edit, samples=10).labels["rise"]
    assert rise.tolist() == pytest.approx(masked.matrix[row].tolist(), abs=1e-6)
    for label, ratio, said in (
        ("cobol", 2.0, "no label 'cobol'"),
        ("lua", 0.5, "ratio must"),
        ("lua", 1e9, "no expert"),
    ):
        with pytest.raises(WorkbenchError, match=said):
            label_edit(run, model, label, ratio=ratio)


def test_edit_report(run: Run, edit: ExpertEdit, edit_path: Path, tmp_path: Path) -> None:
    for kind in ("json", "csv", "html"):
        edit_report(run, edit_path, kind, tmp_path / f"e.{kind}")
    said = json.loads((tmp_path / "e.json").read_text())
    assert said["edit"]["experts"] == said["edit"]["removed"] == len(edit)
    derived = {group: read_analysis(run, group)["specialised"] for group in run.groups}
    for row in said["edit"]["by_label"]:
        edited = edit.experts[run.group_layers[row["group"]]].numpy()
        assert row["experts"] == (derived[row["group"]].reindex(edited) == row["specialised"]).sum()
    assert sum(row["experts"] for row in said["edit"]["by_label"]) == len(edit)
    rises = [row["rise"] for row in said["hardest"]]
    assert rises == sorted(rises, reverse=True)
    assert [row["label"] for row in said["writing"]] == run.labels
    assert said["writing"][0]["prompt"]
    table = pd.read_csv(tmp_path / "e.csv")
    assert table["rise"].tolist() == pytest.approx([row["rise"] for row in said["effect"]["labels"]])
    page = (tmp_path / "e.html").read_text()
    assert "no-lua.safetensors" in page
    assert "<script" not in page


def test_edit_of_another_model_is_refused(run: Run, edit: ExpertEdit, tmp_path: Path) -> None:
    ExpertEdit(edit.experts, edit.factors, edit.keys, "0" * 64).save(tmp_path / "other.safetensors")
    with pytest.raises(WorkbenchError, match="belongs to the model 000000000000"):
        edit_report(run, tmp_path / "other.safetensors", "html", tmp_path / "out.html")
    with pytest.raises(WorkbenchError, match="there is no expert edit at"):
        edit_report(run, tmp_path / "missing.safetensors", "html", tmp_path / "out.html")
    assert [path.name for path in tmp_path.iterdir()] == ["other.safetensors"]


@pytest.fixture(scope="module")
def other(run: Run, edit_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the edited model on the same corpus."""
    from monet_model.surgery import export_edited_model
    from workbench.export import export_run

    folder = tmp_path_factory.mktemp("other")
    export_edited_model(run.model_path, edit_path, folder / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(run.model_path) / name, folder / "model" / name)
    export_run(folder / "model", run.manifest["corpus"]["path"], folder / "edited")
    return open_run(folder / "edited")


def test_comparison_report(run: Run, other: Run, tmp_path: Path) -> None:
    for kind in KINDS:
        comparison_report(run, other, kind, tmp_path / f"c.{kind}")
    said = json.loads((tmp_path / "c.json").read_text())
    assert said["same_corpus"]
    assert not said["same_model"]
    table = pd.read_parquet(tmp_path / "c.parquet")
    for group in run.groups:
        first, second = run.experts(group), other.experts(group)
        mine = table[table["group"] == group].set_index("expert")
        assert set(mine.index) == set(first.index) | set(second.index)
        assert mine.loc[first.index, "mass"].tolist() == first["mass"].tolist()
        assert mine.loc[second.index, "other_tokens"].tolist() == second["tokens"].tolist()
        found = said["groups"][str(group)]
        assert found["experts"]["both"] == len(first.index.intersection(second.index))
        a, b = (t["mass"] / t["mass"].sum() for t in (first, second))
        shared = pd.concat([a, b], axis=1).fillna(0.0).min(axis=1).sum()
        assert found["mass_shared"] == pytest.approx(shared, rel=1e-6)
        assert np.sum(found["density"]["counts"]) == found["experts"]["both"]
    changes = [abs(row["change"]) for row in said["changed"]]
    assert changes == sorted(changes, reverse=True)
    assert "against" in (tmp_path / "c.html").read_text()


def test_a_run_against_itself_has_not_changed(run: Run, tmp_path: Path) -> None:
    comparison_report(run, run, "json", tmp_path / "c.json")
    said = json.loads((tmp_path / "c.json").read_text())
    assert said["same_model"]
    for found in said["groups"].values():
        assert found["mass_shared"] == pytest.approx(1.0)
        assert found["correlation"] == pytest.approx(1.0)
        labels = np.array(found["labels"])
        assert (labels == np.diag(np.diag(labels))).all()
    assert {row["change"] for row in said["changed"]} == {0.0}


def test_runs_of_other_shapes_are_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = open_run(run.path)
    monkeypatch.setitem(other.manifest["model"], "decompose", "horizontal")
    with pytest.raises(WorkbenchError, match="no counterparts"):
        comparison_report(run, other, "html", tmp_path / "c.html")


def test_same_report_has_the_same_bytes(run: Run, model: MonetForCausalLM, edit: ExpertEdit) -> None:
    expert = int(run.experts(0)["mass"].idxmax())

    def written() -> list[bytes]:
        fresh = open_run(run.path)
        reports = [
            expert_document(fresh, Expert(0, expert)),
            label_document(fresh, "lua"),
            edit_document(fresh, model, edit, "no lua"),
            comparison_document(fresh, fresh),
        ]
        return [encode(report, kind) for report in reports for kind in KINDS]

    assert written() == written()
