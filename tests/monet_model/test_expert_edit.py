"""`ExpertEdit`: made from ids or a table, kept in a file, tied to its model; and edits made part of a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from monet_model import ExpertEdit, MonetForCausalLM, export_edited_model, load_lens
from monet_model.identity import model_identity

GOLDEN = Path(__file__).parents[1] / "golden"
IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5], [9, 9, 30, 12, 2, 60, 33]])


@pytest.fixture(scope="module")
def model() -> MonetForCausalLM:
    """A golden model: 4 layers, routers in 0 and 2, 16 keys."""
    return MonetForCausalLM.from_pretrained(GOLDEN / "tiny-vd").eval()


@pytest.fixture
def edit(model: MonetForCausalLM) -> ExpertEdit:
    """Many experts of both groups, some removed and some scaled."""
    torch.manual_seed(1)
    rows = [(g, e, f) for g in (0, 1) for e, f in zip(torch.randperm(256)[:99].tolist(), torch.rand(99), strict=True)]
    frame = pd.DataFrame(rows, columns=["group", "expert", "factor"])
    frame.loc[::3, "factor"] = 0.0
    return ExpertEdit.from_frame(model, frame.astype({"factor": float}))


@torch.no_grad()
def test_ids_and_tables_name_the_same_experts(model: MonetForCausalLM) -> None:
    """Expert (i, j) is ``i * E + j``; group 1 has its router in layer 2."""
    removed = ExpertEdit.from_experts(model, {2: [3 * 16 + 5, 7]})
    expected = torch.ones(16, 16)
    expected[3, 5] = expected[0, 7] = 0
    assert len(removed) == 2
    assert torch.equal(removed.matrices()[2], expected)
    for column, place in (("group", 1), ("layer", 2)):
        frame = pd.DataFrame({column: place, "expert": [53, 7], "factor": 0.0})
        assert torch.equal(ExpertEdit.from_frame(model, frame).matrices()[2], expected)
    assert (ExpertEdit.from_experts(model, {0: torch.tensor([9])}, 2.0).matrices()[0] == 2).sum() == 1


@torch.no_grad()
def test_it_edits_as_its_matrices_do(model: MonetForCausalLM, edit: ExpertEdit) -> None:
    with model.edit_experts(edit.matrices()):
        expected = model(IDS).logits
    with model.edit_experts(edit):
        assert torch.equal(model(IDS).logits, expected)
    assert not torch.allclose(model(IDS).logits, expected, atol=1e-3)


@pytest.mark.parametrize("name", ["tiny-vd", "tiny-hd"])
@torch.no_grad()
def test_the_golden_masks_as_a_published_edit(tmp_path: Path, error: Any, name: str) -> None:
    """Experts removed by id, written to a file and read again: the logits of the golden masks."""
    model = MonetForCausalLM.from_pretrained(GOLDEN / name).eval()
    expected = load_file(GOLDEN / name / "expected.safetensors")
    removed = {
        group.start: (expected[f"masked.keep.{group.start}"].flatten() == 0).nonzero()[:, 0]
        for group in model.config.routing_groups
    }
    ExpertEdit.from_experts(model, removed).save(tmp_path / "edit.safetensors")
    with model.edit_experts(ExpertEdit.load(tmp_path / "edit.safetensors")):
        logits = model(expected["input_ids"]).logits
    assert error(logits, expected["masked.logits"]) < 1e-5


def test_it_survives_a_file(edit: ExpertEdit, tmp_path: Path) -> None:
    path = tmp_path / "edit.safetensors"
    edit.save(path)
    again = ExpertEdit.load(path)
    assert path.stat().st_size < 12 * len(edit) + 1000
    assert (again.keys, again.identity, len(again)) == (16, edit.identity, len(edit))
    assert all(torch.equal(again.matrices()[layer], factors) for layer, factors in edit.matrices().items())
    assert [file.name for file in tmp_path.iterdir()] == ["edit.safetensors"]


def test_another_model_is_refused(model: MonetForCausalLM, edit: ExpertEdit, make_model: Any) -> None:
    """Nothing but the weights counts: not the dtype they are loaded in, not TransformerLens' wrapping."""
    half = MonetForCausalLM.from_pretrained(GOLDEN / "tiny-vd", dtype=torch.bfloat16)
    for same in (half, load_lens(GOLDEN / "tiny-vd").original_model):
        with same.edit_experts(edit):
            pass
    with pytest.raises(ValueError, match=f"belongs to the model {edit.identity[:12]}"), make_model().edit_experts(edit):
        pass
    with torch.no_grad():
        half.model.layers[1].moe.b2[0, 0] += 1
    with pytest.raises(ValueError, match="belongs to the model"), half.edit_experts(edit):
        pass


def test_identity_follows_the_routing_statistics(make_model: Any) -> None:
    one, other = make_model(), make_model()
    assert model_identity(one) == model_identity(other)
    other.model.layers[2].router.norm1.running_mean += 0.5
    assert model_identity(one) != model_identity(other)


