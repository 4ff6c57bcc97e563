"""`monet export-model`: a checkpoint with its edit built in, which everything that reads a model honours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from monet_model import ExpertEdit, MonetForCausalLM, Routing, load_lens
from workbench.analysis import attribute
from workbench.cli import app
from workbench.export.reader import routing_reader

GOLDEN = Path(__file__).parents[2] / "golden"
IDS = torch.tensor([[3, 17, 8, 44, 59, 21, 5]])


@pytest.fixture(params=["tiny-vd", "tiny-hd"])
def source(request: pytest.FixtureRequest) -> Path:
    """Each golden checkpoint in turn."""
    return GOLDEN / request.param


@pytest.fixture
def edit(source: Path, tmp_path: Path) -> Path:
    """The file of an edit of half the experts of the first group."""
    path = tmp_path / "edit.safetensors"
    ExpertEdit.from_experts(MonetForCausalLM.from_pretrained(source), {0: list(range(0, 256, 2))}, 0.3).save(path)
    return path


def run(*args: str | Path) -> Any:
    """The command's outcome."""
    return CliRunner().invoke(app, ["export-model", *map(str, args)])


def test_the_model_behaves_as_under_the_edit(source: Path, edit: Path, tmp_path: Path) -> None:
    result = run(source, "--edit", edit, "--out", tmp_path / "edited")
    assert result.exit_code == 0, result.output
    assert "edited" in result.output
    original = MonetForCausalLM.from_pretrained(source).eval()
    edited: Any = MonetForCausalLM.from_pretrained(tmp_path / "edited").eval()
    lens = load_lens(tmp_path / "edited")
    with torch.no_grad():
        plain = original(IDS).logits
        with original.edit_experts(ExpertEdit.load(edit)):
            expected = original(IDS, output_router_probs=True)
            attributed = attribute(original, IDS)
        assert (plain - expected.logits).abs().max() > 1e-3
        assert torch.equal(edited(IDS).logits, expected.logits)
        torch.testing.assert_close(lens(IDS), expected.logits, rtol=1e-4, atol=1e-5)

    # Attribution: of the edited experts, complete, and the same as under the passing edit.
    parts = attribute(edited, IDS)
    assert parts.completeness < 1e-4 * abs(parts.logit)
    assert parts.logit == attributed.logit
    assert parts.experts.equals(attributed.experts)

    # Export: the second group's routing is that of the edited first group.
    with routing_reader(edited) as read:
        found = read(IDS, torch.ones_like(IDS))
    for routing, layer in zip(found, (0, 2), strict=True):
        wanted = Routing.from_dense(*expected.router_probs[layer])
        assert torch.equal(routing.indices1, wanted.indices1)
        torch.testing.assert_close(routing.probs2, wanted.probs2)


@pytest.mark.parametrize("name", ["owner/tiny", "owner/tiny@early", f"owner/tiny@{'1' * 40}"])
def test_a_hub_name_is_edited_with_its_tokenizer(hub_model: dict[str, Path], name: str, tmp_path: Path) -> None:
    folder, out = hub_model[name], tmp_path / "edited"
    source = MonetForCausalLM.from_pretrained(folder)
    ExpertEdit.from_experts(source, {0: [3]}).save(tmp_path / "edit.safetensors")
    result = run(name, "--edit", tmp_path / "edit.safetensors", "--out", out)
    assert result.exit_code == 0, result.output
    edited = MonetForCausalLM.from_pretrained(out)
    assert edited.config.edited_layers == [0]
    assert torch.equal(edited.lm_head.weight, source.lm_head.weight)
    assert (out / "tokenizer.json").read_text() == (folder / "tokenizer.json").read_text()


def test_bad_input_ends_with_its_message(source: Path, edit: Path, tmp_path: Path) -> None:
    other = GOLDEN / ("tiny-hd" if source.name == "tiny-vd" else "tiny-vd")
    for args, message in (
        ((source, "--edit", edit, "--out", tmp_path), "exists already"),
        ((source, "--edit", tmp_path / "none", "--out", tmp_path / "out"), "no expert edit at"),
        ((other, "--edit", edit, "--out", tmp_path / "out"), "belongs to the model"),
    ):
        result = run(*args)
        assert result.exit_code != 0
        assert message in str(result.exception)
    assert not (tmp_path / "out").exists()