@pytest.mark.parametrize(
    ("experts", "message"),
    [
        ({1: [0]}, r"layer 1 owns no router; .*\[0, 2\]"),
        ({0: [256]}, r"expert ids must lie in 0 \.\. 255"),
        ({0: [-1]}, r"expert ids must lie in 0 \.\. 255"),
        ({0: [4, 4]}, "named more than once"),
    ],
)
def test_wrong_experts_are_refused(model: MonetForCausalLM, experts: dict[int, list[int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExpertEdit.from_experts(model, experts)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"expert": [1], "factor": [0.0]}, "one of group and layer; got expert, factor"),
        ({"group": [0], "layer": [0], "expert": [1], "factor": [0.0]}, "one of group and layer"),
        ({"group": [0], "expert": [1]}, "needs the columns expert, factor"),
        ({"group": [2], "expert": [1], "factor": [0.0]}, r"no routing group 2; .* 0 \.\. 1"),
        ({"layer": [3], "expert": [1], "factor": [0.0]}, "layer 3 owns no router"),
        ({"group": [0], "expert": [1], "factor": [float("nan")]}, "must be numbers in"),
    ],
)
def test_wrong_tables_are_refused(model: MonetForCausalLM, frame: dict[str, list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ExpertEdit.from_frame(model, pd.DataFrame(frame))


def test_factors_beyond_the_bound_are_refused(model: MonetForCausalLM) -> None:
    for factor in (1e38, -1e39, float("nan"), float("inf"), 1001):
        with pytest.raises(ValueError, match=r"must be a number in -1000 \.\. 1000"):
            ExpertEdit.from_experts(model, {0: [7]}, factor)
        with pytest.raises(ValueError, match=r"factors must be numbers in -1000 \.\. 1000"):
            ExpertEdit.from_frame(model, pd.DataFrame({"group": [0], "expert": [7], "factor": [factor]}))


def test_unreadable_files_are_refused(edit: ExpertEdit, tmp_path: Path) -> None:
    path = tmp_path / "edit.safetensors"
    with pytest.raises(ValueError, match=f"no expert edit at {path}"):
        ExpertEdit.load(path)
    with pytest.raises(ValueError, match="is not an expert edit"):
        ExpertEdit.load(GOLDEN / "tiny-vd" / "model.safetensors")
    edit.save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="is not an expert edit"):
        ExpertEdit.load(path)
    save_file({}, path, {"edit": '{"format": "monet-expert-edit-9"}'})
    with pytest.raises(ValueError, match="'monet-expert-edit-9'; this version reads 'monet-expert-edit-1'"):
        ExpertEdit.load(path)


@pytest.mark.parametrize("name", ["tiny-vd", "tiny-hd"])
@torch.no_grad()
def test_surgery_behaves_as_the_edit(tmp_path: Path, error: Any, name: str) -> None:
    source, out = tmp_path / "model", tmp_path / "deep" / "edited"
    shutil.copytree(GOLDEN / name, source)
    (source / "chat_template.jinja").write_text("kept")
    original = MonetForCausalLM.from_pretrained(source).eval()
    edit = ExpertEdit.from_experts(original, {0: list(range(0, 256, 2))}, 0.3)
    edit.save(tmp_path / "edit.safetensors")
    export_edited_model(source, tmp_path / "edit.safetensors", out)

    assert [path.name for path in out.parent.iterdir()] == ["edited"]
    assert (out / "chat_template.jinja").read_text() == "kept"
    edited = AutoModelForCausalLM.from_pretrained(out).eval()
    assert edited.config.edited_layers == [0]
    with original.edit_experts(edit):
        expected = original(IDS).logits
        made = original.generate(IDS, max_new_tokens=5, do_sample=False)
    assert torch.equal(edited(IDS).logits, expected)
    assert torch.equal(edited.generate(IDS, max_new_tokens=5, do_sample=False), made)
    assert error(load_lens(out)(IDS), expected) < 1e-5

    before, after = load_file(source / "model.safetensors"), load_file(out / "model.safetensors")
    assert set(after) - set(before) == {"model.layers.0.edit.factors"}
    assert all(torch.equal(after[weight], tensor) for weight, tensor in before.items())


@torch.no_grad()
def test_built_in_and_passing_edits_multiply(tmp_path: Path, model: MonetForCausalLM, edit: ExpertEdit) -> None:
    export_edited_model(GOLDEN / "tiny-vd", edit, tmp_path / "once")
    export_edited_model(tmp_path / "once", edit, tmp_path / "twice")
    with model.edit_experts(edit), model.edit_experts(edit):
        expected = model(IDS).logits
    once, twice = (MonetForCausalLM.from_pretrained(tmp_path / name).eval() for name in ("once", "twice"))
    with once.edit_experts(edit):
        assert torch.allclose(once(IDS).logits, expected, atol=1e-6)
    assert torch.allclose(twice(IDS).logits, expected, atol=1e-6)


def test_built_in_factors_stay_float32(tmp_path: Path, edit: ExpertEdit) -> None:
    export_edited_model(GOLDEN / "tiny-vd", edit, tmp_path / "edited")
    for loaded in (
        MonetForCausalLM.from_pretrained(tmp_path / "edited", dtype=torch.bfloat16),
        MonetForCausalLM.from_pretrained(tmp_path / "edited").to(torch.bfloat16),
    ):
        assert loaded.lm_head.weight.dtype == torch.bfloat16
        assert torch.equal(loaded.model.layers[2].edit.factors, edit.matrices()[2])


def test_surgery_refuses_and_leaves_nothing(tmp_path: Path, edit: ExpertEdit, make_model: Any) -> None:
    for folder in ("other", "there", "broken"):
        (tmp_path / folder).mkdir()
    make_model().save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="there exists already"):
        export_edited_model(GOLDEN / "tiny-vd", edit, tmp_path / "there")
    with pytest.raises(ValueError, match="belongs to the model"):
        export_edited_model(tmp_path / "other", edit, tmp_path / "out")
    for missing in ("broken", "nowhere"):
        with pytest.raises(ValueError, match="no Monet checkpoint could be loaded"):
            export_edited_model(tmp_path / missing, edit, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "other", "there"]
    assert not list((tmp_path / "there").iterdir())
